import bz2
import csv
import json

import pytest

from tests.toolformer.evaluation.benchmarks.question_files import (
    items_of,
    left_out_of,
    write_json,
    write_lines,
)
from toolformer.evaluation.benchmarks.benchmark import BenchmarkFileError, BenchmarkItem
from toolformer.evaluation.benchmarks.question_answering import (
    NaturalQuestions,
    PopQa,
    TriviaQa,
    WebQuestions,
)

PROMPT = "Answer the following question: "


@pytest.mark.parametrize(
    ("target", "answers"),
    [
        ("(list (description Turin))", ("Turin",)),
        ('(list (description "New Turin") (description Rome))', ("New Turin", "Rome")),
        (r'(list (description "Ada \"The Eye\" Lund (b. 1)"))', ('Ada "The Eye" Lund (b. 1)',)),
        ("(list (description Rome) (description Rome))", ("Rome",)),
        ('(list (description "A") (number 5))', ("A", "5")),
        ("(list (number 1.5))", ("1.5",)),
    ],
)
def test_the_target_values_of_webquestions_are_answers(tmp_path, target, answers):
    row = {"url": "http://a.com/en/ada", "targetValue": target, "utterance": "where was ada born?"}
    file = tmp_path / "webquestions.examples.test.json.bz2"
    file.write_bytes(bz2.compress(json.dumps([row]).encode()))
    assert items_of(WebQuestions(file)) == [
        BenchmarkItem("webquestions.examples.test-1", f"{PROMPT}where was ada born?", answers)
    ]


def test_numbered_questions_of_webquestions_are_read(tmp_path):
    rows = [{"qId": "wqs000001", "qText": "where is it?", "answers": ["Rome"]}]
    expected = [BenchmarkItem("wqs000001", f"{PROMPT}where is it?", ("Rome",))]
    assert items_of(WebQuestions(write_json(tmp_path / "test.json", rows, indent=1))) == expected


def test_the_lines_of_nq_open_are_read(tmp_path):
    asked = {"question": "who rang the bell", "answer": ["Ada", "Ada", "Mrs Lund"]}
    unanswerable = {"question": "which sign was it", "answer": ["-"]}
    file = write_lines(tmp_path / "NQ-open.dev.jsonl", asked, unanswerable)
    first, second = items_of(NaturalQuestions(file))
    answers = ("Ada", "Mrs Lund")
    assert first == BenchmarkItem("NQ-open.dev-1", f"{PROMPT}who rang the bell?", answers)
    # Asked, though no output can be right.
    assert not NaturalQuestions(file).score(second, "-")


def test_the_copies_of_triviaqa_in_lower_case_are_read(tmp_path):
    answer = {"aliases": ["Sunlight"], "value": "Sun", "normalized_value": "sun"}
    row = {"question": "Which star is near?", "question_id": "tc_3", "entity_pages": {"title": []}}
    file = write_lines(tmp_path / "copy.jsonl", {**row, "answer": answer})
    expected = [BenchmarkItem("tc_3", f"{PROMPT}Which star is near?", ("Sun", "Sunlight"))]
    assert items_of(TriviaQa(file)) == expected


@pytest.mark.parametrize("benchmark_class", [NaturalQuestions, TriviaQa, WebQuestions])
def test_a_question_is_not_asked_without_its_context(tmp_path, benchmark_class):
    row = {"question": "who rang it", "answer": ["Ada"], "context": "Ada rang the bell."}
    with pytest.raises(BenchmarkFileError, match="'context'"):
        items_of(benchmark_class(write_lines(tmp_path / "copy.jsonl", row)))


@pytest.mark.parametrize("other", ["(date 1999 3 4)", "(boolean true)", "(description (a) b)"])
def test_a_target_value_of_which_a_part_cannot_be_read_is_left_out(tmp_path, other):
    row = {"utterance": "when?", "targetValue": f"(list (description Rome) {other})"}
    (reason,) = left_out_of(WebQuestions(write_lines(tmp_path / "w.jsonl", row))).values()
    assert "expected (list (description ANSWER))" in reason


