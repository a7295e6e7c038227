"""The finetuned model: what it depends on, whether it is there, and what its training left."""

import json
from pathlib import Path
from typing import Any

from assets.run import Workspace
from assets.stage import Stage
from assets.training.training_inputs import training_set_digest
from dagster_project.fingerprints import FINGERPRINT, Fingerprint
from dagster_project.wiring.annotator import finetuned_model_directory
from toolformer.training.finetuning import RECORD_FILE
from tools.model_identity import model_identity
from warehouse.schema import ALL

FINETUNED_MODEL = Stage(
    name="finetuned_model",
    version="1",
    settings=(
        "corpus.window_tokens",
        "training.variant",
        "training.development_share",
        "training.learning_rate",
        "training.warmup_share",
        "training.batch_size",
        "training.epochs",
        "training.steps",
        "training.loss_weights",
        "training.max_tokens",
        "training.micro_batch_tokens",
        "training.lora_rank",
        "training.evaluate_every",
        "training.clip_norm",
        "training.precision",
        "training.seed",
    ),
    settings_of_parts=("language_model.path", "language_model.bos_token"),
)


def run_of(fingerprint: str) -> str:
    """How the curve of a training is named."""
    return f"finetuning-{fingerprint[:12]}"


def record_of(directory: Path) -> dict[str, Any]:
    """What the training of a finetuned model left beside its weights."""
    return json.loads((directory / RECORD_FILE).read_text())


def is_finetuned(work: Workspace) -> bool:
    """Whether the model that the settings describe is up to date.

    The stored training set may be that of another round: it is not asked.

    Raises:
        ToolformerError: a file of a benchmark is missing, or there is no base model.
    """
    identity = model_fingerprint(work, training_set_digest(work))
    directory = finetuned_model_directory(work.settings, work.home)
    return identity.difference(stored_model(work, directory)) is None


def model_fingerprint(work: Workspace, training_set: str) -> Fingerprint:
    """Of the finetuned model, given the fingerprint of its texts."""
    identity = [model_identity(work.base_model), work.settings.language_model.bos_token]
    return FINETUNED_MODEL.fingerprint(
        work.settings, {"training_set": training_set, "language_model": identity}
    )


def stored_model(work: Workspace, directory: Path) -> dict[str, str] | None:
    """What the model in a directory was trained on; None where it, or its curve, is not there."""
    try:
        fingerprint = str(record_of(directory)["fingerprint"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    # The curve of an earlier training stays when the model is replaced by another's.
    curve = work.warehouse.slice_metadata("training_metrics", ALL, run_of(fingerprint))
    return curve if curve and curve.get(FINGERPRINT) == fingerprint else None
