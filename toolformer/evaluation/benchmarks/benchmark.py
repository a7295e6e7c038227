"""Defines the interface of a benchmark: questions with prompts, and a scoring rule."""

import datetime
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from toolformer.errors import ToolformerError


class BenchmarkFileError(ToolformerError, ValueError):
    """Error for a benchmark file that is missing, damaged, empty or of an unknown format."""


@dataclass(frozen=True, slots=True)
class BenchmarkItem:
    """One question.

    Attributes:
        item_id: Id that is unique within the benchmark and stable across reads.
        gold: Accepted answers, at least one; any of them counts.
        group: Category to split results by, such as a relation or language.
        bare_texts: Question and paragraph without the words of the task prompt. No training text
            may overlap with them.
    """

    item_id: str
    prompt: str
    gold: tuple[str, ...]
    current_date: datetime.date | None = None
    group: str | None = None
    bare_texts: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class SkippedItem:
    """Row of a file that is not asked; `location` has the form `test.jsonl, row 17`.

    The reason is `mask_not_last` if text follows the gap, which a left-to-right model cannot fill.
    Otherwise it names the faulty column, its value and what was expected.
    """

    location: str
    reason: str


# Scoring rules: compare words, compare numbers, or accept a number only because it equals an
# accepted answer as rounded by the Calculator.
CountedBy: TypeAlias = Literal["words", "number", "rounded_number"]
BenchmarkEntry: TypeAlias = BenchmarkItem | SkippedItem


@dataclass(frozen=True, slots=True)
class StopRule:
    """Rule that ends an answer, in addition to the end-of-text token.

    The paper has no such rule. Our benchmarks use only a token limit, with about two tokens per
    counted word and some slack. They do not stop at a line break, because instruction-tuned models
    often begin with one before the right answer. Stop texts within calls do not count.
    """

    max_new_tokens: int
    stop_texts: tuple[str, ...] = ()


class Benchmark(ABC):
    """Set of questions with its protocol (paper §4.2).

    Attributes:
        blocked_tools: Tools that must not be called because they would give the answer away.
        version: Part of fingerprints; changes with prompts, item selection or scoring. It does not
            cover the contents of the files.
    """

    name: str
    blocked_tools: tuple[str, ...] = ()
    stop_rule: StopRule
    version: str = "1"

    def files(self) -> Sequence[Path]:
        """Return the files to include in fingerprints; none if questions are generated."""
        return []

    @abstractmethod
    def items(self) -> Iterator[BenchmarkEntry]:
        """Yield questions and skipped rows in the order of the files.

        Raises `BenchmarkFileError`, possibly after items that precede a damaged part of a file.
        """

    @abstractmethod
    def score(self, item: BenchmarkItem, output: str) -> bool:
        """Return whether an output, without prompt and calls, is right."""

    def counted_by(self, item: BenchmarkItem, output: str) -> CountedBy:  # noqa: ARG002
        """Return the rule that decides whether an output is right; the same in every mode."""
        return "words"

    def remarks(self) -> Mapping[str, int]:
        """Return remarks on answers in the last pass over `items`, each with a count of items."""
        return {}

    def is_answerable(self, item: BenchmarkItem) -> bool:
        """Return whether an accepted answer scores as right on one line within the token limit.

        Assumes that a token writes at most one word.
        """
        return any(
            "\n" not in answer and self.score(item, self._as_decoded(answer))
            for answer in item.gold
        )

    def _as_decoded(self, answer: str) -> str:
        for stop in self.stop_rule.stop_texts:
            answer = answer.partition(stop)[0]
        return " ".join(answer.split()[: self.stop_rule.max_new_tokens])
