"""A model and rows that are trained in milliseconds, and the record of a trained model."""

from array import array
from pathlib import Path
from typing import Any

from tests.fakes import byte_tokenizer
from toolformer.settings.training_sections import CALLS, LossWeightsSettings, TrainingSettings
from toolformer.training.training_job import TrainingJob
from toolformer.training.training_rows import CALL, RESULT, TEXT, TOOL, DevelopmentRows, TrainingRow

VOCABULARY = byte_tokenizer().vocabulary_size
BOS = 0

SETTINGS = TrainingSettings.model_validate(
    {"warmup_share": 0.0, "batch_size": 4, "micro_batch_tokens": 64, "evaluations": 1, "seed": 3}
)


def row(*segments: list[int]) -> TrainingRow:
    """Tokens of a text, and calls of several tokens: the second is a name, the last a result."""
    kinds = [
        kind
        for segment in segments
        for kind in (
            [TEXT]
            if len(segment) == 1
            else [*[CALL, TOOL, *[CALL] * len(segment)][: len(segment) - 2], RESULT, RESULT]
        )
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
DEVELOPMENT = DevelopmentRows(
    with_calls=[
        row([5], [6], [40, 41, 43, 44], [7], [8]),
        row([9], [10]),
        row([11], [12], [13], [14], [15], [40, 45, 42, 43, 44], [16]),
    ],
    without_calls=[
        row([5], [6], [7], [8]),
        row([9], [10]),
        row([11], [12], [13], [14], [15], [16]),
    ],
)
PLAIN = [each.ids for each in DEVELOPMENT.without_calls]
OF_JOBS: dict[str, Any] = {
    "rows": ROWS,
    "development": DEVELOPMENT,
    "steps": 1,
    "learning_rate": 1e-2,
    "precision": "float32",
    "bos_token": None,
    "fingerprint": "f1",
    "device": "cpu",
}


def save_base(folder: Path) -> None:
    """A Llama of random weights, with a vocabulary of bytes."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCABULARY,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=64,
                tie_word_embeddings=True,
                initializer_range=0.3,
            )
        ).save_pretrained(folder)
    byte_tokenizer().backend.save_pretrained(folder)


def training_job(base: Path, state_folder: Path, **changes) -> TrainingJob:
    """A training of the tiny model; changes are fields of the job, or settings of any value."""
    fields = {name: changes.pop(name) for name in [*changes] if name in OF_JOBS}
    return TrainingJob(
        base=base,
        settings=SETTINGS.model_copy(update=changes),
        state_folder=state_folder,
        **OF_JOBS | fields,
    )


def loss_weights(**weights: float) -> LossWeightsSettings:
    """Weights of 1 but for these."""
    return LossWeightsSettings.model_validate(weights)


def weights(folder) -> dict:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def record(variant: str = CALLS) -> dict:
    """What stands beside a finetuned model about its training."""
    return {
        "base": "tiny",
        "rows": 1200,
        "facts": {
            "variant": variant,
            "calls": {"Calculator": 1500, "MT": 2},
            "call writers": {"rules of the tools": 1400, "the model `tiny`": 102},
        },
        "precision": "float32",
        "parameters": {"learning_rate": 1e-4, "steps": 7},
        "result": {
            "steps": 7,
            "tokens": 12345,
            "base_perplexity": 35.9,
            "best_perplexity": 34.25,
            "best_step": 6,
        },
    }
