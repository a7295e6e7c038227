"""All settings of a run, with their meaning, their bounds and the paper's values as defaults.

The only place with default numbers; `presets.py` names what a smaller set-up changes. Does not read
or write files; `settings_file.py` does.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails

from toolformer.sources.compression import MAXIMUM_EXPANSION, MAXIMUM_WINDOW_BYTES
from toolformer.sources.source import (
    DATE_COLUMN,
    STARTER_TEXTS,
    TEXT_COLUMN,
    TITLE_COLUMN,
    URL_COLUMN,
    WIKIPEDIA_EXCERPT,
)
from toolformer.training.variants import Variant
from tools.errors import ToolRegistrationError
from tools.registry import tool_names
from tools.retrieval.passages import BM25_B, BM25_K1

PresetName = Literal["paper", "laptop", "demo"]

# Models that are named by what they are and not by a path.
BASE, FINETUNED = "base", "finetuned"


class SettingsError(ValueError):
    """A setting is misspelt or out of range."""


def home_folder() -> Path:
    """`$TOOLFORMER_HOME`, or `data/` in the repository: everything made at run time."""
    named = os.environ.get("TOOLFORMER_HOME")
    repository = Path(__file__).resolve().parents[2]
    return Path(named).expanduser().absolute() if named else repository / "data"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LanguageModelSettings(_Section):
    """The base model: it is finetuned, and annotates unless sampling.annotator names another."""

    path: str = Field(
        "embedded",
        description="directory as `save_pretrained` writes it, or `embedded` for the model that "
        "comes with the project. The paper uses GPT-J.",
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="of sampling and scoring; auto: bfloat16 where the processor computes in it",
    )
    device: str = Field("auto", description="auto, cpu or a CUDA device such as cuda:0")
    bos_token: str | None = Field(
        None,
        description="token in front of every scored text, so that its first token has a "
        "probability; by default <|endoftext|> where the vocabulary has it",
    )


class SourceSettings(_Section):
    """One source of texts."""

    path: str = Field(description="file, folder, glob, or starter-texts / wikipedia-excerpt")
    format: Literal["auto", "jsonl", "parquet", "text", "wikipedia-dump"] = "auto"
    text_column: str = TEXT_COLUMN
    url_column: str | None = URL_COLUMN
    date_column: str | None = DATE_COLUMN
    title_column: str | None = TITLE_COLUMN
    limit: int | None = Field(None, ge=1, description="at most this many records, from the start")
    shard_size: int | None = Field(None, ge=1, description="records per shard, if not the corpus's")
    maximum_expansion: int = Field(
        MAXIMUM_EXPANSION,
        ge=1,
        description="a file is read up to so many times its size, beyond the first 64 MiB",
    )
    maximum_file_bytes: int | None = Field(
        None, ge=1, description="at most so many bytes of each file, decompressed"
    )
    maximum_window_bytes: int = Field(
        MAXIMUM_WINDOW_BYTES,
        ge=1,
        le=1 << 31,
        description="memory for a Zstandard file; `zstd --long=31` needs 2147483648",
    )


# The corpus where no source is listed. A page of the excerpt is some eight documents.
EMBEDDED_SOURCES = (
    SourceSettings(path=STARTER_TEXTS),
    SourceSettings(path=WIKIPEDIA_EXCERPT, shard_size=10),
)


class CorpusSettings(_Section):
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
        2000, ge=1, description="a longer text is annotated up to there; the report counts it"
    )
    held_out_every: int = Field(
        10, ge=0, description="every n-th shard is held out from training; 0 for none"
    )


class SamplingSettings(_Section):
    """Sampling of candidate calls (paper §2). The paper gives no temperature, length or seed."""

    max_new_tokens: int = Field(64, ge=1, le=512, description="longest sampled call, in tokens")
    temperature: float = Field(1.0, gt=0, description="of the sampling distribution")
    seed: int = Field(0, ge=0, description="of all random numbers")
    is_constrained: bool = Field(
        True,
        description="force the tool's name and bracket after ` [`, and `]` once they close",
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
        description="model M of the round, which samples and scores: base (language_model.path), "
        "finetuned (what the round before was trained to), or a model directory",
    )
    uses_prompt: bool = Field(
        True,
        description="show the tool's few-shot prompt while sampling; a Toolformer does without",
    )

    @field_validator("annotator")
    @classmethod
    def _has_earlier_round(cls, annotator: str, info: ValidationInfo) -> str:
        if annotator == FINETUNED and info.data.get("round") == 1:
            raise ValueError(
                "round 1 has no round before it whose finetuned model could annotate; set "
                "sampling.round to 2 or more, or annotator to base or a model directory"
            )
        return annotator

    @field_validator("uses_prompt")
    @classmethod
    def _base_needs_prompt(cls, uses_prompt: bool, info: ValidationInfo) -> bool:
        if not uses_prompt and info.data.get("annotator") == BASE:
            raise ValueError(
                "the base model was never shown a call, so without the prompt it writes none; set "
                "sampling.annotator to finetuned or to the directory of a Toolformer"
            )
        return uses_prompt


class ScoringSettings(_Section):
    """The three losses (paper §2, "Filtering API Calls")."""

    empty_result_keeps_arrow: bool = Field(
        True, description="e(c, ε) is `[Tool(args) ->]`; otherwise `[Tool(args)]`"
    )
    separator: str = Field("", description="text between the call in front and the scored text")
    full_losses: bool = Field(
        False, description="compute all three losses even where the call is lost already"
    )
    token_budget: int | None = Field(
        None,
        ge=64,
        description="most tokens of a batch of texts; changes last digits only; chosen for the "
        "device by default",
    )
    rescoring: bool = Field(
        True,
        description="with a bfloat16 model: score uncertain calls again in float32, so that the "
        "decisions are those of float32; needs room for both models",
    )
    rescore_sweep: bool = Field(
        False,
        description="also calls that are uncertain at 0.5, 1 or 2, the thresholds of the sweep",
    )
    calibration_calls: int = Field(
        200, ge=20, description="calls scored in both precisions, once per model, to find the band"
    )
    chance_calls: int = Field(
        200,
        ge=0,
        description="calls per tool and shard, at most every tenth, that are also scored with the "
        "result of another call; 0 for none",
    )


class ExecutionSettings(_Section):
    """Running the tools (paper §2, "Executing API Calls")."""

    deadline_seconds: float = Field(10.0, gt=0, description="longest time of one call, in seconds")
    attempts: int = Field(
        3, ge=1, description="how often a call is made that fails for a reason that may pass"
    )
    uses_cache: bool = Field(
        True, description="keep answers in cache/, so that no call is paid for twice"
    )
    max_result_tokens: int = Field(
        128, ge=1, description="longer results are cut there, at a word boundary"
    )
    worker_memory_gib: float = Field(
        4.0, gt=0, description="most memory that a tool from outside may map in its own process"
    )
    leak_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="a result is dropped of whose sequences of 8 words the text repeats this share "
        "or more behind the call",
    )


class ToolSettings(_Section):
    """One tool (paper, appendix A, and table 2)."""

    is_enabled: bool = Field(True, description="part of the default selection")
    sampling_threshold: float = Field(0.05, ge=0, lt=1, description="τ_s, a probability")
    positions_per_text: int = Field(5, ge=1, description="k")
    calls_per_position: int = Field(5, ge=1, description="m")
    filtering_threshold: float = Field(1.0, ge=0, description="τ_f, in nats")
    prompt: str | None = Field(
        None, description="a few-shot prompt file of your own, with {text} where the text goes"
    )
    options: Mapping[str, JsonValue] = Field(
        default_factory=dict, description="settings of the tool itself"
    )


class PluginSettings(ToolSettings):
    """A tool from outside this project. What it does not set, `tools.others` does."""

    target: str | None = Field(
        None,
        alias="class",
        description="where the tool is, as module:Class; not needed for a tool of a package that "
        "is installed",
    )
    environment: tuple[str, ...] = Field(
        (), description="names of environment variables that its process gets, an API key say"
    )


class ToolsSettings(_Section):
    """The five tools, and tools of your own by name; the paper's thresholds as defaults."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, PluginSettings]

    QA: ToolSettings = ToolSettings()  # pyright: ignore[reportCallIssue]
    WikiSearch: ToolSettings = ToolSettings()  # pyright: ignore[reportCallIssue]
    Calendar: ToolSettings = ToolSettings()  # pyright: ignore[reportCallIssue]
    Calculator: ToolSettings = ToolSettings(  # pyright: ignore[reportCallIssue]
        sampling_threshold=0.0,
        positions_per_text=20,
        calls_per_position=10,
        filtering_threshold=0.5,
        options={"weak_share": 0.01},
    )
    MT: ToolSettings = ToolSettings(  # pyright: ignore[reportCallIssue]
        sampling_threshold=0.0,
        positions_per_text=20,
        calls_per_position=10,
        filtering_threshold=0.5,
    )
    others: ToolSettings = Field(
        ToolSettings(),  # pyright: ignore[reportCallIssue]
        description="what tools of your own have as long as their sections do not say otherwise",
    )

    @model_validator(mode="before")
    @classmethod
    def _tools_are_known(cls, sections: Any) -> Any:
        problems = _unknown_tools(sections) if isinstance(sections, Mapping) else []
        if problems:
            raise ValidationError.from_exception_data(cls.__name__, problems)
        return sections

    @property
    def targets(self) -> dict[str, str]:
        """Name to `module:Class` of the tools that are named here."""
        own = self.model_extra or {}
        return {name: each.target for name, each in own.items() if each.target}

    @property
    def names(self) -> tuple[str, ...]:
        """All tools: the five, then those of installed packages and of these settings.

        Raises:
            ToolRegistrationError: a package registers a tool under a name that cannot be used.
        """
        return tool_names(self.targets)

    def of(self, tool_name: str) -> ToolSettings:
        """The settings of one tool."""
        if tool_name in type(self).model_fields:
            return getattr(self, tool_name)
        own = (self.model_extra or {}).get(tool_name)
        if own is None:
            return self.others
        not_shared = set(PluginSettings.model_fields) - set(ToolSettings.model_fields)
        return self.others.model_copy(update=own.model_dump(exclude_unset=True, exclude=not_shared))

    def environment_of(self, tool_name: str) -> tuple[str, ...]:
        """Names of the environment variables that a tool from outside gets."""
        own = (self.model_extra or {}).get(tool_name)
        return own.environment if own else ()


