"""The finetuned model as an output: what it depends on, whether it is there, how it is made."""

import json
import shutil
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from assets.inputs import Wanted
from assets.outputs import DONE, Output
from assets.outputs import publish as publish_slice
from assets.run import Run
from assets.shard_texts import typed_frame
from assets.stage import Stage
from assets.training.planned_training import (
    PlannedTraining,
    planned_training,
    usable_training_set,
)
from assets.training.training_inputs import training_set_digest
from dagster_project.fingerprints import FINGERPRINT, Fingerprint
from dagster_project.home import Home
from dagster_project.progress import ProgressCallback, progress_of
from dagster_project.settings.sections import Settings
from dagster_project.shared_files import bring, publish
from dagster_project.wiring.annotator import finetuned_model_directory
from dagster_project.wiring.model_cards import write_model_card
from dagster_project.wiring.model_damage import check_undamaged
from dagster_project.wiring.model_holder import base_model_directory
from dagster_project.wiring.precision import training_precision
from toolformer.training.finetuning import RECORD_FILE, FinetuningParameters, StepReport, finetune
from toolformer.training.model_card import CARD_FILE
from toolformer.training.training_loss import LossWeights
from tools.model_identity import model_identity
from warehouse.errors import StoreConflictError
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

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
        "training.packs_rows",
        "training.lora_rank",
        "training.evaluate_every",
        "training.clip_norm",
        "training.precision",
        "training.seed",
    ),
    settings_of_parts=("language_model.path", "language_model.bos_token"),
)
# Of the section `training`: how the loop trains.
_OF_THE_LOOP = {
    "learning_rate",
    "warmup_share",
    "batch_size",
    "micro_batch_tokens",
    "packs_rows",
    "gradient_checkpointing",
    "processes",
    "parallelism",
    "lora_rank",
    "evaluate_every",
    "save_every",
    "clip_norm",
    "seed",
}


