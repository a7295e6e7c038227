"""Settings of sampling, scoring and executing calls, and of decoding with calls."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from toolformer.filtering import Baseline
from toolformer.loss_weights import window_weights
from toolformer.settings.evaluation_sections import BASE, FINETUNED
from toolformer.settings.section import Section

_Probability = Annotated[float, Field(ge=0, le=1)]


class SamplingSettings(Section):
    """Sampling of candidate calls (paper §2). The paper gives no length, temperature or seed."""

    max_new_tokens: int = Field(
        default=64, ge=1, le=512, description="Maximum length of a sampled call, in tokens."
    )
    temperature: float = Field(default=1.0, gt=0, description="Sampling temperature.")
    seed: int = Field(
        default=0,
        ge=0,
        description="Random seed of sampling, and of all stages without a seed of their own.",
    )
    is_constrained: bool = Field(
        default=True,
        description="Force the tool's name and `(` after ` [`, and `]` after the closing bracket "
        "of the arguments.",
    )
    proposals: Literal["none", "positions", "calls"] = Field(
        default="none",
        description="What rules of the tool decide. none: the model chooses positions by p(` [`) "
        "and writes the calls, as in the paper. positions: the rules choose positions. calls: "
        "the rules also write the calls, if the tool has such rules.",
    )
    windows_per_batch: int | None = Field(
        default=None,
        ge=1,
        description="Number of texts sampled together. It changes results in the last digits "
        "only. null: chosen for the device.",
    )
    round: int = Field(
        default=1, ge=1, description="Round of annotation, from 1. Each round stores its own rows."
    )
    annotator: str = Field(
        default=BASE,
        description="Model that samples and scores calls in this round: base "
        "(language_model.path), finetuned (the model trained in the previous round), or a model "
        "directory.",
    )
    uses_prompt: bool = Field(
        default=True,
        description="Put the tool's few-shot prompt before each text when sampling. Finetuned "
        "models do not need it.",
    )
    tools: tuple[str, ...] | None = Field(
        default=None, description="Tools that annotate in this round. null: all enabled tools."
    )
    is_chained: bool = Field(
        default=False,
        description="Annotate only texts that got a call in the previous round. The call stays in "
        "the text with its result, and further calls are sampled after it. Not in the paper.",
    )
    shards: int | None = Field(
        default=None,
        ge=1,
        description="Number of shards that a build annotates, taken from the sources in rotation "
        "and not counting held-out shards. null: all.",
    )

    @field_validator("annotator", "is_chained")
    @classmethod
    def _has_earlier_round(cls, value: Any, info: ValidationInfo) -> Any:
        if value in (FINETUNED, True) and info.data.get("round") == 1:
            raise ValueError(
                "before round 1 there is no finetuned model that could annotate, and there are no "
                "calls to build on; set sampling.round to 2 or more, or remove this setting"
            )
        return value

    @field_validator("uses_prompt")
    @classmethod
    def _base_needs_prompt(cls, uses_prompt: bool, info: ValidationInfo) -> bool:
        if not uses_prompt and info.data.get("annotator") == BASE:
            raise ValueError(
                "the base model has never seen a call, so without the prompt it writes none; set "
                "sampling.annotator to finetuned or to the directory of a finetuned model"
            )
        return uses_prompt


class ScoringSettings(Section):
    """Scoring of calls with the three losses (paper §2, "Filtering API Calls")."""

    empty_result_keeps_arrow: bool = Field(
        default=True,
        description="Write the call without a result, e(c, ε), as `[Tool(args) ->]`. If false, it "
        "is written as `[Tool(args)]`.",
    )
    placement: Literal["prefix", "inline"] = Field(
        default="prefix",
        description="Position of a call while it is scored. prefix: before its text, as in the "
        "paper. inline: at its position in the text, for annotators that were trained on calls.",
    )
    baseline: Baseline = Field(
        default="minimum",
        description="Loss that a call with its result has to undercut. minimum: the smaller of "
        "the losses without a call and with a call without result, as in the paper. "
        "without_call: the loss without a call.",
    )
    window_tokens: int = Field(
        default=5,
        ge=1,
        le=512,
        description="Number of tokens, from the position on, whose losses are compared.",
    )
    window_weights: Literal["linear", "uniform"] = Field(
        default="linear",
        description="Weights of these tokens. linear: falling to 0, as in the paper. uniform: all "
        "equal.",
    )
    lowest_threshold: float = Field(
        default=0.1,
        ge=0,
        description="Lower limit of every filtering_threshold, in nats. Calls that cannot reach "
        "it are not scored completely, so a lower value takes more time. A change scores all "
        "calls again.",
    )
    token_budget: int | None = Field(
        default=None,
        ge=64,
        description="Maximum number of tokens per batch. It changes results in the last digits "
        "only. null: chosen for the device.",
    )
    chance_calls: int = Field(
        default=200,
        ge=0,
        description="Maximum number of calls per tool and shard that are scored again with the "
        "result of another call, to measure chance. Every tenth call is used, but at least ten. "
        "0: none.",
    )

    @property
    def token_weights(self) -> tuple[float, ...]:
        """Weights w_t of the tokens from the position on, which sum to 1."""
        return window_weights(self.window_tokens, are_linear=self.window_weights == "linear")

    def tokens_used(self, text_tokens: int, position: int) -> int:
        """Return how many of a text's tokens carry weight at a position."""
        return min(self.window_tokens, max(0, text_tokens - position))


