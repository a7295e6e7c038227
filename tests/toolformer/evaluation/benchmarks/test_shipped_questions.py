"""Published forms of the question sets, and the items that they become."""

import bz2
import csv
import json
import re

import pytest

from tests.toolformer.evaluation.benchmarks.question_files import (
    ASKED,
    PARAGRAPH,
    QUESTIONS,
    item,
    items_of,
    left_out_of,
    shipped,
    write_json,
    write_lines,
)
from toolformer.evaluation.benchmarks.benchmark import BenchmarkFileError, BenchmarkItem


@pytest.mark.parametrize(
    ("target", "answers"),
    [
        ("(list (description Turin))", ("Turin",)),
        ('(list (description "New Turin") (description Rome))', ("New Turin", "Rome")),
        (r'(list (description "Ada \"The Eye\" Lund (b. 1)"))', ('Ada "The Eye" Lund (b. 1)',)),
        ("(list (description Rome) (description Rome))", ("Rome",)),
        ('(list (description "A") (number 5))', ("A", "5")),
        ("(list (number 1.5))", ("1.5",)),
        *(
            (f"(list (description Rome) {other})", None)
            for other in ("(date 1999 3 4)", "(boolean true)", "(description (a) b)")
        ),
        ("(list)", None),
    ],
)
def test_the_target_values_of_webquestions_are_answers(tmp_path, target, answers):
    row = {"url": "http://a.com/en/ada", "targetValue": target, "utterance": "where was ada born?"}
    file = tmp_path / "webquestions.examples.test.json.bz2"
    file.write_bytes(bz2.compress(json.dumps([row]).encode()))
    if answers is None:
        (reason,) = left_out_of(shipped("webquestions", file)).values()
        assert reason.startswith("column 'targetValue' is '(list")
    else:
        expected = item("webquestions.examples.test-1", f"{ASKED}{row['utterance']}", *answers)
        assert items_of(shipped("webquestions", file)) == [expected]


def test_the_lines_of_nq_open_are_read(tmp_path):
    asked = {"question": "who rang the bell", "answer": ["Ada", "Ada", "Mrs Lund"]}
    unanswerable = {"question": "which sign was it", "answer": ["-"]}
    file = write_lines(tmp_path / "NQ-open.dev.jsonl", asked, unanswerable)
    first, second = items_of(shipped("nq", file))
    assert first == item("NQ-open.dev-1", f"{ASKED}who rang the bell?", "Ada", "Mrs Lund")
    assert first.bare_texts == ("who rang the bell",)
    # Asked, though no output can be right.
    assert not shipped("nq", file).score(second, "-")


@pytest.mark.parametrize(
    ("given", "answers"),
    [
        ({"answer": "Sun", "answers": ["Sun", "Sunlight"]}, ("Sun", "Sunlight")),
        ({"answer": ["Sun"], "answers": {"text": ["Sol"]}}, ("Sun", "Sol")),
        ({"answers": "Sol", "answer": None}, ("Sol",)),
        ({"answer": "Sun", "aliases": ["Sol"]}, ("Sun", "Sol")),
        ({"answer": "[citation needed]"}, ("[citation needed]",)),
        ({"answer": "('Til) I Kissed You"}, ("('Til) I Kissed You",)),
        ({"answer": '["A"]'}, ("A",)),
        *(
            ({"answer": answer}, None)
            for answer in ("['A', 'B']", "['A' 'B']", "{'value': 'A', 'aliases': ['B']}", "[]")
        ),
    ],
)
@pytest.mark.parametrize("name", QUESTIONS)
def test_all_columns_with_answers_count_but_no_list_as_python_prints_it(
    tmp_path, name, given, answers
):
    file = write_lines(tmp_path / "copy.jsonl", {"question": "Which star is near?", **given})
    if answers is None:
        (reason,) = left_out_of(shipped(name, file)).values()
        assert re.search(r"expected a JSON list|or a non-empty list of texts", reason)
    else:
        (item,) = items_of(shipped(name, file))
        assert item.gold == answers


