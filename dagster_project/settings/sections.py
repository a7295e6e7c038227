"""All settings of a run, with their meaning, their bounds and the paper's values as defaults.

The longest sections stand in `tool_sections.py`, `training_sections.py` and
`evaluation_sections.py`. No other place has default numbers; `presets.py` names what a smaller
set-up changes.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import InitErrorDetails

from dagster_project.settings.errors import SettingsError
from dagster_project.settings.evaluation_sections import BASE, FINETUNED, EvaluationSettings
from dagster_project.settings.section import Section
from dagster_project.settings.tool_sections import (
    PassageIndexSettings,
    PluginSettings,
    QuestionAnsweringSettings,
    ToolsSettings,
    WikipediaIndexSettings,
)
from dagster_project.settings.training_sections import TrainingSettings
from toolformer.sources.source import (
    DATE_COLUMN,
    STARTER_TEXTS,
    TEXT_COLUMN,
    TITLE_COLUMN,
    URL_COLUMN,
    WIKIPEDIA_EXCERPT,
    normalised_path,
)
from tools.registry import tool_names

PresetName = Literal["paper", "laptop", "demo", "small"]


class LanguageModelSettings(Section):
    """The base model: it is finetuned, and annotates unless sampling.annotator names another."""

    path: str = Field(
        "embedded",
        description="directory as `save_pretrained` writes it, or `embedded` for the model that "
        "comes with the project. The paper uses GPT-J.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="precision of sampling, scoring and decoding; auto: bfloat16 where the model "
        "is at least 1.2 times as fast in it, measured at the first use",
    )
    device: str = Field("auto", description="auto, cpu or a CUDA device such as cuda:0")
    bos_token: str | None = Field(
        None,
        description="token in front of every scored text, so that its first token has a "
        "probability; by default <|endoftext|> where the vocabulary has it",
    )


class SourceSettings(Section):
    """One source of texts."""

    path: str = Field(
        description="file, folder or glob, here or at s3://; or starter-texts / wikipedia-excerpt"
    )
    format: Literal["auto", "jsonl", "parquet", "text", "wikipedia-dump", "warc"] = "auto"
    text_column: str = TEXT_COLUMN
    url_column: str | None = URL_COLUMN
    date_column: str | None = DATE_COLUMN
    title_column: str | None = TITLE_COLUMN
    context_column: str | None = Field(
        None,
        description="column with a text that precedes the document in training and is not "
        "annotated, such as the question of a worked problem",
    )
    limit: int | None = Field(None, ge=1, description="maximum number of records, from the start")
    shard_size: int | None = Field(
        None, ge=1, description="records per shard; null: corpus.shard_size"
    )
    maximum_file_bytes: int | None = Field(
        None,
        ge=1,
        description="maximum size of a decompressed file in bytes, 500 counted extra for each "
        "record; null: 64 MiB plus 200 times its size",
    )
    tools: tuple[str, ...] | None = Field(
        None, description="tools that annotate its texts; null: every tool that preselects them"
    )
    license: str | None = Field(
        None, description="license of the texts, such as cc-by-sa-4.0; the model card repeats it"
    )


# The corpus where no source is listed. A page of the excerpt is some eight documents.
EMBEDDED_SOURCES = (
    SourceSettings(path=STARTER_TEXTS),  # pyright: ignore[reportCallIssue]
    SourceSettings(path=WIKIPEDIA_EXCERPT, shard_size=10),  # pyright: ignore[reportCallIssue]
)


class CorpusSettings(Section):
    """The texts C and how they are cut."""

    sources: tuple[SourceSettings, ...] = Field(
        (),
        description="the texts; none listed means the embedded corpus (starter-texts and "
        "wikipedia-excerpt)",
    )
    shard_size: int = Field(1000, ge=1, description="records per shard, the unit of work")
    window_tokens: int = Field(
        512, ge=8, description="longest stretch of text that is annotated at once, in tokens"
    )
    max_windows_per_text: int = Field(
        2000,
        ge=1,
        description="windows annotated per text; the rest of a longer text is not annotated",
    )
    held_out_every: int = Field(
        10, ge=0, description="every n-th shard is held out from training; 0 for none"
    )


class SamplingSettings(Section):
    """Sampling of candidate calls (paper §2). The paper gives no temperature, length or seed."""

    max_new_tokens: int = Field(64, ge=1, le=512, description="longest sampled call, in tokens")
    temperature: float = Field(1.0, gt=0, description="temperature of the sampling distribution")
    seed: int = Field(
        0, ge=0, description="random seed of all stages that have no seed of their own"
    )
    is_constrained: bool = Field(
        True,
        description="force the tool's name and bracket after ` [`, and `]` once they close",
    )
    proposals: Literal["none", "positions", "calls"] = Field(
        "none",
        description="none: p(` [`) chooses where calls are sampled, as in the paper; positions: "
        "the tool proposes where; calls: and, where it can, which call",
    )
    windows_per_batch: int | None = Field(
        None,
        ge=1,
        description="texts whose calls are sampled together; changes last digits only; chosen for "
        "the device by default",
    )
    round: int = Field(
        1, ge=1, description="round of annotation; the rows of each round stand beside the others'"
    )
    annotator: str = Field(
        BASE,
        description="model that samples and scores in this round: base (language_model.path), "
        "finetuned (the model trained in the previous round), or a model directory",
    )
    uses_prompt: bool = Field(
        True,
        description="show the tool's few-shot prompt while sampling; a finetuned model needs none",
    )
    tools: tuple[str, ...] | None = Field(
        None,
        description="tools that annotate in this round; null: all that are enabled",
    )
    is_chained: bool = Field(
        False,
        description="annotate the texts that have a call of the round before: the first one stays "
        "in the text with its result, and further calls are sampled behind it; not in the paper",
    )
    shards: int | None = Field(
        None,
        ge=1,
        description="number of shards that a build annotates, taken from all sources alternately, "
        "held-out ones not counted; null: all",
    )

    @field_validator("annotator")
    @classmethod
    def _has_earlier_round(cls, annotator: str, info: ValidationInfo) -> str:
        if annotator == FINETUNED and info.data.get("round") == 1:
            raise ValueError(
                "no round before round 1 has a finetuned model that could annotate; set "
                "sampling.round to 2 or more, or annotator to base or a model directory"
            )
        return annotator

    @field_validator("is_chained")
    @classmethod
    def _chain_has_earlier_round(cls, is_chained: bool, info: ValidationInfo) -> bool:
        if is_chained and info.data.get("round") == 1:
            raise ValueError(
                "round 1 has no round before it whose calls stand in its texts; set sampling.round "
                "to 2 or more, or write it into a later entry of `rounds`"
            )
        return is_chained

    @field_validator("uses_prompt")
    @classmethod
    def _base_needs_prompt(cls, uses_prompt: bool, info: ValidationInfo) -> bool:
        if not uses_prompt and info.data.get("annotator") == BASE:
            raise ValueError(
                "the base model was never shown a call, so without the prompt it writes none; set "
                "sampling.annotator to finetuned or to the directory of a Toolformer"
            )
        return uses_prompt


class ScoringSettings(Section):
    """The three losses (paper §2, "Filtering API Calls")."""

    empty_result_keeps_arrow: bool = Field(
        True, description="e(c, ε) is `[Tool(args) ->]`; otherwise `[Tool(args)]`"
    )
    placement: Literal["prefix", "inline"] = Field(
        "prefix",
        description="where a call stands while it is scored: prefix, in front of its text (the "
        "paper); inline, at its place in it, for annotators that know calls",
    )
    baseline: Literal["minimum", "without_call"] = Field(
        "minimum",
        description="loss that a call with its result has to undercut: minimum, the smaller of the "
        "losses without a call and with a call without result (the paper); or without_call",
    )
    window_tokens: int = Field(
        5, ge=1, le=512, description="tokens behind the position whose losses count; the paper: 5"
    )
    window_weights: Literal["linear", "uniform"] = Field(
        "linear",
        description="weights of these tokens: linear, falling to 0 (the paper); or uniform",
    )
    lowest_threshold: float = Field(
        0.1,
        ge=0,
        description="lower bound of every filtering_threshold, in nats; a call that cannot reach "
        "it is not scored to the end, so a lower value costs time; a change scores all calls anew",
    )
    token_budget: int | None = Field(
        None,
        ge=64,
        description="maximum tokens of a batch of texts; changes last digits only; chosen for the "
        "device by default",
    )
    rescoring: bool = Field(
        True,
        description="with a bfloat16 model: score calls that come near lowest_threshold or above "
        "it again in float32, so that the decisions are float32's; needs room for both models",
    )
    chance_calls: int = Field(
        200,
        ge=0,
        description="calls per tool and shard, at most every tenth, that are also scored with the "
        "result of another call; 0 for none",
    )


class ExecutionSettings(Section):
    """Running the tools (paper §2, "Executing API Calls")."""

    deadline_seconds: float = Field(
        10.0, gt=0, le=86_400, description="longest time of one call, in seconds"
    )
    attempts: int = Field(3, ge=1, description="attempts per call whose failure may be temporary")
    uses_cache: bool = Field(
        True, description="keep answers in cache/, so that no call is made twice"
    )
    max_result_tokens: int = Field(
        128, ge=1, description="longest result, in tokens; longer ones are cut at a word boundary"
    )
    worker_memory_gib: float = Field(
        4.0,
        gt=0,
        le=1 << 20,
        description="maximum memory that the process of a plugin tool may map, in GiB",
    )
    leak_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="share of a result's 8-word sequences from which on the result is dropped, "
        "because the text behind the call repeats them",
    )
    replay: str | None = Field(
        None,
        description="folder of a built home whose executed_calls answer all calls; no tool is "
        "asked, and the options of tools have no effect on answers",
    )


class DecodingSettings(Section):
    """Decoding with live calls (paper §4.2)."""

    call_top_k: int = Field(
        10, ge=0, description="k: a call opens where ` [` is among the k likeliest tokens; 0: never"
    )
    min_call_probability: float | None = Field(
        0.0,
        ge=0,
        le=1,
        description="minimum probability of ` [` for a call to open; 0: k alone decides; null: the "
        "value that `toolformer train` calibrated for the model, and no calls without one",
    )
    max_calls: int = Field(1, ge=0, description="maximum number of calls per input")
    max_call_tokens: int = Field(
        64, ge=1, description="longest call up to `->`, in tokens; a longer one is undone"
    )
    max_new_tokens: int = Field(60, ge=1, description="longest completion, in tokens")


class RunsSettings(Section):
    """How work is divided into runs, and what a build does after them; changes no row."""

    shards_per_run: int = Field(
        64,
        ge=1,
        le=10_000,
        description="maximum number of shards in a run of a backfill or of `build --on ray`; a run "
        "loads its model once; reload the definitions after a change",
    )
    delta_logs: bool = Field(
        False,
        description="refresh the Delta Lake logs (`toolformer export delta`) at the end of "
        "`toolformer build`, also where shards failed",
    )


class CostsSettings(Section):
    """What computing costs; changes no row."""

    price_per_hour: float | None = Field(
        None,
        gt=0,
        description="price of the machine per hour, in your currency; statistics and report then "
        "show money per candidate and per kept call",
    )


class Settings(Section):
    """All settings of a run. `preset` names the values that are not given."""

    preset: PresetName = "laptop"
    rounds: tuple[Mapping[str, Any], ...] = Field(
        (),
        description="settings that each round of annotation changes, from round 1 on: a list of "
        "sections like those below",
    )
    language_model: LanguageModelSettings = LanguageModelSettings()  # pyright: ignore[reportCallIssue]
    corpus: CorpusSettings = CorpusSettings()  # pyright: ignore[reportCallIssue]
    sampling: SamplingSettings = SamplingSettings()  # pyright: ignore[reportCallIssue]
    execution: ExecutionSettings = ExecutionSettings()  # pyright: ignore[reportCallIssue]
    scoring: ScoringSettings = ScoringSettings()  # pyright: ignore[reportCallIssue]
    tools: ToolsSettings = ToolsSettings()  # pyright: ignore[reportCallIssue]
    wikipedia_index: WikipediaIndexSettings = WikipediaIndexSettings()  # pyright: ignore[reportCallIssue]
    passage_index: PassageIndexSettings = PassageIndexSettings()  # pyright: ignore[reportCallIssue]
    question_answering: QuestionAnsweringSettings = QuestionAnsweringSettings()  # pyright: ignore[reportCallIssue]
    training: TrainingSettings = TrainingSettings()  # pyright: ignore[reportCallIssue]
    decoding: DecodingSettings = DecodingSettings()  # pyright: ignore[reportCallIssue]
    evaluation: EvaluationSettings = EvaluationSettings()  # pyright: ignore[reportCallIssue]
    runs: RunsSettings = RunsSettings()  # pyright: ignore[reportCallIssue]
    costs: CostsSettings = CostsSettings()  # pyright: ignore[reportCallIssue]

    @model_validator(mode="after")
    def _annotating_tools_are_known(self) -> "Settings":
        chosen: dict[tuple[str | int, ...], tuple[str, ...] | None] = {
            ("corpus", "sources", number, "tools"): source.tools
            for number, source in enumerate(self.corpus.sources)
        }
        for path, names in {**chosen, ("sampling", "tools"): self.sampling.tools}.items():
            # The names of tools are only looked for where some are given.
            if names and (unknown := sorted({*names} - {*self.tools.names})):
                raise _invalid(
                    path,
                    names,
                    f"there is no tool {unknown[0]!r}; known: {', '.join(self.tools.names)}",
                )
        return self

    @model_validator(mode="after")
    def _losses_suffice_for_thresholds(self) -> "Settings":
        lowest = self.scoring.lowest_threshold
        for name in (*ToolsSettings.model_fields, *(self.tools.model_extra or {})):
            if (threshold := self.tools.of(name).filtering_threshold) < lowest:
                raise _invalid(
                    ("tools", name, "filtering_threshold"),
                    threshold,
                    f"below scoring.lowest_threshold ({lowest:g}) losses are left out; lower that "
                    "too, and the calls are scored again",
                )
        return self

    @property
    def training_rounds(self) -> tuple[int, ...]:
        """The rounds of annotation that are trained on, the newest first."""
        return tuple(sorted(set(self.training.rounds or [self.sampling.round]), reverse=True))

    def is_annotated(self, source: str, tool_name: str) -> bool:
        """Whether a tool annotates a source in this round, given the normal form of its path."""
        tools_of_source = (
            source_settings.tools
            for source_settings in self.corpus.sources
            if normalised_path(source_settings.path) == source
        )
        return all(
            names is None or tool_name in names for names in (self.sampling.tools, *tools_of_source)
        )


def _invalid(path: tuple[str | int, ...], value: Any, error: str) -> ValidationError:
    problem: InitErrorDetails = {
        "type": "value_error",
        "loc": path,
        "input": value,
        "ctx": {"error": error},
    }
    return ValidationError.from_exception_data("Settings", [problem])


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` put over it, section by section; lists are replaced whole."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


def validated(values: Mapping[str, Any], *, origin: str) -> Settings:
    """Check values, nested as in toolformer.yaml, and make settings of them.

    Args:
        origin: where they come from, for the error.

    Raises:
        SettingsError: names each misspelt or invalid setting, with the nearest known name.
    """
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problems = [_problem(details) for details in error.errors()]
        raise SettingsError(
            f"{origin}: {' '.join(problems)} Correct it, or remove the line to get the preset's "
            "value."
        ) from error


def _problem(details: Any) -> str:
    import difflib

    path = [str(part) for part in details["loc"]]
    name = ".".join(path)
    if details["type"] == "value_error":
        error = str(details["ctx"]["error"]).rstrip(".")
        return f"{name} = {details['input']!r} is not valid: {error}."
    if details["type"] != "extra_forbidden":
        return f"{name} = {details['input']!r} is not valid: {details['msg'].lower()}."
    if len(path) == 3 and path[0] == "tools" and path[2] == "class":
        return f"{name}: {path[1]} is built in and cannot be replaced; choose another name."
    section: Any = Settings
    for part in path[:-1]:
        model = PluginSettings if section is ToolsSettings else section
        section = _fields(section).get(part, model)
    known = sorted(_fields(section))
    if section is ToolsSettings:
        known = sorted({*known, *tool_names()})
    close = difflib.get_close_matches(path[-1], known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    remedy = " A tool of your own needs `class: module:Class`." if section is ToolsSettings else ""
    return f"There is no setting {name!r}.{hint} Known there: {', '.join(known)}.{remedy}"


def _fields(section: Any) -> dict[str, Any]:
    fields = getattr(section, "model_fields", {})
    return {field.alias or name: field.annotation for name, field in fields.items()}
