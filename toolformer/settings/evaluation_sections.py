"""Settings of the benchmarks."""

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from toolformer.base.names import did_you_mean
from toolformer.settings.section import Section
from toolformer.settings.training_sections import CALLS, VARIANTS
from toolformer.settings.yaml_text import loaded

# Models that are named by what they are and not by a path.
BASE, FINETUNED = "base", "finetuned"
# Models that have a name without the settings giving them one.
MODELS_OF_A_HOME = (BASE, FINETUNED, *(variant for variant in VARIANTS if variant != CALLS))
PERPLEXITY, DATESET, SUMS, FACTS = "perplexity", "dateset", "sums", "facts"
# Ends the names of results of chats.
_CHAT = "-chat"
# Part of the names of files.
_NAME = re.compile(r"[A-Za-z0-9_-]+")
# What there is without a file of questions.
EMBEDDED_BENCHMARKS = (PERPLEXITY, DATESET, SUMS, FACTS)


QUESTION_PROMPT = "Answer the following question: {question}"


class QuestionFileSettings(Section):
    """A benchmark from a question file of your own."""

    path: str = Field(description="JSON (also lines), Parquet, a table with tabs; also compressed")
    question: str | tuple[str, ...] = Field(
        "question",
        description="column with the question; `body + question` joins two columns; of a list, the "
        "first that a row has",
    )
    answers: str | tuple[str, ...] = Field(
        "answers",
        description="column with the accepted answer, or a list; of a solution, what follows its "
        "last ####; of a list of columns, all that a row has",
    )
    context: str | None = Field(None, description="column with a text that the question is about")
    date: str | None = Field(None, description="column with what the Calendar takes for today")
    prompt: str = Field(
        QUESTION_PROMPT, description="prompt with {question}, and {context} where there is one"
    )
    scoring: Literal["words", "number", "last-number"] = Field(
        "words",
        description="words: an answer is among the first words; number: the number behind the "
        "first =, or else the first one, is an answer, perhaps rounded to two or three decimals; "
        "last-number: the last one is",
    )
    first_words: int = Field(
        20, ge=1, description="number of words in which `words` looks for an answer"
    )
    blocked_tools: tuple[str, ...] = Field((), description="tools that must not be called")
    max_new_tokens: int = Field(40, ge=1, description="longest answer, in tokens")
    stop_texts: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="texts that end an answer"
    )
    id: str | tuple[str, ...] = Field(
        "id", description="column with the row's own id; of a list, the first that a row has"
    )
    group: str | tuple[str, ...] = Field(
        (),
        description="column by which results can be split (`item_group`); numbers are grouped by "
        "powers of ten; of a list, the first that a row has",
    )
    gap: str | None = Field(
        None,
        min_length=1,
        description="text such as [MASK] that stands for the answer in a statement; the text "
        "before it is asked, and a statement with words after it is left out",
    )
    has_text_after_gap: bool = Field(
        False, description="whether statements with text after their first gap are asked too"
    )
    has_question_mark: bool = Field(
        False, description="whether a question mark is added to questions without one"
    )
    has_one_answer: bool = Field(
        False, description="whether rows with several different answers are left out"
    )

    @field_validator("prompt")
    @classmethod
    def _prompt_fits_the_columns(cls, prompt: str, info: ValidationInfo) -> str:
        expected = {"question", "context"} if info.data.get("context") else {"question"}
        try:
            parts = [part[1:] for part in Formatter().parse(prompt) if part[1] is not None]
        except ValueError as error:
            raise ValueError(
                f"The prompt {prompt!r} cannot be filled: {error}. Write other braces twice."
            ) from error
        if {name for name, *_ in parts} != expected or any(form or way for _, form, way in parts):
            fields = " and ".join(f"{{{name}}}" for name in sorted(expected))
            raise ValueError(
                f"The prompt {prompt!r} has other fields to fill than {fields}. Correct them, name "
                "the column of the context, or write other braces twice."
            )
        return prompt


class ShippedQuestions(QuestionFileSettings):
    """A benchmark of `benchmarks.yaml`, whose comments say what its own fields mean.

    `evaluation.files` gives the path.
    """

    path: str = ""
    version: str = "1"
    files: tuple[str, ...] = ()
    group_of_all: str | None = None


_ENTRIES = loaded(Path(__file__).with_name("benchmarks.yaml").read_text(encoding="utf-8")).items()
SHIPPED_QUESTIONS: Mapping[str, ShippedQuestions] = {
    name: ShippedQuestions(**entry) for name, entry in _ENTRIES
}
# The benchmarks that come as files, in the order of the paper's tables.
BENCHMARKS = tuple(name for name in SHIPPED_QUESTIONS if name not in EMBEDDED_BENCHMARKS)


