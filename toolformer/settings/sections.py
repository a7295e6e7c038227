"""All settings of a run, with their meaning, their bounds and the paper's values as defaults.

The sections of corpus, annotation, tools, training and evaluation stand in modules of their own
(`corpus_sections.py` …), the short ones here. No other place has default numbers; `presets.yaml`
names what a smaller set-up changes.
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

# Of YAML, where pydantic speaks of Python's types.
_EXPECTED_FORMS = {
    "tuple_type": "expected a list, such as [one, two]",
    **dict.fromkeys(("model_type", "dict_type"), "expected a section, such as {name: value}"),
}

_Address = Annotated[str, Field(pattern=r"^https?://[^@\s]+$")]


class ServerSettings(Section):
    """A server that runs the model for annotation (vLLM's completions)."""

    url: _Address | None = Field(
        None, description="its address, such as http://localhost:8000; none: the model runs here"
    )
    model: str | None = Field(
        None, min_length=1, description="the model's id, as the server's /v1/models says it"
    )
    key_variable: str | None = Field(
        None,
        pattern=r"^[A-Z][A-Z0-9_]*$",
        description="name of the environment variable that holds its key, never the key itself",
    )

    @model_validator(mode="after")
    def _is_whole(self) -> "ServerSettings":
        if self.url and not self.model:
            raise ValueError("a server needs the model's id (language_model.server.model) too")
        return self


class LanguageModelSettings(Section):
    """The base model: it is finetuned, and annotates unless sampling.annotator names another."""

    path: str = Field(
        "embedded",
        description="directory as `save_pretrained` writes it (of a served model the tokenizer is "
        "enough), or `embedded` for the model that comes with the project; the paper: GPT-J",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="precision of the model, except that a CPU scores in float32; auto: float16 on "
        "CUDA from Volta on (bfloat16 if the model overflows in it), bfloat16 on a CPU that "
        "multiplies matrices at least 1.2 times as fast in it, else float32",
    )
    device: str = Field("auto", description="auto, cpu or a CUDA device such as cuda:0")
    bos_token: str | None = Field(
        None,
        description="token before every scored text, so that its first token has a probability; "
        "null: the tokenizer's own, which then starts prompts too, or else <|endoftext|> if the "
        "vocabulary has it",
    )
    server: ServerSettings = ServerSettings()  # pyright: ignore[reportCallIssue]


class RunsSettings(Section):
    """How work is divided into runs; changes no row."""

    shards_per_run: int = Field(
        64,
        ge=1,
        le=10_000,
        description="maximum number of shards in a run of a backfill; a run loads its model once; "
        "reload the definitions after a change",
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
            # The names of tools are only looked for where some are given.
            if names and (unknown := sorted({*names} - {*self.tools.names})):
                raise invalid(
                    path,
                    names,
                    f"there is no tool {unknown[0]!r}; known: {', '.join(self.tools.names)}",
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
                    f"below scoring.lowest_threshold ({lowest:g}) losses are left out; lower that "
                    "too, and the calls are scored again",
                )
        return self

    @property
    def is_annotated_by_server(self) -> bool:
        """Whether a server samples and scores in this round."""
        return bool(self.language_model.server.url) and self.sampling.annotator == BASE

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
    path = [str(part) for part in details["loc"]]
    name = ".".join(path)
    # What stands there in place of an address or of a name may be the key.
    is_hidden = path[-1] == "key_variable" or "from_mcp" in path
    given = "…" if is_hidden else repr(details["input"])
    if details["type"] != "extra_forbidden":
        said = f"{details['msg'][0].lower()}{details['msg'][1:]}".removeprefix("value error, ")
        said = _EXPECTED_FORMS.get(details["type"], said.rstrip("."))
        return f"{name} = {given} is not valid: {said}."
    if len(path) == 3 and path[0] == "tools" and path[2] == "class":
        return f"{name}: {path[1]} is built in and cannot be replaced; choose another name."
    section: Any = Settings
    # The others are numbers of entries.
    for part in (part for part in path[:-1] if not part.isdigit()):
        model = PluginSettings if section is ToolsSettings else section
        section = _fields(section).get(part, model)
    known = sorted(_fields(section))
    hint = did_you_mean(path[-1], known)
    remedy = " A tool of your own needs `class: module:Class`." if section is ToolsSettings else ""
    return f"There is no setting {name!r}.{hint} Known there: {', '.join(known)}.{remedy}"


def _fields(section: Any) -> dict[str, Any]:
    entry = get_args(section)[0] if get_origin(section) is tuple else section
    fields = getattr(entry, "model_fields", {})
    return {field.alias or name: field.annotation for name, field in fields.items()}
