"""When a passage counts as found, and how answers are counted."""

import pytest

from benchmarks.answer_accuracy import answer_table
from benchmarks.open_questions import (
    CHOSEN,
    REPORTED,
    Question,
    half_of,
)


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
    passage = "It opened in 1869, under “Isma'il Pasha”."
    assert Question("q", "?", answers).is_answered_by(passage) is is_found


def test_halves_share_no_question_and_depend_on_the_seed_alone():
    questions = [Question(str(number), "?", ()) for number in range(11)]
    chosen, reported = (half_of(questions, half, seed=3) for half in (CHOSEN, REPORTED))
    assert (len(chosen), len(reported)) == (5, 6)
    assert len({question.question_id for question in (*chosen, *reported)}) == 11
    assert half_of(questions[::-1], CHOSEN, seed=3) == chosen
    assert half_of(questions, CHOSEN, seed=4) != chosen


def test_an_improbable_answer_counts_as_an_abstention():
    rows = [
        {"answer": "The canal", "accepted": ("canal",), "probability": 0.3, "seconds": 0.5},
        {"answer": "1869", "accepted": ("1869",), "probability": 0.03, "seconds": 0.5},
        {"answer": "otter", "accepted": ("river",), "probability": 0.5, "seconds": 0.5},
        {"answer": "", "accepted": ("river",), "probability": 0.0, "seconds": 0.5},
    ]
    by_threshold = {row["minimum probability"]: row for row in answer_table(rows)}
    everything, sure = by_threshold[0.0], by_threshold[0.1]
    assert (everything["readable"], everything["right"], everything["exact"]) == (4, 2, 1)
    assert (sure["right"], sure["exact"]) == (1, 0)
    assert everything["processor seconds a readable question"] == 0.5
