import datetime

from tests.toolformer.evaluation.benchmarks.question_files import (
    items_of,
    write_lines,
)
from toolformer.evaluation.benchmarks.benchmark import BenchmarkItem
from toolformer.evaluation.benchmarks.lama import TempLama


def fact(year="2012", query="Ada Lund plays for _X_.", **changes):
    return {
        "query": query,
        "answer": [{"wikidata_id": "Q1", "name": "Turin"}, {"wikidata_id": "Q2", "name": "Rome"}],
        "date": year,
        "id": f"Q9_P54_{year}",
        "relation": "P54",
        **changes,
    }


def test_the_lines_of_templama_are_read(tmp_path):
    assert items_of(TempLama(write_lines(tmp_path / "test.json", fact()))) == [
        BenchmarkItem(
            "Q9_P54_2012",
            "Please complete the following text so that it is factually correct: "
            "Ada Lund plays for",
            ("Turin", "Rome"),
            current_date=datetime.date(2012, 7, 1),
            group="P54",
        )
    ]


def test_answers_as_texts_are_read(tmp_path):
    row = {key: value for key, value in fact(answers=["Turin"]).items() if key != "answer"}
    assert items_of(TempLama(write_lines(tmp_path / "t.json", row)))[0].gold == ("Turin",)
