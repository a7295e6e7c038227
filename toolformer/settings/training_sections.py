"""Settings of the finetuning and its controls."""

import math
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from toolformer.settings.section import Section

# The controls that tell whether a gain comes from the calls: the same texts with other calls.
#   calls      C*: the kept calls with their own results              (the paper's Toolformer)
#   plain      C: no calls                                            (the paper's "+ CC")
#   shuffled   the kept calls with results exchanged within a tool    is it the result?
# A control has the texts, the part of each text, the order and the steps of `calls`; and all have
# the same contexts in front. `toolformer/training/variant_rows.py` makes the rows.
Variant = Literal["calls", "plain", "shuffled"]
CALLS, PLAIN, SHUFFLED = VARIANTS = get_args(Variant)


class LossWeightsSettings(Section):
    """How much a token counts in the training loss, by its kind (paper: all alike)."""

    text: float = Field(1.0, ge=0, description="tokens of the text")
    call: float = Field(1.0, ge=0, description="tokens of a call, up to its arrow")
    tool: float = Field(1.0, ge=0, description="tokens of the tool's name in a call")
    result: float = Field(
        1.0, ge=0, description="tokens of a result, which the finished model never writes itself"
    )


class TrainingSettings(Section):
    """Finetuning on C* (paper §4.1 and appendix B)."""

    variant: Variant = Field(
        "calls",
        description="model that a command trains or measures: calls (the paper's), or a control "
        "on the same texts: plain (no calls), shuffled (results exchanged); in the UI, the "
        "partition chooses it",
    )
    rounds: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        None,
        min_length=1,
        description="rounds of annotation to train on, such as [1, 2]; null: sampling.round alone",
    )
    max_texts_per_tool: int = Field(25_000, ge=1, description="maximum texts with calls per tool")
    plain_share: float = Field(
        0.0, ge=0, lt=1, description="share of the texts that hold no call; the paper has none"
    )
    chat_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the texts that are written as a chat, by the model's own chat "
        "template: asked is the context of a text, or else its beginning; the paper has none",
    )
    near_duplicate_similarity: float | None = Field(
        None,
        ge=0.5,
        le=1,
        description="Jaccard similarity of five-word sequences from which on the second of two "
        "texts is left out; null: never, as in the paper",
    )
    development_share: float = Field(
        0.02, ge=0, lt=1, description="share of documents set aside to choose the checkpoint"
    )
    learning_rate: float | Literal["auto"] = Field(
        1e-5,
        description="constant learning rate after the warm-up, above 0; auto: the largest of "
        "a few that costs the model no language (within 5 % of the base model's perplexity); a "
        "fifth longer for each that does",
    )
    warmup_share: float = Field(
        0.1, ge=0, le=1, description="share of the steps in the linear warm-up"
    )
    batch_size: int = Field(128, ge=1, description="texts per step")
    epochs: float = Field(
        2.0,
        gt=0,
        description="passes over the texts; 25,000 of each of five tools make 2,000 steps",
    )
    steps: int | None = Field(
        None, ge=1, description="number of steps, instead of epochs; null: epochs decide"
    )
    min_texts: int = Field(
        100, ge=1, description="minimum number of texts; fewer are trained on with --force only"
    )
    loss_weights: LossWeightsSettings = LossWeightsSettings()  # pyright: ignore[reportCallIssue]
    max_tokens: int = Field(
        1024, ge=16, description="longest training row with its calls, in tokens"
    )
    micro_batch_tokens: int = Field(
        4096, ge=16, description="tokens fed at once; smaller needs less memory"
    )
    gradient_checkpointing: bool = Field(
        False, description="compute activations twice: less memory, a third more time"
    )
    processes: int = Field(
        1,
        ge=1,
        description="processes that train together, each with a part of every weight (FSDP2): one "
        "per GPU, or sharing the CPU's cores",
    )
    lora_rank: int | None = Field(
        None,
        ge=1,
        description="train adapters of this rank (LoRA, needs the extra lora), for models that do "
        "not fit otherwise; null trains all weights",
    )
    evaluations: int = Field(
        4, ge=1, description="how often training measures its development texts, last step included"
    )
    save_every: int = Field(100, ge=1, description="steps between states a killed run resumes from")
    clip_norm: float = Field(1.0, gt=0, description="maximum gradient norm; the paper gives none")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="bfloat16: weights in float32, computation in bfloat16; auto: bfloat16 on CUDA "
        "from Ampere on and on a processor that multiplies matrices at least 1.2 times as fast in "
        "it, else float32",
    )
    seed: int = Field(0, ge=0, description="random seed of the choice of texts and their order")

    @field_validator("learning_rate", mode="before")
    @classmethod
    def _is_a_rate(cls, value: Any) -> Any:
        try:
            is_rate = value == "auto" or 0 < float(value) < math.inf
        except (TypeError, ValueError):
            is_rate = False
        if not is_rate:
            raise ValueError("expected a number above 0, or auto")
        return value

    @model_validator(mode="after")
    def _every_process_has_a_row(self) -> "TrainingSettings":
        if self.processes > self.batch_size:
            raise ValueError(
                f"processes is {self.processes}; expected at most batch_size, which is "
                f"{self.batch_size}: one without a row would idle"
            )
        return self
