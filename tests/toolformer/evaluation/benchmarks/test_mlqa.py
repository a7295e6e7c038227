import pytest

from tests.toolformer.evaluation.benchmarks.question_files import (
    items_of,
    left_out_of,
    write_json,
    write_lines,
)
from toolformer.evaluation.benchmarks.benchmark import BenchmarkFileError, BenchmarkItem
from toolformer.evaluation.benchmarks.mlqa import Mlqa

PROMPT = (
    "Your task is to answer a question based on the following paragraph: Ada lives in Turin. "
    "Now answer the following question in English: ¿Dónde vive Ada?"
)


def document(*questions, context="Ada lives in Turin."):
    paragraph = {"context": context, "qas": list(questions)}
    return {"version": 1.0, "data": [{"title": "Ada", "paragraphs": [paragraph]}]}


def question(text="¿Dónde vive Ada?", name="q1", answers=("Turin",)):
    found = [{"text": answer, "answer_start": 13} for answer in answers]
    return {"id": name, "question": text, "answers": found}


def test_copies_in_columns_are_read(tmp_path):
    answers = {"text": ["Turin", "in Turin"], "answer_start": [13, 10]}
    row = {"id": "q1", "title": "Ada", "context": "Ada lives in Turin.", "answers": answers}
    file = write_lines(tmp_path / "mlqa.jsonl", {**row, "question": "¿Dónde vive Ada?"})
    expected = [BenchmarkItem("q1", PROMPT, ("Turin", "in Turin"), group="es")]
    assert items_of(Mlqa(file, "es")) == expected


@pytest.mark.parametrize("folder", [".", "test"])
def test_mlqa_is_read_from_its_folder(tmp_path, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    file = tmp_path / folder / "test-context-en-question-es.json"
    write_json(file, document(question(answers=("Turin", "Turin", "in Turin"))))
    expected = [BenchmarkItem("q1", PROMPT, ("Turin", "in Turin"), group="es")]
    assert items_of(Mlqa(tmp_path, "es")) == expected
    assert items_of(Mlqa(file, "es")) == expected
    with pytest.raises(BenchmarkFileError, match="test-context-en-question-de"):
        list(Mlqa(tmp_path, "de").items())


def test_bad_parts_of_a_document_are_rejected_and_reading_goes_on(tmp_path):
    content = document(question(), {"question": "¿Qué?"}, 7, question(name="q2"))
    content["data"] += [{"title": "no paragraphs"}, {"paragraphs": [{"context": "x"}]}, "x"]
    file = write_json(tmp_path / "mlqa.json", content)
    items = [entry for entry in Mlqa(file, "es").items() if isinstance(entry, BenchmarkItem)]
    assert [item.item_id for item in items] == ["q1", "q2"]
    reasons = left_out_of(Mlqa(file, "es"))
    assert list(reasons) == [f"mlqa.json, row {number}" for number in (2, 3, 5, 6, 7)]
    assert next(iter(reasons.values())).startswith("column 'answers' is missing")
    assert list(reasons.values())[2] == (
        "there is no list 'paragraphs'; expected one as in SQuAD's JSON"
    )


def test_lines_with_an_english_paragraph_are_read(tmp_path):
    row = {"id": "a", "context": "Ada lives in Turin.", "question": "¿Dónde vive Ada?"}
    file = write_lines(tmp_path / "questions.jsonl", row | {"answers": ["Turin"]})
    expected = [BenchmarkItem("a", PROMPT, ("Turin",), group="es")]
    assert items_of(Mlqa(file, "es")) == expected
