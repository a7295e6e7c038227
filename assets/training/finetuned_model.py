"""Describes the directory of a finetuned model: its fingerprint, and whether it is stale."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from assets.identities import base_identity, base_template
from assets.outputs import Output
from assets.stage import PER_VARIANT, FingerprintPart, Stage, always
from assets.training.training_inputs import training_set_digest
from toolformer.base.model_files import RECORD_FILE
from toolformer.home.fingerprints import FINGERPRINT, Fingerprint
from toolformer.home.wiring.model_cards import write_model_card
from toolformer.home.wiring.models import base_model_directory, finetuned_model_directory
from toolformer.home.wiring.workspace import Workspace
from toolformer.training.model_card import CARD_FILE
from toolformer.training.progress import perplexity_warning
from tools.model_identity import chat_template_identity, model_identity
from warehouse.schema import ALL

FINETUNED_MODEL = Stage(
    name="finetuned_model",
    version="8",
    group="train",
    kinds=("pytorch", "huggingface"),
    per=PER_VARIANT,
    reads=("training_set",),
    settings=(
        "corpus.window_tokens",
        "training.variant",
        "training.chat_share",
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
        "training.evaluations",
        "training.clip_norm",
        "training.precision",
        "training.seed",
    ),
    parts=(
        FingerprintPart("training_set"),
        FingerprintPart(
            "language_model",
            ("language_model.path", "language_model.bos_token"),
            code_version_value=lambda settings, _: [
                base_identity(settings),
                settings.language_model.bos_token,
            ],
        ),
        FingerprintPart(
            "chat_template",
            code_version_value=lambda settings, _: (
                settings.training.chat_share and base_template(settings)
            ),
        ),
    ),
    needs_device=always,
)


def training_run_name(fingerprint: str) -> str:
    """Return the name under which the curve of a training is stored."""
    return f"finetuning-{fingerprint[:12]}"


def read_training_record(directory: Path) -> dict[str, Any]:
    return json.loads((directory / RECORD_FILE).read_text())


def why_stale(work: Workspace) -> str | None:
    """Return why the model of the settings is stale; None if it is up to date.

    Ignores the stored training set, which may belong to another round. Raises ToolformerError if a
    file of a benchmark or the base model is missing.
    """
    identity = model_fingerprint(work, training_set_digest(work))
    directory = finetuned_model_directory(work)
    return identity.difference(stored_model(work, directory))


def is_finetuned(work: Workspace) -> bool:
    return why_stale(work) is None


def model_fingerprint(work: Workspace, training_set: str) -> Fingerprint:
    identity = [model_identity(base_model_directory(work)), work.settings.language_model.bos_token]
    parts = {"training_set": training_set, "language_model": identity}
    if work.settings.training.chat_share:
        parts["chat_template"] = chat_template_identity(base_model_directory(work))
    return FINETUNED_MODEL.fingerprint(work.settings, parts)


def remarks_on(record: Mapping[str, Any]) -> dict[str, str]:
    """Return sentences from a model's record: the choice of its rate, and a rise in perplexity."""
    result, rates = record["result"], record.get("learning_rates")
    rise = perplexity_warning(
        result["base_perplexity"], result["best_perplexity"], of="the development texts"
    )
    remarks = {"learning rate": rates and rates["summary"], "perplexity": rise}
    return {name: sentence for name, sentence in remarks.items() if sentence}


def stored_model(work: Workspace, directory: Path) -> dict[str, str] | None:
    """Return the metadata of the model in a directory; None without the model or its curve."""
    try:
        fingerprint = str(read_training_record(directory)["fingerprint"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    # The warehouse keeps the curve of an earlier training when the model is replaced.
    curve = work.warehouse.partition_metadata(
        "training_metrics", ALL, training_run_name(fingerprint)
    )
    return curve if curve and curve.get(FINGERPRINT) == fingerprint else None


@dataclass(frozen=True, kw_only=True)
class ModelOutput(Output):
    """An output in the directory of a finetuned model."""

    directory: Path

    @property
    def lock(self) -> FileLock:
        """Lock of the model, so that no run trains it while another calibrates it."""
        return self.run.home.output_lock(f"finetuned_model.{self.directory.name}")

    @property
    def needs_device(self) -> bool:
        return True

    def write_card(self) -> None:
        write_model_card(self.directory, self.run)

    def complete(self) -> None:
        """Write the model card if a run was killed after training."""
        if not (self.directory / CARD_FILE).exists():
            self.write_card()
