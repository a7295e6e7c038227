"""Questions with accepted answers, passages to find them in, and when a passage counts as found.

    NQ-open, TriviaQA, WebQuestions    questions
    LAMA SQuAD, LAMA T-REx             statements with a gap; what is searched for is the rest

A passage counts as found when an accepted answer occurs in its text. Each set is cut into two
halves by a seed: what is chosen, is chosen on one, and answers are reported on the other. Does not
search or read.
"""

import gzip
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from toolformer.evaluation.benchmarks.lama import MASK
from toolformer.evaluation.scoring import normalised_words
from tools.retrieval.passages import Passage

CHOSEN, REPORTED = "chosen on", "reported"

_QUESTIONS = {
    "NQ-open": "qa/nq_open_dev.jsonl",
    "TriviaQA": "qa/triviaqa_dev.jsonl.gz",
    "WebQuestions": "qa/webquestions_test.jsonl",
}
_STATEMENTS = {
    "LAMA SQuAD": "lama/lama_squad.jsonl",
    "LAMA T-REx": "lama/lama_trex.jsonl.gz",
}
_PASSAGES_FILE = "text/wiki_passages.jsonl.gz"


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        question_id: Key within its set.
        text: What is searched for.
        answers: Accepted ones.
    """

    question_id: str
    text: str
    answers: tuple[str, ...]

    def is_answered_by(self, passage_text: str) -> bool:
        """Whether an accepted answer occurs in a passage, in whole words."""
        words = _joined(passage_text)
        return any(answer in words for answer in map(_joined, self.answers) if answer.strip())


def read_passages(folder: Path) -> Iterator[Passage]:
    """The passages of the test data, in file order."""
    for number, record in enumerate(_records(folder / _PASSAGES_FILE)):
        yield Passage(str(number), record["title"], "", record["text"], "")


def read_questions(folder: Path) -> dict[str, list[Question]]:
    """The questions of the test data by set."""
    questions = {
        name: [
            Question(record["id"], record["question"], tuple(record["answers"]))
            for record in _records(folder / file)
        ]
        for name, file in _QUESTIONS.items()
    }
    statements = {
        name: [
            Question(
                record["id"],
                " ".join(record["masked_sentence"].replace(MASK, " ").split()),
                (record["answer"],),
            )
            for record in _records(folder / file)
        ]
        for name, file in _STATEMENTS.items()
    }
    return questions | statements


def half_of(questions: Sequence[Question], half: str, *, seed: int) -> list[Question]:
    """One half of a set, in the order of a shuffle.

    Example:
        >>> questions = [Question(str(number), "", ()) for number in range(4)]
        >>> chosen, reported = (half_of(questions, half, seed=0) for half in (CHOSEN, REPORTED))
        >>> sorted(question.question_id for question in [*chosen, *reported])
        ['0', '1', '2', '3']
    """
    shuffled = sorted(questions, key=lambda question: question.question_id)
    random.Random(seed).shuffle(shuffled)
    middle = len(shuffled) // 2
    return {CHOSEN: shuffled[:middle], REPORTED: shuffled[middle:]}[half]


@lru_cache(maxsize=100_000)
def _joined(text: str) -> str:
    """Normalised words with a space around each."""
    return f" {' '.join(normalised_words(text))} "


def _records(file: Path) -> Iterator[dict[str, Any]]:
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)