def _unknown_tools(sections: Mapping[str, Any]) -> list[InitErrorDetails]:
    """What is wrong with the names of tools that are not built in."""
    problems: list[InitErrorDetails] = []
    for name, section in sections.items():
        if not isinstance(name, str) or name in ToolsSettings.model_fields:
            continue
        target = section.get("class") if isinstance(section, Mapping) else None
        try:
            is_known = name in tool_names({name: str(target)} if target else {})
        except ToolRegistrationError as error:
            problems.append(
                {"type": "value_error", "loc": (name,), "input": section, "ctx": {"error": error}}
            )
            continue
        if not is_known:
            problems.append({"type": "extra_forbidden", "loc": (name,), "input": section})
    return problems


class WikipediaIndexSettings(_Section):
    """What WikiSearch searches (paper: the Wikipedia dump of KILT)."""

    source: str = Field(
        "wikipedia-excerpt",
        description="a Wikipedia XML dump, articles as JSON lines (KILT's knowledge source, or "
        "title and text), or the excerpt that is embedded",
    )
    passage_words: int = Field(100, ge=10, description="longest passage, in words")


class PassageIndexSettings(_Section):
    """Dense vectors of the passages that WikiSearch searches too (paper: Atlas's Contriever)."""

    encoder: str = Field(
        "latent",
        description="latent: vectors fitted on the passages themselves; or the directory of a "
        "Hugging Face encoder such as Contriever",
    )
    dimension: int = Field(400, ge=2, description="of latent vectors")
    most_terms: int = Field(
        200_000, ge=2, description="word stems that latent vectors tell apart, the commonest ones"
    )
    similarity: Literal["dot", "cosine"] = Field(
        "dot", description="of an encoder's vectors: as they are, or divided by their lengths"
    )
    encoder_tokens: int = Field(256, ge=8, description="an encoder's texts are cut there")
    sample_passages: int = Field(
        100_000, ge=2, description="most passages that vectors and FAISS are fitted on"
    )
    chunk_passages: int = Field(
        10_000, ge=1, description="passages encoded at once; what a killed build does again"
    )
    flat_limit: int = Field(
        200_000,
        ge=0,
        description="up to this many passages, vectors are kept whole; beyond it as IVF-PQ",
    )
    code_bytes: int = Field(64, ge=1, description="bytes of a compressed vector")
    seed: int = Field(0, ge=0)


