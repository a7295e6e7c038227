"""All settings of a run, with descriptions and bounds; the defaults are the paper's values.

Large sections are in modules of their own (`corpus_sections.py` …). `presets.yaml` has the values
for smaller set-ups. No other file may contain default numbers.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import Field, ValidationError, model_validator

from toolformer.base.names import did_you_mean
from toolformer.settings.annotation_sections import (
    DecodingSettings,
    ExecutionSettings,
    SamplingSettings,
    ScoringSettings,
)
from toolformer.settings.corpus_sections import CorpusSettings, normalised_path
from toolformer.settings.errors import SettingsError
from toolformer.settings.evaluation_sections import BASE, EvaluationSettings
from toolformer.settings.section import Section, invalid
from toolformer.settings.tool_sections import (
    PassageIndexSettings,
    PluginSettings,
    QuestionAnsweringSettings,
    ToolsSettings,
    WikipediaIndexSettings,
)
from toolformer.settings.training_sections import TrainingSettings

PresetName = Literal["paper", "laptop", "demo", "small"]

# Replaces messages of pydantic that name types of Python instead of forms of YAML.
_EXPECTED_FORMS = {
    "tuple_type": "expected a list, such as [one, two]",
    **dict.fromkeys(("model_type", "dict_type"), "expected a section, such as {name: value}"),
}

_Address = Annotated[str, Field(pattern=r"^https?://[^@\s]+$")]


class ServerSettings(Section):
    """A server that runs the model for annotation, with vLLM's completions API."""

    url: _Address | None = Field(
        None,
        description="Address of the server, such as http://localhost:8000. null: the model runs "
        "here.",
    )
    model: str | None = Field(
        None, min_length=1, description="Id of the model, as listed by the server's /v1/models."
    )
    key_variable: str | None = Field(
        None,
        pattern=r"^[A-Z][A-Z0-9_]*$",
        description="Name of the environment variable that contains the server's key; never the "
        "key itself.",
    )

    @model_validator(mode="after")
    def _is_whole(self) -> "ServerSettings":
        if self.url and not self.model:
            raise ValueError("a server also needs a model id; set language_model.server.model")
        return self


class LanguageModelSettings(Section):
    """The base model. It is finetuned, and annotates unless sampling.annotator names another."""

    path: str = Field(
        "embedded",
        description="Model directory as written by `save_pretrained` (of a served model, the "
        "tokenizer is enough), or `embedded` for the model that comes with the project. The "
        "paper uses GPT-J.",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Number format of the model. A CPU always scores in float32. auto: float16 on "
        "CUDA from Volta on (bfloat16 if the model overflows), bfloat16 on CPUs that multiply "
        "matrices at least 1.2 times as fast in it, otherwise float32.",
    )
    device: str = Field("auto", description="auto, cpu or a CUDA device such as cuda:0.")
    bos_token: str | None = Field(
        None,
        description="Token before every scored text, so that the first token of the text has a "
        "probability. null: the tokenizer's BOS token, which then also starts prompts, or else "
        "<|endoftext|> if the vocabulary has it.",
    )
    server: ServerSettings = ServerSettings()  # pyright: ignore[reportCallIssue]


class RunsSettings(Section):
    """How work is divided into runs. Changes no rows."""

    shards_per_run: int = Field(
        64,
        ge=1,
        le=10_000,
        description="Maximum number of shards per run of a backfill. Each run loads its model "
        "once. Reload the definitions after a change.",
    )


