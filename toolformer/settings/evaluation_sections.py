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

# Names of models for which the settings give no path.
BASE, FINETUNED = "base", "finetuned"
# All models with such a name, including the controls.
MODELS_OF_A_HOME = (BASE, FINETUNED, *(variant for variant in VARIANTS if variant != CALLS))
PERPLEXITY, DATESET, SUMS, FACTS = "perplexity", "dateset", "sums", "facts"
# Suffix of the names under which results of chats are stored.
_CHAT = "-chat"
# Names that the user chooses become parts of file names.
_NAME = re.compile(r"[A-Za-z0-9_-]+")
# Benchmarks that need no file from the user.
EMBEDDED_BENCHMARKS = (PERPLEXITY, DATESET, SUMS, FACTS)


QUESTION_PROMPT = "Answer the following question: {question}"


class QuestionFileSettings(Section):
    """A benchmark from a question file of your own."""

    path: str = Field(
        description="File with the questions: JSON, JSON lines, Parquet or tab-separated values, "
        "compressed or not."
    )
    question: str | tuple[str, ...] = Field(
        "question",
        description="Column with the question. `body + question` joins two columns. Of a list, "
        "the first column that a row has is used.",
    )
    answers: str | tuple[str, ...] = Field(
        "answers",
        description="Column with the accepted answer or a list of answers. Of a worked solution, "
        "the text after its last #### is used. Of a list, all columns that a row has are used.",
    )
    context: str | None = Field(None, description="Column with a text that the question refers to.")
    date: str | None = Field(
        None, description="Column with the date that the Calendar returns as today."
    )
    prompt: str = Field(
        QUESTION_PROMPT,
        description="Prompt with {question}, and with {context} if there is a column for it.",
    )
    scoring: Literal["words", "number", "last-number"] = Field(
        "words",
        description="Which outputs are correct. words: an answer is among the first words. "
        "number: the number after the first =, or else the first number, is an answer, perhaps "
        "rounded to two or three decimals. last-number: the last number is an answer.",
    )
    first_words: int = Field(
        20, ge=1, description="Number of words that `scoring: words` searches for an answer."
    )
    blocked_tools: tuple[str, ...] = Field((), description="Tools that must not be called.")
    max_new_tokens: int = Field(40, ge=1, description="Maximum length of an answer, in tokens.")
    stop_texts: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="Texts that end an answer."
    )
    id: str | tuple[str, ...] = Field(
        "id",
        description="Column with the id of the row. Of a list, the first column that a row has is "
        "used.",
    )
    group: str | tuple[str, ...] = Field(
        (),
        description="Column by which results are split (`item_group`). Numbers are grouped by "
        "powers of ten. Of a list, the first column that a row has is used.",
    )
    gap: str | None = Field(
        None,
        min_length=1,
        description="Placeholder for the answer in a statement, such as [MASK]. The model "
        "continues the text before it. Statements with words after the gap are left out.",
    )
    has_text_after_gap: bool = Field(
        False, description="Also ask statements with text after their first gap."
    )
    has_question_mark: bool = Field(
        False, description="Add a question mark to questions without one."
    )
    has_one_answer: bool = Field(
        False, description="Leave out rows with several different answers."
    )

    @field_validator("prompt")
    @classmethod
    def _prompt_fits_the_columns(cls, prompt: str, info: ValidationInfo) -> str:
        expected = {"question", "context"} if info.data.get("context") else {"question"}
        try:
            parts = [part[1:] for part in Formatter().parse(prompt) if part[1] is not None]
        except ValueError as error:
            raise ValueError(
                f"The prompt {prompt!r} is not a valid template: {error}. Double the braces that "
                "are not part of a placeholder."
            ) from error
        if {name for name, *_ in parts} != expected or any(form or way for _, form, way in parts):
            fields = " and ".join(f"{{{name}}}" for name in sorted(expected))
            raise ValueError(
                f"The prompt {prompt!r} must have the placeholders {fields} and no others. Correct "
                "it, set the column of the context, or double the braces that are not part of a "
                "placeholder."
            )
        return prompt


class ShippedQuestions(QuestionFileSettings):
    """A benchmark of `benchmarks.yaml`, which explains the additional fields."""

    path: str = ""
    version: str = "1"
    files: tuple[str, ...] = ()
    group_of_all: str | None = None


_ENTRIES = loaded(Path(__file__).with_name("benchmarks.yaml").read_text(encoding="utf-8")).items()
SHIPPED_QUESTIONS: Mapping[str, ShippedQuestions] = {
    name: ShippedQuestions(**entry) for name, entry in _ENTRIES
}
# The benchmarks for which the user provides files, in the order of the paper's tables.
BENCHMARKS = tuple(name for name in SHIPPED_QUESTIONS if name not in EMBEDDED_BENCHMARKS)


