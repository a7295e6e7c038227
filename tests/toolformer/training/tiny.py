"""A model and rows that are trained in milliseconds."""

from array import array
from pathlib import Path

from tests.fakes import tiny_model
from toolformer.training.finetuning import FinetuningParameters
from toolformer.training.training_loss import LossWeights
from toolformer.training.training_rows import CALL, RESULT, TEXT, TrainingRow

BOS = 0

PARAMETERS = FinetuningParameters(
    learning_rate=1e-2,
    warmup_share=0.0,
    batch_size=4,
    steps=1,
    micro_batch_tokens=64,
    evaluate_every=100,
    seed=3,
    clip_norm=1.0,
    precision="float32",
    save_every=100,
    loss_weights=LossWeights(text=1.0, call=1.0, result=1.0),
)


def row(*segments: list[int]) -> TrainingRow:
    """Tokens of a text, and calls: lists of several tokens, the last two of which are a result."""
    kinds = [
        kind
        for segment in segments
        for kind in ([TEXT] if len(segment) == 1 else [CALL] * (len(segment) - 2) + [RESULT] * 2)
    ]
    ids = array("i", (token for segment in segments for token in segment))
    return TrainingRow(ids, bytes(kinds))


# Rows of different lengths.
ROWS = [
    row([5], [6], [40, 41, 42, 43, 44], [7], [8]),
    row([9], [40, 41, 45, 43, 44], [10]),
    row([11], [12], [13], [14], [15], [16], [40, 46, 43, 47, 44], [17], [18], [19], [20]),
    row([40, 48, 44], [21]),
]
IDS = [each.ids for each in ROWS]
DEVELOPMENT = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16]]


def save_base(folder: Path) -> None:
    """A Llama of random weights, with one matrix for its embeddings and its head."""
    base = tiny_model(context_length=64)
    base.model.config.tie_word_embeddings = True
    base.model.tie_weights()
    base.model.save_pretrained(folder)
    base.tokenizer.backend.save_pretrained(folder)


def weights(folder) -> dict:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")
