"""When a passage counts as found, and how answers are counted."""

import pytest

from benchmarks.answer_accuracy import answer_table
from benchmarks.open_questions import (
    ALL,
    CHOSEN,
    REPORTED,
    Question,
    half_of,
    read_questions,
    recall,
)
from tools.retrieval.passages import Passage

PASSAGES = {
    "a": Passage("a", "Suez", "", "It opened in 1869, under “Isma'il Pasha”.", ""),
    "b": Passage("b", "Otter", "", "Otters swim.", ""),
    "c": Passage("c", "River", "", "A river  flows.", ""),
}


@pytest.mark.parametrize(
    ("answers", "is_found"),
    [
        (("isma'il pasha",), True),
        (("nothing", "1869"), True),
        (("18",), False),
        (("opened 1869",), False),
        (("–",), False),
    ],
)
def test_an_open_question_is_answered_by_a_passage_with_an_answer_in_whole_words(answers, is_found):
    assert Question("q", "?", answers).is_answered_by(PASSAGES["a"]) is is_found


def test_a_question_about_a_paragraph_is_answered_by_that_paragraph_alone():
    question = Question("q", "?", ("river",), "A river flows.")
    assert [question.is_answered_by(each) for each in PASSAGES.values()] == [False, False, True]


def test_recall_counts_questions_whose_answer_is_among_the_first():
    questions = [Question("q", "?", ("1869",)), Question("r", "?", ("swim",))]
    rankings = {"q": ["b", "a"], "r": ["b"]}
    found = recall(questions, rankings, PASSAGES.__getitem__)
    assert found == {"recall@1": 50.0, "recall@5": 100.0, "recall@20": 100.0}
    assert recall(questions[:1], {"q": []}, PASSAGES.__getitem__)["recall@20"] == 0


def test_halves_share_no_question_and_depend_on_the_seed_alone():
    questions = [Question(str(number), "?", ()) for number in range(11)]
    chosen, reported = (half_of(questions, half, seed=3) for half in (CHOSEN, REPORTED))
    assert (len(chosen), len(reported)) == (5, 6)
    assert half_of(questions[::-1], CHOSEN, seed=3) == chosen
    assert half_of(questions, ALL, seed=3) == [*chosen, *reported]
    assert half_of(questions, CHOSEN, seed=4) != chosen


def test_an_improbable_answer_counts_as_an_abstention():
    row = {"is_readable": True, "seconds": 0.5, "cpu_seconds": 1.0}
    rows = [
        {**row, "answer": "The canal", "accepted": ("canal",), "probability": 0.3},
        {**row, "answer": "1869", "accepted": ("1869",), "probability": 0.03},
        {**row, "answer": "otter", "accepted": ("river",), "probability": 0.5},
        {**row, "answer": "", "accepted": ("river",), "probability": 0.0, "is_readable": False},
    ]
    by_threshold = {each["least probability"]: each for each in answer_table("set", rows)}
    everything, sure = by_threshold[0.0], by_threshold[0.1]
    assert (everything["answered %"], everything["right %"], everything["exact %"]) == (75, 50, 25)
    assert (sure["answered %"], sure["right %"], sure["right of answered %"]) == (50, 25, 50)
    assert (everything["readable %"], everything["seconds a question"]) == (75, 0.5)


def test_every_xquad_question_of_the_test_data_has_its_paragraph(test_data):
    sets = read_questions(test_data)
    assert {name: len(questions) for name, questions in sets.items()} == {
        "NQ-open": 1805,
        "TriviaQA": 1500,
        "WebQuestions": 1016,
        "XQuAD": 500,
    }