@dataclass(kw_only=True)
class FinetunedModel(Output[Run]):
    """The model of the run's variant, in a directory of its own."""

    @cached_property
    def base(self) -> Path:
        """Directory of the base model."""
        return base_model_directory(self.run.settings, self.run.home)

    @cached_property
    def directory(self) -> Path:
        """Of the finetuned model."""
        return finetuned_model_directory(self.run.settings, self.run.home)

    @property
    def lock(self) -> FileLock:
        """See `Output.lock`."""
        return self.run.home.output_lock(f"finetuned_model.{self.directory.name}")

    def wanted(self) -> Wanted:
        """See `Output.wanted`."""
        texts = usable_training_set(self.run.warehouse)
        identity = _fingerprint(texts.fingerprint, self.run.settings, model_identity(self.base))
        return Wanted(identity, (texts,))

    def stored(self) -> dict[str, str] | None:
        """See `Output.stored`."""
        bring(self.run.home, self.directory)
        return _stored(self.directory, self.run.warehouse)

    @property
    def needs_device(self) -> bool:
        """See `Output.needs_device`."""
        return True

    def hold_device(self) -> str:
        """See `Output.hold_device`."""
        # The annotating model would take memory that training needs.
        self.run.holder.drop_model()
        processes = self.run.settings.training.processes
        return self.run.holder.hold_devices(processes, self.run.settings, self.run.home)

    def make(self, wanted: Wanted) -> str:
        """See `Output.make`.

        Raises:
            ToolformerError: there is too little to train on.
        """
        work = planned_training(self.run.settings, self.run.home, self.run.warehouse)
        # From here on nothing but these rows and the base model is read.
        wanted.check_unchanged(self.wanted())
        variant = self.run.settings.training.variant
        self.run.log.info(f"{variant}: {work.summary}")
        if not self.run.force:
            work.check_size(self.run.settings)
        digest = wanted.fingerprint.digest
        steps = self._train(work, digest)
        name = run_of(digest)
        rows = [{"run": name, "variant": variant, **asdict(step)} for step in steps]
        address = "training_metrics", ALL, name
        curve = typed_frame("training_metrics", rows)
        publish_slice(self.run, address, curve, wanted.metadata())
        write_model_card(self.directory, self.base, self.run.settings)
        self._publish()
        return DONE

    def complete(self) -> None:
        """Do what a kill behind the training left undone."""
        if not (self.directory / CARD_FILE).exists():
            write_model_card(self.directory, self.base, self.run.settings)
        self._publish()

    def _publish(self) -> None:
        """Publish the directory, also over a model that another machine has published meanwhile.

        That may be the earlier model with a new calibration, or the one that is wanted.
        """
        try:
            publish(self.run.home, self.directory)
        except StoreConflictError:
            mine = self.directory.with_name(f"{self.directory.name}.mine.tmp")
            self.directory.rename(mine)
            if self.is_stale():
                shutil.rmtree(self.directory, ignore_errors=True)
                mine.rename(self.directory)
                publish(self.run.home, self.directory)
            else:
                shutil.rmtree(mine)

    def _train(self, work: PlannedTraining, fingerprint: str) -> list[StepReport]:
        check_undamaged(self.base, self.run.home)
        settings, device = self.run.settings, self.hold_device()
        training = settings.training
        precision = training_precision(settings, self.base, device, self.run.home)
        show = progress_of("finetuning", self.run.log, detail=training.variant)
        steps: list[StepReport] = []
        finetune(
            self.base,
            self.directory,
            work.rows.rows,
            work.development,
            parameters=FinetuningParameters(
                **training.model_dump(include=_OF_THE_LOOP),
                precision=precision,
                steps=work.plan.steps,
                loss_weights=LossWeights(**training.loss_weights.model_dump()),
            ),
            bos_token=settings.language_model.bos_token,
            resume_folder=self.run.home.checkpoints / f"finetuned_model.{self.directory.name}",
            fingerprint=fingerprint,
            facts={
                "variant": training.variant,
                "calls": dict(work.rows.calls),
                "texts without a call that fits": work.rows.texts_without_row,
            },
            report=partial(_note_step, steps, show, work.plan.steps),
            device=device,
        )
        return steps


def _note_step(
    steps: list[StepReport], show: ProgressCallback, total: int, step: StepReport
) -> None:
    steps.append(step)
    show(step.step, total)


def run_of(fingerprint: str) -> str:
    """How the curve of a training is named."""
    return f"finetuning-{fingerprint[:12]}"


def record_of(directory: Path) -> dict[str, Any]:
    """What the training of a finetuned model left beside its weights."""
    return json.loads((directory / RECORD_FILE).read_text())


def is_finetuned(settings: Settings, home: Home, store: Warehouse) -> bool:
    """Whether the model that the settings describe is up to date.

    The stored training set may be that of another round: it is not asked.

    Raises:
        ToolformerError: a file of a benchmark is missing, or there is no base model.
    """
    identity = _fingerprint(
        training_set_digest(settings, home, store),
        settings,
        model_identity(base_model_directory(settings, home)),
    )
    stored = _stored(finetuned_model_directory(settings, home), store)
    return identity.difference(stored) is None


def _fingerprint(training_set: str, settings: Settings, model: str) -> Fingerprint:
    """Of the finetuned model.

    Args:
        training_set: fingerprint of its texts.
        settings: of the run.
        model: identity of the base model.
    """
    return FINETUNED_MODEL.fingerprint(
        settings,
        {
            "training_set": training_set,
            "language_model": [model, settings.language_model.bos_token],
        },
    )


def _stored(directory: Path, store: Warehouse) -> dict[str, str] | None:
    """What the model in a directory was trained on; None where it, or its curve, is not there."""
    try:
        fingerprint = str(record_of(directory)["fingerprint"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    # The curve of an earlier training stays when the model is replaced by another's.
    curve = store.slice_metadata("training_metrics", ALL, run_of(fingerprint))
    return curve if curve and curve.get(FINGERPRINT) == fingerprint else None