class EvaluationSettings(Section):
    """The benchmarks (paper §4.2–4.3)."""

    files: Mapping[str, str] = Field(
        default_factory=dict,
        description="File or folder of each public benchmark, by the benchmark's name.",
    )
    questions: Mapping[str, QuestionFileSettings] = Field(
        default_factory=dict, description="Question files of your own, by names you choose."
    )
    texts: Mapping[str, str] = Field(
        default_factory=dict,
        description="Text files to measure perplexity on, by names you choose.",
    )
    models: Mapping[str, str] = Field(
        default_factory=dict,
        description="Directories of further models to evaluate, by names you choose.",
    )
    benchmarks: tuple[str, ...] = Field(
        (PERPLEXITY, DATESET),
        description="Benchmarks to run. `toolformer evaluate --list` lists all of them.",
    )
    form: Literal["plain", "chat"] = Field(
        "plain",
        description="How questions are asked. plain: as a text to continue. chat: as `toolformer "
        "serve` passes on the messages of chat clients; the results have names of their own, "
        "such as sums-chat.",
    )
    items: int | None = Field(
        None,
        ge=1,
        description="Maximum number of items per benchmark, chosen with the seed. null: all.",
    )
    today: datetime.date = Field(
        datetime.date(2023, 2, 9),
        description="Date of the Calendar for items without a date. It is fixed, so that results "
        "can be repeated.",
    )
    perplexity_windows: int = Field(
        10_000, ge=1, description="Maximum number of text windows whose perplexity is measured."
    )
    dateset_items: int = Field(9_400, ge=1, le=9_400, description="Number of DATESET questions.")
    batch_size: int | None = Field(
        None,
        ge=1,
        description="Number of prompts decoded together. null: as many as fit on the device.",
    )
    seed: int = Field(0, ge=0, description="Random seed for generating and choosing items.")

    @property
    def known_benchmarks(self) -> tuple[str, ...]:
        return (*EMBEDDED_BENCHMARKS, *BENCHMARKS, *self.texts, *self.questions)

    @property
    def available_benchmarks(self) -> tuple[str, ...]:
        """Embedded benchmarks, and those whose file exists."""
        existing = (name for name, path in self.sources.items() if Path(path).exists())
        return (*EMBEDDED_BENCHMARKS, *existing)

    @property
    def sources(self) -> Mapping[str, str]:
        """Paths of question and text files, by benchmark."""
        own = {name: questions.path for name, questions in self.questions.items()}
        return {**self.files, **self.texts, **own}

    def result_name(self, benchmark: str) -> str:
        """Return the name under which results are stored, such as `sums-chat` if asked as chat.

        Example:
            >>> EvaluationSettings(form="chat").result_name("sums")
            'sums-chat'
        """
        is_chat = self.form == "chat" and not self.is_text(benchmark)
        return f"{benchmark}{_CHAT}" if is_chat else benchmark

    def is_text(self, benchmark: str) -> bool:
        """Return whether a benchmark measures perplexity instead of asking questions."""
        return benchmark == PERPLEXITY or benchmark in self.texts

    @property
    def available_models(self) -> tuple[str, ...]:
        return (*MODELS_OF_A_HOME, *self.models)

    @field_validator("files")
    @classmethod
    def _files_are_of_benchmarks(cls, files: Mapping[str, str]) -> Mapping[str, str]:
        _check_names(files, BENCHMARKS, "Add question files of your own to evaluation.questions.")
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
            # `plain-round-2` is the name of the plain model of round 2.
            if name.partition("-round-")[0] in taken
            or not _NAME.fullmatch(name)
            or name.endswith(_CHAT)
        ]
        if wrong:
            raise ValueError(
                f"{', '.join(map(repr, wrong))} cannot be used as a name in {info.field_name}: it "
                f"is taken, ends with {_CHAT}, or has other characters than letters, digits, - "
                "and _. Choose another name"
            )
        return named

    @field_validator("benchmarks")
    @classmethod
    def _are_known(cls, benchmarks: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        own = (*info.data.get("questions", {}), *info.data.get("texts", {}))
        _check_names(
            benchmarks,
            (*EMBEDDED_BENCHMARKS, *BENCHMARKS, *own),
            "Add question files of your own to evaluation.questions, and texts to "
            "evaluation.texts.",
        )
        return tuple(dict.fromkeys(benchmarks))


def _check_names(names: Iterable[str], known: Sequence[str], remedy: str) -> None:
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ValueError(
                f"there is no benchmark {name!r}.{hint} Expected one of {', '.join(known)}. "
                f"{remedy}"
            )