class QuestionAnsweringSettings(_Section):
    """How QA finds and reads passages (paper: Atlas); its other settings are tools.QA.options."""

    retriever: Literal["bm25", "dense", "hybrid"] = Field(
        "bm25", description="hybrid: BM25 and dense vectors by reciprocal rank fusion"
    )
    k1: float = Field(BM25_K1, ge=0, description="BM25's saturation of term frequency")
    b: float = Field(BM25_B, ge=0, le=1, description="BM25's weight of passage length")
    fused_passages: int = Field(100, ge=1, description="passages of each ranking that are fused")
    fusion_constant: float = Field(
        60.0, gt=0, description="of the fusion; the larger, the less first ranks stand out"
    )
    dense_weight: float = Field(1.0, gt=0, description="of the dense ranking; that of BM25 is 1")
    probes: int = Field(32, ge=1, description="cells of an IVF-PQ index that are searched")
    bm25_temperature: float = Field(
        3.0,
        gt=0,
        description="difference of scores that makes a passage e times as probable to the reader",
    )
    dense_temperature: float = Field(0.05, gt=0, description="the same for dense vectors alone")
    reader: str = Field(
        "language-model",
        description="language-model: the base model reads each passage; or the directory of a "
        "fusion-in-decoder checkpoint (T5)",
    )
    passage_words: int = Field(120, ge=10, description="longer passages are cut there for reading")
    answer_words: int = Field(6, ge=1, description="longest answer of the language model")
    beam_width: int = Field(
        8, ge=1, description="beginnings of answers followed in each passage, at each token"
    )
    least_beginning: float = Field(
        0.001, ge=0, lt=1, description="beginnings that are less probable are not followed"
    )
    question_weight: float = Field(
        0.5,
        ge=0,
        description="power of p(question | passage) in the weight of a passage; 0: the "
        "retriever's weight alone",
    )
    reader_tokens: int = Field(
        250, ge=16, description="of question and passage, for a fusion-in-decoder checkpoint"
    )
    answer_tokens: int = Field(20, ge=1, description="longest answer of such a checkpoint")