class ExecutionSettings(Section):
    """Execution of calls (paper §2, "Executing API Calls")."""

    deadline_seconds: float = Field(
        default=10.0, gt=0, le=86_400, description="Maximum time of one call, in seconds."
    )
    attempts: int = Field(
        default=3,
        ge=1,
        description="Maximum number of attempts per call, for failures that may be temporary.",
    )
    uses_cache: bool = Field(
        default=True, description="Keep results in cache/, so that no call is executed twice."
    )
    max_result_tokens: int = Field(
        default=128,
        ge=1,
        description="Maximum length of a result, in tokens. Longer results are cut at a word "
        "boundary.",
    )
    worker_memory_gib: float = Field(
        default=4.0,
        gt=0,
        le=1 << 20,
        description="Maximum memory that the process of a plugin tool may map, in GiB.",
    )
    leak_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="Drop a result if at least this share of its 8-word sequences appears in the "
        "text after the call.",
    )
    allows_peeking: bool = Field(
        default=False,
        description="Execute calls whose arguments contain a number or a name that only appears "
        "later in the text. A model cannot know it while it writes, so such calls are dropped by "
        "default.",
    )


class DecodingSettings(Section):
    """Decoding with live calls (paper §4.2)."""

    call_top_k: int = Field(
        default=10,
        ge=0,
        description="k: a call opens if ` [` is among the k most likely tokens. 0: no calls.",
    )
    min_call_probability: _Probability | Mapping[str, _Probability] | None = Field(
        default=0.0,
        description="Minimum probability, from 0 to 1, of ` [` and a tool's name after it for a "
        "call to open. 0: only k decides. null: the values that `toolformer train` calibrated "
        "per tool, one for the first token after a prompt and one for later tokens; a model "
        "without these values makes no calls. A map such as {QA: 0.1} sets single tools, and the "
        "others keep their calibrated values.",
    )
    max_calls: int = Field(default=1, ge=0, description="Maximum number of calls per input.")
    max_call_tokens: int = Field(
        default=64,
        ge=1,
        description="Maximum length of a call up to `->`, in tokens. A longer call is removed.",
    )
    call_attempts: int = Field(
        default=3,
        ge=1,
        description="Maximum number of calls to try at one position, the most likely first, until "
        "one has a result. 1: a call without a result is removed at once.",
    )
    max_new_tokens: int = Field(
        default=60, ge=1, description="Maximum length of a completion, in tokens."
    )