@pytest.mark.parametrize(
    ("given", "answers"),
    [
        ({"answer": "Sun", "answers": ["Sun", "Sunlight"]}, ("Sun", "Sunlight")),
        ({"answer": ["Sun"], "answers": {"text": ["Sol"]}}, ("Sun", "Sol")),
        ({"answers": "Sol", "answer": None}, ("Sol",)),
        ({"answer": "Sun", "aliases": ["Sol"]}, ("Sun", "Sol")),
        ({"answer": "[citation needed]"}, ("[citation needed]",)),
        ({"answer": "('Til) I Kissed You"}, ("('Til) I Kissed You",)),
    ],
)
@pytest.mark.parametrize("benchmark_class", [NaturalQuestions, TriviaQa, WebQuestions])
def test_all_columns_with_answers_count(tmp_path, benchmark_class, given, answers):
    file = write_lines(tmp_path / "copy.jsonl", {"question": "Which star is near?", **given})
    (item,) = items_of(benchmark_class(file))
    assert item.gold == answers


@pytest.mark.parametrize(
    "answer", ["['A', 'B']", '["A"]', "['A' 'B']", "[]", "{'value': 'A', 'aliases': ['B']}"]
)
@pytest.mark.parametrize("benchmark_class", [NaturalQuestions, TriviaQa, WebQuestions])
def test_a_list_written_as_text_is_no_answer(tmp_path, benchmark_class, answer):
    file = write_lines(tmp_path / "copy.jsonl", {"question": "which?", "answer": answer})
    (reason,) = left_out_of(benchmark_class(file)).values()
    assert reason.endswith("expected a list as JSON has it, not one within a text")


def test_the_document_of_triviaqa_is_read(tmp_path):
    answer = {"Aliases": ["Sunlight", "The Sun"], "Value": "Sun", "Type": "WikipediaEntity"}
    row = {"Answer": answer, "Question": "Which star is near?", "QuestionId": "tc_3"}
    answers = ("Sun", "Sunlight", "The Sun")
    expected = [BenchmarkItem("tc_3", f"{PROMPT}Which star is near?", answers)]
    for indent in (None, 4):
        document = {"Data": [row], "Domain": "Web", "Version": 1.0}
        file = write_json(tmp_path / f"dev{indent}.json", document, indent=indent)
        assert items_of(TriviaQa(file)) == expected


POPQA = (
    ("id", "subj", "prop", "obj", "s_pop", "question", "possible_answers"),
    (
        7,
        "Ada Lund",
        "occupation",
        "judge",
        142,
        "What is Ada's occupation?",
        '["judge", "\\"law\\""]',
    ),
    (5, "Hill", "capital of", "Lund", 9, "What is Hill the capital of?", '["Lund"]'),
    (6, "Hill", "capital", "Rome", 10, "What is the capital of Hill?", "[Rome]"),
    (7, "Hill", "capital", "Rome"),
    (8, "Hill", "capital", "Rome", 31000, "What is the capital of Hill?", '["Rome", 3]'),
)


def test_the_table_of_popqa_is_read_by_popularity(tmp_path):
    with (tmp_path / "popQA.tsv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, "excel-tab").writerows(POPQA)
    entries = list(PopQa(tmp_path / "popQA.tsv").items())
    items = [entry for entry in entries if isinstance(entry, BenchmarkItem)]
    assert [(item.item_id, item.prompt, item.gold, item.group) for item in items] == [
        ("7", f"{PROMPT}What is Ada's occupation?", ("judge", '"law"'), "s_pop 100-999"),
        ("5", f"{PROMPT}What is Hill the capital of?", ("Lund",), "s_pop 0-9"),
        ("8", f"{PROMPT}What is the capital of Hill?", ("Rome", "3"), "s_pop 10000-99999"),
    ]
    assert left_out_of(PopQa(tmp_path / "popQA.tsv")) == {
        "popQA.tsv, row 4": "column 'possible_answers' is '[Rome]'; expected a list as JSON has it",
        "popQA.tsv, row 5": "it has not 7 columns as the first line",
    }


def test_the_rows_of_popqa_are_read_as_json_lines(tmp_path):
    row = {"id": 1, "question": "Who is it?", "possible_answers": '["Ada"]', "s_pop": 1234}
    listed = {**row, "id": 2, "possible_answers": ["Ada", "Lund"]}
    items = items_of(PopQa(write_lines(tmp_path / "popqa.jsonl", row, listed)))
    assert [(item.gold, item.group) for item in items] == [
        (("Ada",), "s_pop 1000-9999"),
        (("Ada", "Lund"), "s_pop 1000-9999"),
    ]


def test_a_table_with_an_open_quotation_mark_is_told(tmp_path):
    (tmp_path / "popQA.tsv").write_text('id\tpossible_answers\n1\t"a', encoding="utf-8")
    with pytest.raises(BenchmarkFileError, match=r"begins in line 2: unexpected end"):
        list(PopQa(tmp_path / "popQA.tsv").items())