class LossWeightsSettings(_Section):
    """How much a token counts in the training loss, by its kind (paper: all alike)."""

    text: float = Field(1.0, ge=0, description="tokens of the text")
    call: float = Field(1.0, ge=0, description="tokens of a call, up to its arrow")
    result: float = Field(
        1.0, ge=0, description="tokens of a result, which the finished model never writes itself"
    )


class TrainingSettings(_Section):
    """Finetuning on C* (paper §4.1 and appendix B)."""

    variant: Variant = Field(
        "calls",
        description="which model a command trains or measures: calls (the paper's), or a control "
        "on the same texts: plain (no calls), shuffled (results exchanged), random (calls that "
        "the filter dropped); in the UI the partition says it",
    )
    rounds: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        None,
        min_length=1,
        description="rounds of annotation to train on, such as [1, 2]; null: sampling.round alone",
    )
    max_texts_per_tool: int = Field(25_000, ge=1, description="texts with a call of one tool")
    plain_share: float = Field(
        0.0, ge=0, lt=1, description="share of the texts that hold no call; the paper has none"
    )
    near_duplicate_similarity: float | None = Field(
        None,
        ge=0.5,
        le=1,
        description="Jaccard similarity of five-word sequences from which on the second of two "
        "texts goes; null: never, as in the paper",
    )
    development_share: float = Field(
        0.02, ge=0, lt=1, description="share of documents set aside to choose the checkpoint"
    )
    learning_rate: float = Field(1e-5, gt=0)
    warmup_share: float = Field(0.1, ge=0, le=1, description="linear warm-up, share of the steps")
    batch_size: int = Field(128, ge=1, description="texts per step")
    epochs: float = Field(
        2.0, gt=0, description="how often each text comes; 25,000 of five tools make 2,000 steps"
    )
    steps: int | None = Field(
        None, ge=1, description="steps, whatever the texts; null: as many as make the epochs"
    )
    least_texts: int = Field(
        100, ge=1, description="with fewer texts nothing is trained unless it is forced"
    )
    loss_weights: LossWeightsSettings = LossWeightsSettings()  # pyright: ignore[reportCallIssue]
    max_tokens: int = Field(1024, ge=16, description="longest row after insertion, in tokens")
    micro_batch_tokens: int = Field(
        4096, ge=16, description="tokens fed at once; smaller needs less memory"
    )
    packs_rows: bool = Field(
        False,
        description="texts are fed one behind the other instead of padded; none sees another",
    )
    gradient_checkpointing: bool = Field(
        False, description="compute activations twice: less memory, a third more time"
    )
    processes: int = Field(
        1,
        ge=1,
        description="that train together, one per GPU; on a processor they divide its cores",
    )
    parallelism: Literal["data_parallel", "fsdp"] = Field(
        "data_parallel",
        description="of several processes: each holds all of the model, or a part of every weight "
        "(FSDP2)",
    )
    lora_rank: int | None = Field(
        None,
        ge=1,
        description="train adapters of this rank (LoRA, needs the extra lora), for models that do "
        "not fit otherwise; null trains all weights",
    )
    evaluate_every: int = Field(500, ge=1, description="steps between development perplexities")
    save_every: int = Field(100, ge=1, description="steps between states a killed run resumes from")
    clip_norm: float = Field(1.0, gt=0, description="gradient norm; the paper gives none")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="bfloat16: weights in float32, computation in bfloat16"
    )
    seed: int = Field(0, ge=0)


