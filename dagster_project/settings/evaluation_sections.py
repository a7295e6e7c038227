"""Settings of the benchmarks.

`sections.py` says what holds for all settings.
"""

import datetime
import difflib
from collections.abc import Mapping
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from dagster_project.settings.section import Section
from toolformer.evaluation.benchmarks.catalogue import BENCHMARKS
from toolformer.evaluation.prompts import QUESTION_PROMPT

PERPLEXITY, DATESET = "perplexity", "dateset"
# What there is without a file of questions.
EMBEDDED_BENCHMARKS = (PERPLEXITY, DATESET)


class QuestionFileSettings(Section):
    """A benchmark from a question file of your own."""

    path: str = Field(description="JSON lines, plain or compressed, one question a line")
    question: str = Field("question", description="column with the question")
    answers: str = Field("answers", description="column with the accepted answer, or a list")
    context: str | None = Field(None, description="column with a text that the question is about")
    date: str | None = Field(None, description="column with what the Calendar takes for today")
    prompt: str = Field(QUESTION_PROMPT, description="with {question}, and {context} if there is")
    scoring: Literal["words", "number"] = Field(
        "words",
        description="words: an answer is among the first words; number: the first number is one",
    )
    first_words: int = Field(20, ge=1, description="how many words are looked at")
    blocked_tools: tuple[str, ...] = Field((), description="tools that must not be called")
    max_new_tokens: int = Field(40, ge=1, description="longest answer, in tokens")
    stop_texts: tuple[str, ...] = Field((), description="texts that end an answer")


class EvaluationSettings(Section):
    """The benchmarks (paper §4.2–4.3)."""

    files: Mapping[str, str] = Field(
        default_factory=dict, description="file or folder of each public benchmark, by its name"
    )
    questions: Mapping[str, QuestionFileSettings] = Field(
        default_factory=dict, description="question files of your own, by the name you give them"
    )
    benchmarks: tuple[str, ...] = Field(
        EMBEDDED_BENCHMARKS,
        description="which are run; `toolformer evaluate --list` names all",
    )
    items: int | None = Field(
        None, ge=1, description="most items of each benchmark, chosen by the seed; null for all"
    )
    today: datetime.date = Field(
        datetime.date(2023, 2, 9),
        description="what the Calendar says where an item has no date of its own; fixed, so that "
        "results repeat",
    )
    perplexity_windows: int = Field(
        10_000, ge=1, description="held-out windows whose perplexity is measured"
    )
    dateset_items: int = Field(9_400, ge=1, le=9_400, description="questions of DATESET")
    dateset_new_tokens: int = Field(40, ge=5, description="longest answer, in tokens")
    batch_size: int = Field(16, ge=1, description="most prompts decoded at the same time")
    seed: int = Field(0, ge=0)

    @property
    def known_benchmarks(self) -> tuple[str, ...]:
        """All that can be named in `benchmarks`."""
        return (*EMBEDDED_BENCHMARKS, *BENCHMARKS, *self.questions)

    @field_validator("files")
    @classmethod
    def _files_are_of_benchmarks(cls, files: Mapping[str, str]) -> Mapping[str, str]:
        _check_names(files, BENCHMARKS, "Questions of your own belong into evaluation.questions.")
        return files

    @field_validator("questions")
    @classmethod
    def _names_are_free(
        cls, questions: Mapping[str, QuestionFileSettings]
    ) -> Mapping[str, QuestionFileSettings]:
        taken = [name for name in questions if name in (*EMBEDDED_BENCHMARKS, *BENCHMARKS)]
        unusable = [name for name in questions if not name or "." in name or "/" in name]
        if taken or unusable:
            raise ValueError(
                f"{', '.join(map(repr, [*taken, *unusable]))} cannot be the name of a question "
                "file: a benchmark has it, or it has a dot or a slash in it. Choose another name"
            )
        return questions

    @field_validator("benchmarks")
    @classmethod
    def _benchmarks_are_known(
        cls, benchmarks: tuple[str, ...], info: ValidationInfo
    ) -> tuple[str, ...]:
        own = info.data.get("questions", {})
        _check_names(
            benchmarks,
            (*EMBEDDED_BENCHMARKS, *BENCHMARKS, *own),
            "A question file of your own needs an entry in evaluation.questions.",
        )
        return tuple(dict.fromkeys(benchmarks))


def _check_names(
    names: Mapping[str, str] | tuple[str, ...],
    known: Mapping[str, object] | tuple[str, ...],
    remedy: str,
) -> None:
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, list(known), n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"there is no benchmark {name!r}.{hint} Known: {', '.join(known)}. {remedy}"
            )