POPQA = (
    ("id", "subj", "prop", "obj", "s_pop", "question", "possible_answers"),
    (7, "Ada", "occupation", "judge", 142, "What is Ada's occupation?", '["judge", "\\"law\\""]'),
    (5, "Hill", "capital of", "Lund", 9, "What is Hill the capital of?", '["Lund"]'),
    (6, "Hill", "capital", "Rome", 10, "What is the capital of Hill?", "['Rome']"),
    (7, "Hill", "capital", "Rome"),
    (8, "Hill", "capital", "Rome", 31000, "What is the capital of Hill?", '["Rome", 3]'),
)


def test_the_table_of_popqa_is_read_by_popularity(tmp_path):
    with (tmp_path / "popQA.tsv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, "excel-tab").writerows(POPQA)
    benchmark = shipped("popqa", tmp_path / "popQA.tsv")
    assert [entry for entry in benchmark.items() if isinstance(entry, BenchmarkItem)] == [
        item("7", f"{ASKED}What is Ada's occupation?", "judge", '"law"', group="s_pop 100-999"),
        item("5", f"{ASKED}What is Hill the capital of?", "Lund", group="s_pop 0-9"),
        item("8", f"{ASKED}What is the capital of Hill?", "Rome", "3", group="s_pop 10000-99999"),
    ]
    assert left_out_of(benchmark) == {
        "popQA.tsv, row 4": "column 'possible_answers' is \"['Rome']\"; expected a JSON list, not "
        "a list within a text",
        "popQA.tsv, row 5": "it has 4 columns; expected 7, as in the first line",
    }


def test_a_table_with_an_open_quotation_mark_is_told(tmp_path):
    (tmp_path / "popQA.tsv").write_text('id\tpossible_answers\n1\t"a', encoding="utf-8")
    with pytest.raises(BenchmarkFileError, match=r"starts on line 2: unexpected end"):
        list(shipped("popqa", tmp_path / "popQA.tsv").items())


def question(name: str = "q1", answers: tuple[str, ...] = ("Turin",)) -> dict[str, object]:
    found = [{"text": answer, "answer_start": 13} for answer in answers]
    return {"id": name, "question": "¿Dónde vive Ada?", "answers": found}


def squad(*questions: object, others: tuple[object, ...] = ()) -> dict[str, object]:
    paragraph = {"context": "Ada lives in Turin.", "qas": list(questions)}
    return {"version": 1.0, "data": [{"title": "Ada", "paragraphs": [paragraph]}, *others]}


@pytest.mark.parametrize("folder", [".", "test"])
def test_mlqa_is_read_from_its_folder(tmp_path, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    file = tmp_path / folder / "test-context-en-question-es.json"
    write_json(file, squad(question(answers=("Turin", "Turin", "in Turin"))))
    expected = [item("q1", PARAGRAPH, "Turin", "in Turin", group="es")]
    assert items_of(shipped("mlqa-es", tmp_path)) == expected
    assert items_of(shipped("mlqa-es", file)) == expected
    with pytest.raises(BenchmarkFileError, match="test-context-en-question-de"):
        list(shipped("mlqa-de", tmp_path).items())


def test_bad_parts_of_a_document_are_rejected_and_reading_goes_on(tmp_path):
    others = ({"title": "no paragraphs"}, {"paragraphs": [{"context": "x"}]}, "x")
    content = squad(question(), {"question": "¿Qué?"}, 7, question("q2"), others=others)
    benchmark = shipped("mlqa-es", write_json(tmp_path / "mlqa.json", content))
    items = [entry for entry in benchmark.items() if isinstance(entry, BenchmarkItem)]
    assert [item.item_id for item in items] == ["q1", "q2"]
    reasons = left_out_of(benchmark)
    assert list(reasons) == [f"mlqa.json, row {number}" for number in (2, 3, 5, 6, 7)]
    assert next(iter(reasons.values())).startswith("column 'answers' is missing")
    assert list(reasons.values())[2] == "it has no question; expected a value in column 'question'"
