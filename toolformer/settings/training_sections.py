"""Settings of finetuning, and the control variants."""

import math
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from toolformer.settings.section import Section

# The controls show whether a gain comes from the calls. They train on the same texts with other
# calls:
#   calls      C*: the kept calls with their own results              (the paper's Toolformer)
#   plain      C: no calls                                            (the paper's "+ CC")
#   shuffled   the kept calls with results swapped within a tool      (is it the result?)
# All variants have the same excerpts of the texts, preceding contexts, order and number of steps;
# see `toolformer/training/variant_rows.py`.
Variant = Literal["calls", "plain", "shuffled"]
CALLS, PLAIN, SHUFFLED = VARIANTS = get_args(Variant)


class LossWeightsSettings(Section):
    """Weights of tokens in the training loss, by kind of token (paper: all equal)."""

    text: float = Field(1.0, ge=0, description="Weight of tokens of the text.")
    call: float = Field(1.0, ge=0, description="Weight of tokens of a call, up to its arrow.")
    tool: float = Field(1.0, ge=0, description="Weight of tokens of the tool's name in a call.")
    result: float = Field(
        1.0,
        ge=0,
        description="Weight of tokens of a result. The finished model never writes results itself.",
    )


class TrainingSettings(Section):
    """Finetuning on C* (paper §4.1 and appendix B)."""

    variant: Variant = Field(
        "calls",
        description="Model that a command trains or evaluates. calls: the paper's Toolformer. "
        "Controls on the same texts: plain (no calls) and shuffled (results swapped between "
        "calls). In the UI, the partition chooses it.",
    )
    rounds: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        None,
        min_length=1,
        description="Rounds of annotation to train on, such as [1, 2]. null: sampling.round only.",
    )
    max_texts_per_tool: int = Field(
        25_000, ge=1, description="Maximum number of texts with calls per tool."
    )
    plain_share: float = Field(
        0.0, ge=0, lt=1, description="Share of training texts without calls. The paper has none."
    )
    chat_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of training texts written as a chat, with the model's chat template. "
        "The user's message is the context of a text, or else its beginning. The paper has none.",
    )
    near_duplicate_similarity: float | None = Field(
        None,
        ge=0.5,
        le=1,
        description="Leave out the second of two texts if the Jaccard similarity of their "
        "five-word sequences is at least this. null: never, as in the paper.",
    )
    development_share: float = Field(
        0.02, ge=0, lt=1, description="Share of documents set aside to choose the checkpoint."
    )
    learning_rate: float | Literal["auto"] = Field(
        1e-5,
        description="Constant learning rate after the warm-up, above 0. auto: the largest of "
        "several rates with a perplexity within 5 % of the base model's; each rejected rate "
        "makes training a fifth longer.",
    )
    warmup_share: float = Field(
        0.1, ge=0, le=1, description="Share of the steps in the linear warm-up."
    )
    batch_size: int = Field(128, ge=1, description="Texts per step.")
    epochs: float = Field(
        2.0,
        gt=0,
        description="Passes over the texts. With 25,000 texts for each of five tools, two passes "
        "are about 2,000 steps.",
    )
    steps: int | None = Field(
        None, ge=1, description="Number of steps, instead of epochs. null: epochs decide."
    )
    min_texts: int = Field(
        100, ge=1, description="Minimum number of training texts. Training on fewer needs --force."
    )
    loss_weights: LossWeightsSettings = LossWeightsSettings()  # pyright: ignore[reportCallIssue]
    max_tokens: int = Field(
        1024, ge=16, description="Maximum length of a training row with its calls, in tokens."
    )
    micro_batch_tokens: int = Field(
        4096, ge=16, description="Tokens computed at once. A smaller value needs less memory."
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Recompute activations in the backward pass: less memory, a third more time.",
    )
    processes: int = Field(
        1,
        ge=1,
        description="Number of processes that train together, each with a shard of every weight "
        "(FSDP2): one per GPU, or several that share the cores of a CPU.",
    )
    lora_rank: int | None = Field(
        None,
        ge=1,
        description="Rank of LoRA adapters to train instead of all weights, for models that do "
        "not fit otherwise. Needs the extra lora. null: train all weights.",
    )
    evaluations: int = Field(
        4,
        ge=1,
        description="Number of measurements on the development texts during training, including "
        "the one after the last step.",
    )
    save_every: int = Field(
        100,
        ge=1,
        description="Steps between saved states. A killed run resumes from the latest one.",
    )
    clip_norm: float = Field(1.0, gt=0, description="Maximum gradient norm. The paper gives none.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="bfloat16: weights in float32, computation in bfloat16. auto: bfloat16 on "
        "CUDA from Ampere on, and on CPUs that multiply matrices at least 1.2 times as fast in "
        "it; otherwise float32.",
    )
    seed: int = Field(0, ge=0, description="Random seed for choosing and ordering texts.")

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
                f"{self.batch_size}, since every process needs a text per step"
            )
        return self
