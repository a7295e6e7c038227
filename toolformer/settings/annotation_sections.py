"""Settings of calls: how they are sampled, executed, scored, and decoded."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from toolformer.filtering import Baseline
from toolformer.loss_weights import window_weights
from toolformer.settings.evaluation_sections import BASE, FINETUNED
from toolformer.settings.section import Section

_Probability = Annotated[float, Field(ge=0, le=1)]


class SamplingSettings(Section):
    """Sampling of candidate calls (paper §2). The paper gives no temperature, length or seed."""

    max_new_tokens: int = Field(
        default=64, ge=1, le=512, description="longest sampled call, in tokens"
    )
    temperature: float = Field(
        default=1.0, gt=0, description="temperature of the sampling distribution"
    )
    seed: int = Field(
        default=0, ge=0, description="random seed of all stages that have no seed of their own"
    )
    is_constrained: bool = Field(
        default=True,
        description="force the tool's name and bracket after ` [`, and `]` once they close",
    )
    proposals: Literal["none", "positions", "calls"] = Field(
        default="none",
        description="none: p(` [`) chooses where calls are sampled, as in the paper; positions: "
        "the tool proposes where; calls: and, where it can, which call",
    )
    windows_per_batch: int | None = Field(
        default=None,
        ge=1,
        description="texts sampled together; changes last digits only; null: set by the device",
    )
    round: int = Field(
        default=1, ge=1, description="round of annotation; each round has its own rows"
    )
    annotator: str = Field(
        default=BASE,
        description="model that samples and scores in this round: base (language_model.path), "
        "finetuned (the model trained in the previous round), or a model directory",
    )
    uses_prompt: bool = Field(
        default=True, description="show the tool's prompt when sampling; finetuned models need none"
    )
    tools: tuple[str, ...] | None = Field(
        default=None, description="tools that annotate in this round; null: all that are enabled"
    )
    is_chained: bool = Field(
        default=False,
        description="annotate the texts that got a call in the previous round: the first call "
        "stays with its result, and further calls are sampled after it; not in the paper",
    )
    shards: int | None = Field(
        default=None,
        ge=1,
        description="number of shards that a build annotates, taken from all sources alternately, "
        "held-out ones not counted; null: all",
    )

    @field_validator("annotator", "is_chained")
    @classmethod
    def _has_earlier_round(cls, value: Any, info: ValidationInfo) -> Any:
        if value in (FINETUNED, True) and info.data.get("round") == 1:
            raise ValueError(
                "no round before round 1 has a finetuned model that could annotate, or calls to "
                "build on; set sampling.round to 2 or more, or leave this setting out"
            )
        return value

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
        default=True, description="e(c, ε) is `[Tool(args) ->]`; otherwise `[Tool(args)]`"
    )
    placement: Literal["prefix", "inline"] = Field(
        default="prefix",
        description="where a call stands while it is scored: prefix, in front of its text (the "
        "paper); inline, at its place in it, for annotators that know calls",
    )
    baseline: Baseline = Field(
        default="minimum",
        description="loss that a call with its result has to undercut: minimum, the smaller of the "
        "losses without a call and with a call without result (the paper); or without_call",
    )
    window_tokens: int = Field(
        default=5, ge=1, le=512, description="tokens from the position on whose losses count"
    )
    window_weights: Literal["linear", "uniform"] = Field(
        default="linear", description="weights of these tokens: linear falls to 0 (the paper)"
    )
    lowest_threshold: float = Field(
        default=0.1,
        ge=0,
        description="lower bound of every filtering_threshold, in nats; a call that cannot reach "
        "it is not scored to the end, so a lower value costs time; a change scores all calls anew",
    )
    token_budget: int | None = Field(
        default=None,
        ge=64,
        description="maximum tokens per batch; changes last digits only; null: set by the device",
    )
    chance_calls: int = Field(
        default=200,
        ge=0,
        description="maximum number of calls per tool and shard that are also scored with the "
        "result of another call: every tenth, or ten where those are fewer; 0 for none",
    )

    @property
    def token_weights(self) -> tuple[float, ...]:
        """Weights w_t of the tokens from the position on; they sum to 1."""
        return window_weights(self.window_tokens, are_linear=self.window_weights == "linear")

    def tokens_used(self, text_tokens: int, position: int) -> int:
        """Return how many of a text's tokens carry weight at a position."""
        return min(self.window_tokens, max(0, text_tokens - position))


class ExecutionSettings(Section):
    """Running the tools (paper §2, "Executing API Calls")."""

    deadline_seconds: float = Field(
        default=10.0, gt=0, le=86_400, description="longest time of one call, in seconds"
    )
    attempts: int = Field(
        default=3, ge=1, description="attempts per call whose failure may be temporary"
    )
    uses_cache: bool = Field(
        default=True, description="keep answers in cache/, so that no call is made twice"
    )
    max_result_tokens: int = Field(
        default=128, ge=1, description="longest result, in tokens; longer ones are cut at a word"
    )
    worker_memory_gib: float = Field(
        default=4.0, gt=0, le=1 << 20, description="GiB that a plugin tool's process may map"
    )
    leak_share: float = Field(
        default=0.5,
        gt=0,
        le=1,
        description="share of a result's 8-word sequences from which on the result is dropped, "
        "because the text behind the call repeats them",
    )
    allows_peeking: bool = Field(
        default=False,
        description="make calls whose arguments hold a number or a name that only appears after "
        "them in the text, which a model cannot know while it writes; otherwise they are dropped",
    )


class DecodingSettings(Section):
    """Decoding with live calls (paper §4.2)."""

    call_top_k: int = Field(
        default=10, ge=0, description="k: a call opens if ` [` is among the k likeliest; 0: never"
    )
    min_call_probability: _Probability | Mapping[str, _Probability] | None = Field(
        default=0.0,
        description="minimum probability (0 to 1) of ` [` and a tool's name after it for a call to "
        "open; 0: k alone decides; null: the values that `toolformer train` calibrated per tool, "
        "one for the first token after a prompt and one for later ones, and no calls without them; "
        "a map sets it for single tools, and the others keep theirs",
    )
    max_calls: int = Field(default=1, ge=0, description="maximum number of calls per input")
    max_call_tokens: int = Field(
        default=64, ge=1, description="longest call up to `->`, in tokens; a longer one is undone"
    )
    call_attempts: int = Field(
        default=3,
        ge=1,
        description="maximum number of calls that are written in turn where one opens, until one "
        "has a result, each the next likeliest; 1: a call without a result is undone at once",
    )
    max_new_tokens: int = Field(default=60, ge=1, description="longest completion, in tokens")
