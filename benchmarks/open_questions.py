"""Questions with accepted answers, passages to find them in, and when a passage counts as found.

    NQ-open, TriviaQA, WebQuestions    an accepted answer occurs in the text of the passage
    XQuAD, English questions           the passage is the paragraph that the question was asked of

Each set is cut into two halves by a seed: what is chosen, is chosen on one, and reported on the
other. Does not search or read.
"""

import gzip
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from toolformer.evaluation.scoring import normalised_words
from tools.retrieval.passages import Passage

CHOSEN, REPORTED, ALL = "chosen on", "reported", "all"
HALVES = (CHOSEN, REPORTED, ALL)
DEPTHS = (1, 5, 20)

_OPEN = {
    "NQ-open": "qa/nq_open_dev.jsonl",
    "TriviaQA": "qa/triviaqa_dev.jsonl.gz",
    "WebQuestions": "qa/webquestions_test.jsonl",
}
_XQUAD, _XQUAD_FILE = "XQuAD", "mlqa_standin_xquad/xquad_es_q_en_ctx.jsonl.gz"
_PASSAGES_FILE = "text/wiki_passages.jsonl.gz"


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        question_id: Key within its set.
        text: The question.
        answers: Accepted ones.
        paragraph: What it was asked of; None for an open question.
    """

    question_id: str
    text: str
    answers: tuple[str, ...]
    paragraph: str | None = None

    def is_answered_by(self, passage: Passage) -> bool:
        """Whether a passage counts as found for this question."""
        if self.paragraph is not None:
            return " ".join(passage.text.split()) == self.paragraph
        return self.is_answerable_from(passage)

    def is_answerable_from(self, passage: Passage) -> bool:
        """Whether an accepted answer occurs in a passage, in whole words."""
        words = _joined(passage.text)
        return any(answer in words for answer in map(_joined, self.answers) if answer.strip())


def read_passages(folder: Path) -> Iterator[Passage]:
    """The passages of the test data, in file order."""
    for record in _records(folder / _PASSAGES_FILE):
        yield Passage(record["id"], record["title"], "", record["text"], "")


def read_questions(folder: Path) -> dict[str, list[Question]]:
    """The questions of the test data by set; of XQuAD those whose paragraph is a passage."""
    sets = {
        name: [
            Question(record["id"], record["question"], tuple(record["answers"]))
            for record in _records(folder / file)
        ]
        for name, file in _OPEN.items()
    }
    texts = {" ".join(passage.text.split()) for passage in read_passages(folder)}
    sets[_XQUAD] = [
        Question(record["id"], record["question_en"], tuple(record["answers"]), paragraph)
        for record in _records(folder / _XQUAD_FILE)
        if (paragraph := " ".join(record["context"].split())) in texts
    ]
    return sets


def half_of(questions: Sequence[Question], half: str, *, seed: int) -> list[Question]:
    """One half of a set, in the order of a shuffle; `ALL` for both.

    Example:
        >>> questions = [Question(str(number), "", ()) for number in range(4)]
        >>> chosen, reported = (half_of(questions, half, seed=0) for half in (CHOSEN, REPORTED))
        >>> sorted(question.question_id for question in [*chosen, *reported])
        ['0', '1', '2', '3']
    """
    shuffled = sorted(questions, key=lambda question: question.question_id)
    random.Random(seed).shuffle(shuffled)
    middle = len(shuffled) // 2
    return {CHOSEN: shuffled[:middle], REPORTED: shuffled[middle:], ALL: shuffled}[half]


def recall(
    questions: Sequence[Question],
    rankings: Mapping[str, Sequence[str]],
    passage_of: Callable[[str], Passage],
) -> dict[str, float]:
    """Share of questions for which one of the first passages counts as found.

    Args:
        questions: At least one.
        rankings: Passage ids by question id, best first.
        passage_of: Gives a passage by its id.

    Returns:
        Percent by depth, such as `recall@5`.
    """
    firsts = []
    for question in questions:
        ranking = rankings[question.question_id]
        found = (
            rank
            for rank, name in enumerate(ranking, start=1)
            if question.is_answered_by(passage_of(name))
        )
        firsts.append(next(found, max(DEPTHS) + 1))
    return {
        f"recall@{depth}": 100 * sum(first <= depth for first in firsts) / len(firsts)
        for depth in DEPTHS
    }


@lru_cache(maxsize=100_000)
def _joined(text: str) -> str:
    """Normalised words with a space around each."""
    return f" {' '.join(normalised_words(text))} "


def _records(file: Path) -> Iterator[dict[str, Any]]:
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)
