"""What a benchmark is: questions with a prompt, and a rule that says which outputs are right."""

import datetime
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from toolformer.errors import ToolformerError


class BenchmarkFileError(ToolformerError, ValueError):
    """The file of a benchmark is missing, unreadable, damaged, empty or of an unknown format."""


@dataclass(frozen=True, slots=True)
class BenchmarkItem:
    """One question.

    Attributes:
        item_id: Unique within the benchmark, and the same at every reading.
        prompt: What the model continues; does not end with white space.
        gold: The accepted answers as text, at least one; any of them counts.
        current_date: What the Calendar takes for today; None where it does not matter.
        group: What results may be split by: a relation, a language, a kind of question.
        bare_texts: What the prompt asks without the words of the task: the question or statement,
            and the paragraph that it is about. No text that is trained on may share them.
    """

    item_id: str
    prompt: str
    gold: tuple[str, ...]
    current_date: datetime.date | None = None
    group: str | None = None
    bare_texts: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class LeftOutItem:
    """A row that is not asked.

    Attributes:
        location: File and row, such as "test.jsonl, row 17".
        reason: `mask_not_last`: a model that writes from left to right cannot fill this gap.
            `answer_not_one_number`: the rule for numbers cannot score this problem. Of a row that
            cannot be read: the column, what stands in it and what was expected.
    """

    location: str
    reason: str


# Rules of scoring: words are compared, or numbers; or the answer is right only as an accepted
# number that is rounded as the Calculator does.
CountedBy: TypeAlias = Literal["words", "number", "rounded_number"]
BenchmarkEntry: TypeAlias = BenchmarkItem | LeftOutItem


@dataclass(frozen=True, slots=True)
class StopRule:
    """When decoding of an answer ends, besides at the end-of-text token.

    The paper gives no rule, so the benchmarks here have nothing but a limit of tokens. It leaves
    room for the words that are counted, at about two tokens a word, and somewhat more. Stop texts
    count outside calls. There is none at a line break: models that were tuned on instructions often
    begin with one and then give the right answer, and a stop there would make it wrong.
    """

    max_new_tokens: int
    stop_texts: tuple[str, ...] = ()


class Benchmark(ABC):
    """A set of questions with its protocol (paper, section 4.2).

    Attributes:
        blocked_tools: Tools that must not be called, since they would give the answer away.
        version: Part of fingerprints: changes whenever prompts, choice of items or scoring change.
            What the files hold is not in it.
    """

    name: str
    blocked_tools: tuple[str, ...] = ()
    stop_rule: StopRule
    version: str = "1"

    def files(self) -> Sequence[Path]:
        """Return the files that are read, for fingerprints; none if questions are generated."""
        return []

    @abstractmethod
    def items(self) -> Iterator[BenchmarkEntry]:
        """Yield the questions one by one; also what is not asked or cannot be read, in its place.

        Raises:
            BenchmarkFileError: A file is missing, empty, damaged or of an unknown format. What
                stands before a damaged part may have been yielded.
        """

    @abstractmethod
    def score(self, item: BenchmarkItem, output: str) -> bool:
        """Return whether an output, without the prompt and without calls, is right."""

    def counted_by(self, item: BenchmarkItem, output: str) -> CountedBy:  # noqa: ARG002
        """Return the rule that decides whether an output is right; the same in every mode."""
        return "words"

    def remarks(self) -> Mapping[str, int]:
        """Return remarks on the answers of the items last read, each with its number of items."""
        return {}

    def is_answerable(self, item: BenchmarkItem) -> bool:
        """Return whether an accepted answer is right as far as decoding can write it on one line.

        Every token writes at most one word.
        """
        return any(
            "\n" not in answer and self.score(item, self._as_decoded(answer))
            for answer in item.gold
        )

    def _as_decoded(self, answer: str) -> str:
        for stop in self.stop_rule.stop_texts:
            answer = answer.partition(stop)[0]
        return " ".join(answer.split()[: self.stop_rule.max_new_tokens])
