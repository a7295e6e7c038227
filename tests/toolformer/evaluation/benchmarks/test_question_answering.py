import bz2
import json

import pytest

from tests.toolformer.evaluation.benchmarks.question_files import (
    items_of,
    write_json,
    write_lines,
)
from toolformer.evaluation.benchmarks.benchmark import BenchmarkItem
from toolformer.evaluation.benchmarks.question_answering import (
    NaturalQuestions,
    TriviaQa,
    WebQuestions,
)

PROMPT = "Answer the following question: "


def web_row(target):
    return {
        "url": "http://www.freebase.com/view/en/ada",
        "targetValue": target,
        "utterance": "where was ada born?",
    }


@pytest.mark.parametrize(
    ("target", "answers"),
    [
        ("(list (description Turin))", ("Turin",)),
        ('(list (description "New Turin") (description Rome))', ("New Turin", "Rome")),
        (r'(list (description "Ada \"The Eye\" Lund (b. 1)"))', ('Ada "The Eye" Lund (b. 1)',)),
        ("(list (description Rome) (description Rome))", ("Rome",)),
    ],
)
def test_the_target_values_of_webquestions_are_answers(tmp_path, target, answers):
    file = tmp_path / "webquestions.examples.test.json.bz2"
    file.write_bytes(bz2.compress(json.dumps([web_row(target)]).encode()))
    assert items_of(WebQuestions(file)) == [
        BenchmarkItem("webquestions.examples.test-1", f"{PROMPT}where was ada born?", answers)
    ]


def test_numbered_questions_of_webquestions_are_read(tmp_path):
    rows = [{"qId": "wqs000001", "qText": "where is it?", "answers": ["Rome"]}]
    assert items_of(WebQuestions(write_json(tmp_path / "test.json", rows, indent=1))) == [
        BenchmarkItem("wqs000001", f"{PROMPT}where is it?", ("Rome",))
    ]


def test_the_lines_of_nq_open_are_read(tmp_path):
    rows = [
        {"question": "who rang the bell", "answer": ["Ada", "Ada", "Mrs Lund"]},
        {"question": "which sign was it", "answer": ["-"]},
    ]
    items = items_of(NaturalQuestions(write_lines(tmp_path / "NQ-open.dev.jsonl", *rows)))
    assert items[0] == BenchmarkItem(
        "NQ-open.dev-1", f"{PROMPT}who rang the bell?", ("Ada", "Mrs Lund")
    )
    # Asked, though no output can be right.
    assert not NaturalQuestions(tmp_path).score(items[1], "-")


def test_the_document_of_triviaqa_is_read(tmp_path):
    row = {
        "Answer": {"Aliases": ["Sunlight", "The Sun"], "Value": "Sun", "Type": "WikipediaEntity"},
        "Question": "Which star is near?",
        "QuestionId": "tc_3",
        "SearchResults": [],
    }
    document = {"Data": [row], "Domain": "Web", "Version": 1.0}
    expected = [
        BenchmarkItem("tc_3", f"{PROMPT}Which star is near?", ("Sun", "Sunlight", "The Sun"))
    ]
    for indent in (None, 4):
        file = write_json(tmp_path / f"dev{indent}.json", document, indent=indent)
        assert items_of(TriviaQa(file)) == expected
