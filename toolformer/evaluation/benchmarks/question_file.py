"""A benchmark from a question file of the user's own."""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from string import Formatter
from typing import Literal

from toolformer.base.digests import hex_digest
from toolformer.evaluation.benchmarks.benchmark import BenchmarkEntry, StopRule
from toolformer.evaluation.benchmarks.prompts import QUESTION_PROMPT
from toolformer.evaluation.benchmarks.question_benchmark import QuestionBenchmark
from toolformer.evaluation.benchmarks.rows import Asked, InvalidRowError, Row, excerpt, names_choice
from toolformer.evaluation.scoring import (
    answered_number,
    contains_answer,
    last_number,
    score_numbers,
    score_rounded_numbers,
)

Scoring = Literal["words", "number", "last-number"]
_NUMBER_OF = {"number": answered_number, "last-number": last_number}


class QuestionFile(QuestionBenchmark):
    """Questions with their accepted answers, a row each; described by `QuestionFileSettings`.

    Raises:
        ValueError: The prompt does not fit the columns.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        question: str = "question",
        answers: str = "answers",
        context: str | None = None,
        date: str | None = None,
        prompt: str = QUESTION_PROMPT,
        scoring: Scoring = "words",
        first_words: int = 20,
        blocked_tools: tuple[str, ...] = (),
        max_new_tokens: int = 40,
        stop_texts: tuple[str, ...] = (),
    ) -> None:
        super().__init__(path)
        _check_prompt(prompt, with_context=context is not None)
        self.name = name
        self.blocked_tools = blocked_tools
        self.stop_rule = StopRule(max_new_tokens, stop_texts)
        self.formats = ((question, self._read_row),)
        self.has_exact_names = True
        self._question, self._answers = question, answers
        self._context, self._date = context, date
        self.prompt_template, self._scoring = prompt, scoring
        if scoring in _NUMBER_OF:
            self.rule = partial(score_numbers, number_of=_NUMBER_OF[scoring])
            self.rounded_rule = partial(score_rounded_numbers, number_of=_NUMBER_OF[scoring])
        else:
            self.rule = partial(contains_answer, first_words=first_words)
        made_of = (question, answers, context, date, prompt, scoring, first_words)
        self._remarks = Counter[str]()
        self.version = f"4-{hex_digest(*made_of, size=8)}"

    def items(self) -> Iterator[BenchmarkEntry]:
        """Read the questions one by one; see `Benchmark`."""
        self._remarks.clear()
        yield from super().items()

    def remarks(self) -> Mapping[str, int]:
        """Return what answers are; see `Benchmark`."""
        return self._remarks

    def _read_row(self, row: Row) -> Asked:
        is_number = self._scoring in _NUMBER_OF
        date = self._date
        asked = Asked(
            row.text(self._question),
            row.numbers(self._answers) if is_number else row.listed_texts(self._answers),
            context=row.text(self._context) if self._context is not None else "",
            date=row.year_or_date(date) if date is not None and date in row else None,
        )
        choices = row.choices()
        texts = [text for of_column in choices.values() for text in of_column]
        columns = " and ".join(map(repr, choices))
        if all(names_choice(answer, texts) for answer in asked.answers):
            raise InvalidRowError(
                f"column {self._answers!r} is {excerpt(asked.answers[0])}, which names one of the "
                f"choices in {columns}; expected the answer itself, since choices are not asked"
            )
        if choices:
            self._remarks[f"belong to choices in {columns}, which the prompts do not show"] += 1
        if row.has_marked_answers:
            self._remarks["are what follows the last #### of a solution"] += 1
        return asked


def _check_prompt(prompt: str, *, with_context: bool) -> None:
    expected = {"question", "context"} if with_context else {"question"}
    try:
        parts = [part[1:] for part in Formatter().parse(prompt) if part[1] is not None]
    except ValueError as error:
        raise ValueError(
            f"The prompt {prompt!r} cannot be filled: {error}. Write other braces twice."
        ) from error
    if {name for name, *_ in parts} != expected or any(form or way for _, form, way in parts):
        places = " and ".join(f"{{{name}}}" for name in sorted(expected))
        raise ValueError(
            f"The prompt {prompt!r} has other fields to fill than {places}. Correct them, name the "
            "column of the context, or write other braces twice."
        )