class DecodingSettings(_Section):
    """Decoding with live calls (paper §4.2)."""

    call_top_k: int = Field(
        10, ge=0, description="a call is opened when it is among the k likeliest tokens; 0 never"
    )
    max_calls: int = Field(1, ge=0, description="calls per input")
    max_call_tokens: int = Field(64, ge=1, description="a call without `->` by then is undone")
    max_new_tokens: int = Field(60, ge=1, description="longest completion, in tokens")


class EvaluationSettings(_Section):
    """The benchmarks (paper §4.2–4.3)."""

    benchmarks: tuple[Literal["perplexity", "dateset"], ...] = Field(
        ("perplexity", "dateset"), description="which are run"
    )
    perplexity_windows: int = Field(
        10_000, ge=1, description="held-out windows whose perplexity is measured"
    )
    dateset_items: int = Field(9_400, ge=1, le=9_400, description="questions of DATESET")
    dateset_new_tokens: int = Field(40, ge=5, description="longest answer, in tokens")
    batch_size: int = Field(16, ge=1, description="prompts decoded together")
    seed: int = Field(0, ge=0)


class Settings(_Section):
    """Everything a run can be told. `preset` names the values that are not given."""

    preset: PresetName = "laptop"
    language_model: LanguageModelSettings = LanguageModelSettings()  # pyright: ignore[reportCallIssue]
    corpus: CorpusSettings = CorpusSettings()  # pyright: ignore[reportCallIssue]
    sampling: SamplingSettings = SamplingSettings()  # pyright: ignore[reportCallIssue]
    execution: ExecutionSettings = ExecutionSettings()  # pyright: ignore[reportCallIssue]
    scoring: ScoringSettings = ScoringSettings()  # pyright: ignore[reportCallIssue]
    tools: ToolsSettings = ToolsSettings()
    wikipedia_index: WikipediaIndexSettings = WikipediaIndexSettings()  # pyright: ignore[reportCallIssue]
    passage_index: PassageIndexSettings = PassageIndexSettings()  # pyright: ignore[reportCallIssue]
    question_answering: QuestionAnsweringSettings = QuestionAnsweringSettings()  # pyright: ignore[reportCallIssue]
    training: TrainingSettings = TrainingSettings()  # pyright: ignore[reportCallIssue]
    decoding: DecodingSettings = DecodingSettings()  # pyright: ignore[reportCallIssue]
    evaluation: EvaluationSettings = EvaluationSettings()  # pyright: ignore[reportCallIssue]

    @property
    def training_rounds(self) -> tuple[int, ...]:
        """The rounds of annotation that are trained on, the newest first."""
        return tuple(sorted(set(self.training.rounds or [self.sampling.round]), reverse=True))


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
    """Check values and make settings of them.

    Args:
        values: nested, as in toolformer.yaml.
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

    place = [str(part) for part in details["loc"]]
    name = ".".join(place)
    if details["type"] == "value_error":
        error = str(details["ctx"]["error"]).rstrip(".")
        return f"{name} = {details['input']!r} is not valid: {error}."
    if details["type"] != "extra_forbidden":
        return f"{name} = {details['input']!r} is not valid: {details['msg'].lower()}."
    if len(place) == 3 and place[0] == "tools" and place[2] == "class":
        return f"{name}: {place[1]} is built in and cannot be replaced; choose another name."
    section: Any = Settings
    for part in place[:-1]:
        of_plugin = PluginSettings if section is ToolsSettings else section
        section = _fields(section).get(part, of_plugin)
    known = sorted(_fields(section))
    if section is ToolsSettings:
        known = sorted({*known, *tool_names()})
    close = difflib.get_close_matches(place[-1], known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    remedy = " A tool of your own needs `class: module:Class`." if section is ToolsSettings else ""
    return f"There is no setting {name!r}.{hint} Known there: {', '.join(known)}.{remedy}"


def _fields(section: Any) -> dict[str, Any]:
    fields = getattr(section, "model_fields", {})
    return {field.alias or name: field.annotation for name, field in fields.items()}