class Settings(Section):
    """All settings of a run; the preset supplies the values that are not given."""

    preset: PresetName = Field(
        "laptop",
        description="Values of all settings that are not given. paper: the paper's values. "
        "laptop: for the embedded model. demo: done in minutes. small: rounds of annotation for "
        "a small model.",
    )
    rounds: tuple[Mapping[str, Any], ...] = Field(
        (),
        description="Changes per round of annotation, from round 1 on: a list of entries, each "
        "with sections like those below.",
    )
    language_model: LanguageModelSettings = LanguageModelSettings()  # pyright: ignore[reportCallIssue]
    corpus: CorpusSettings = CorpusSettings()  # pyright: ignore[reportCallIssue]
    sampling: SamplingSettings = SamplingSettings()
    execution: ExecutionSettings = ExecutionSettings()
    scoring: ScoringSettings = ScoringSettings()
    tools: ToolsSettings = ToolsSettings()  # pyright: ignore[reportCallIssue]
    wikipedia_index: WikipediaIndexSettings = WikipediaIndexSettings()  # pyright: ignore[reportCallIssue]
    passage_index: PassageIndexSettings = PassageIndexSettings()  # pyright: ignore[reportCallIssue]
    question_answering: QuestionAnsweringSettings = QuestionAnsweringSettings()  # pyright: ignore[reportCallIssue]
    training: TrainingSettings = TrainingSettings()  # pyright: ignore[reportCallIssue]
    decoding: DecodingSettings = DecodingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()  # pyright: ignore[reportCallIssue]
    runs: RunsSettings = RunsSettings()  # pyright: ignore[reportCallIssue]

    @model_validator(mode="after")
    def _named_tools_are_known(self) -> "Settings":
        chosen: dict[tuple[str | int, ...], Iterable[str] | None] = {
            ("corpus", "sources", number, "tools"): source.tools
            for number, source in enumerate(self.corpus.sources)
        }
        chosen["sampling", "tools"] = self.sampling.tools
        if isinstance(least := self.decoding.min_call_probability, Mapping):
            chosen["decoding", "min_call_probability"] = least
        for path, names in chosen.items():
            # Collecting the names of all tools is slow, so it is skipped if none is given.
            if names and (unknown := sorted({*names} - {*self.tools.names})):
                raise invalid(
                    path,
                    names,
                    f"there is no tool {unknown[0]!r}; expected some of "
                    f"{', '.join(self.tools.names)}",
                )
        return self

    @model_validator(mode="after")
    def _losses_suffice_for_thresholds(self) -> "Settings":
        lowest = self.scoring.lowest_threshold
        names = {*ToolsSettings.model_fields, *(self.tools.model_extra or {})}
        for name in sorted(names - {"from_mcp"}):
            if (threshold := self.tools.of(name).filtering_threshold) < lowest:
                raise invalid(
                    ("tools", name, "filtering_threshold"),
                    threshold,
                    f"losses are not stored below scoring.lowest_threshold ({lowest:g}); lower "
                    "that setting too, which scores all calls again",
                )
        return self

    @property
    def is_annotated_by_server(self) -> bool:
        return bool(self.language_model.server.url) and self.sampling.annotator == BASE

    @property
    def training_rounds(self) -> tuple[int, ...]:
        """Rounds of annotation to train on, newest first."""
        return tuple(sorted(set(self.training.rounds or [self.sampling.round]), reverse=True))

    def is_annotated(self, source: str, tool_name: str) -> bool:
        """Return whether a tool annotates a source, given its `normalised_path`, in this round."""
        tools_of_source = (
            source_settings.tools
            for source_settings in self.corpus.sources
            if normalised_path(source_settings.path) == source
        )
        return all(
            names is None or tool_name in names for names in (self.sampling.tools, *tools_of_source)
        )


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge changes into nested values; a list replaces the old list as a whole."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


def validated(values: Mapping[str, Any], *, origin: str) -> Settings:
    """Build settings from values nested as in toolformer.yaml; `origin` appears in errors.

    Raises:
        SettingsError: names each misspelt or invalid setting, with the nearest known name.
    """
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problems = [_problem(details) for details in error.errors()]
        raise SettingsError(
            f"{origin}: {' '.join(problems)} Correct it, or remove the line to use the preset's "
            "value."
        ) from error


def _problem(details: Any) -> str:
    path = [str(part) for part in details["loc"]]
    name = ".".join(path)
    # Users sometimes write the key itself into these settings: never print it.
    is_hidden = path[-1] == "key_variable" or "from_mcp" in path
    given = "…" if is_hidden else repr(details["input"])
    if details["type"] != "extra_forbidden":
        said = f"{details['msg'][0].lower()}{details['msg'][1:]}".removeprefix("value error, ")
        said = _EXPECTED_FORMS.get(details["type"], said.rstrip("."))
        return f"{name} = {given} is not valid: {said}."
    if len(path) == 3 and path[0] == "tools" and path[2] == "class":
        return f"{name}: {path[1]} is built in and cannot be replaced. Choose another name."
    section: Any = Settings
    # Digits are indices of lists.
    for part in (part for part in path[:-1] if not part.isdigit()):
        model = PluginSettings if section is ToolsSettings else section
        section = _fields(section).get(part, model)
    known = sorted(_fields(section))
    hint = did_you_mean(path[-1], known)
    remedy = " A tool of your own needs `class: module:Class`." if section is ToolsSettings else ""
    return f"There is no setting {name!r}.{hint} Expected one of {', '.join(known)}.{remedy}"


def _fields(section: Any) -> dict[str, Any]:
    entry = get_args(section)[0] if get_origin(section) is tuple else section
    fields = getattr(entry, "model_fields", {})
    return {field.alias or name: field.annotation for name, field in fields.items()}