class EvaluationSettings(Section):
    """The benchmarks (paper §4.2–4.3)."""

    files: Mapping[str, str] = Field(
        default_factory=dict, description="file or folder of each public benchmark, by its name"
    )
    questions: Mapping[str, QuestionFileSettings] = Field(
        default_factory=dict, description="question files of your own, by the name you give them"
    )
    texts: Mapping[str, str] = Field(
        default_factory=dict, description="texts whose perplexity is measured, by names you choose"
    )
    models: Mapping[str, str] = Field(
        default_factory=dict, description="directories of further models, by names you choose"
    )
    benchmarks: tuple[str, ...] = Field(
        (PERPLEXITY, DATESET), description="benchmarks to run (all: `toolformer evaluate --list`)"
    )
    form: Literal["plain", "chat"] = Field(
        "plain",
        description="how questions are asked: plain, as a text that goes on, or chat, as "
        "`toolformer serve` asks what chat clients send; results of chats stand beside the others, "
        "as sums-chat",
    )
    items: int | None = Field(
        None, ge=1, description="maximum items per benchmark, chosen by the seed; null: all"
    )
    today: datetime.date = Field(
        datetime.date(2023, 2, 9),
        description="date of the Calendar for items without one; fixed, so that results can be "
        "repeated",
    )
    perplexity_windows: int = Field(
        10_000, ge=1, description="maximum windows of the texts whose perplexity is measured"
    )
    dateset_items: int = Field(9_400, ge=1, le=9_400, description="number of DATESET questions")
    batch_size: int | None = Field(
        None, ge=1, description="prompts decoded together; null: as many as fit on the device"
    )
    seed: int = Field(0, ge=0, description="random seed of the items that are generated or chosen")

    @property
    def known_benchmarks(self) -> tuple[str, ...]:
        """All that can be named in `benchmarks`."""
        return (*EMBEDDED_BENCHMARKS, *BENCHMARKS, *self.texts, *self.questions)

    @property
    def available_benchmarks(self) -> tuple[str, ...]:
        """The embedded ones, and those whose questions or texts are there."""
        there = (name for name, path in self.sources.items() if Path(path).exists())
        return (*EMBEDDED_BENCHMARKS, *there)

    @property
    def sources(self) -> Mapping[str, str]:
        """Where the questions or texts are that the settings give, by benchmark."""
        own = {name: questions.path for name, questions in self.questions.items()}
        return {**self.files, **self.texts, **own}

    def result_name(self, benchmark: str) -> str:
        """The name that a benchmark's results have: another one where it is asked as a chat.

        Example:
            >>> EvaluationSettings(form="chat").result_name("sums")
            'sums-chat'
        """
        is_chat = self.form == "chat" and not self.is_text(benchmark)
        return f"{benchmark}{_CHAT}" if is_chat else benchmark

    def is_text(self, benchmark: str) -> bool:
        """Whether a benchmark measures the losses of texts, and asks no questions."""
        return benchmark == PERPLEXITY or benchmark in self.texts

    @property
    def available_models(self) -> tuple[str, ...]:
        """All that can be measured: base, finetuned, the controls, and those of `models`."""
        return (*MODELS_OF_A_HOME, *self.models)

    @field_validator("files")
    @classmethod
    def _files_are_of_benchmarks(cls, files: Mapping[str, str]) -> Mapping[str, str]:
        _check_names(files, BENCHMARKS, "Questions of your own belong into evaluation.questions.")
        return files

    @field_validator("texts", "questions", "models")
    @classmethod
    def _names_are_free(cls, named: Any, info: ValidationInfo) -> Any:
        taken = (*EMBEDDED_BENCHMARKS, *BENCHMARKS, *info.data.get("questions", {}))
        if info.field_name == "models":
            taken = MODELS_OF_A_HOME
        wrong = [
            name
            for name in named
            # `plain-round-2` is what the plain model of that round is called.
            if name.partition("-round-")[0] in taken
            or not _NAME.fullmatch(name)
            # Results of chats are called so.
            or name.endswith(_CHAT)
        ]
        if wrong:
            raise ValueError(
                f"{', '.join(map(repr, wrong))} cannot be the name of one of {info.field_name}: "
                f"another has it, it ends with {_CHAT}, or it is not made of letters, digits, "
                "- and _. Choose another name"
            )
        return named

    @field_validator("benchmarks")
    @classmethod
    def _are_known(cls, benchmarks: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        own = (*info.data.get("questions", {}), *info.data.get("texts", {}))
        _check_names(
            benchmarks,
            (*EMBEDDED_BENCHMARKS, *BENCHMARKS, *own),
            "A question file of your own needs an entry in evaluation.questions, a text in "
            "evaluation.texts.",
        )
        return tuple(dict.fromkeys(benchmarks))


def _check_names(names: Iterable[str], known: Sequence[str], remedy: str) -> None:
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ValueError(
                f"there is no benchmark {name!r}.{hint} Known: {', '.join(known)}. {remedy}"
            )
