"""Finetunes the model and its controls on the training set (paper §2 and §4.1)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.inputs import Expected
from assets.outputs import DONE, publish
from assets.run import Run
from assets.shard_texts import typed_frame
from assets.stage_asset import asset_of
from assets.stale_scores import clear_stale_scores
from assets.training.finetuned_model import (
    FINETUNED_MODEL,
    ModelOutput,
    model_fingerprint,
    read_training_record,
    remarks_on,
    stored_model,
    training_run_name,
)
from assets.training.planned_training import PlannedTraining, planned_training, stored_training_set
from toolformer.errors import ModelNotFoundError
from toolformer.forward.memory import check_training_fits
from toolformer.forward.precision import training_precision
from toolformer.home.partitions import MODELS, register
from toolformer.home.progress import ProgressCallback
from toolformer.home.wiring.models import (
    base_model_directory,
    evaluated_model,
    finetuned_model_directory,
    name_of_variant,
)
from toolformer.training.model_card import CARD_FILE
from toolformer.training.progress import Progress, StepReport
from warehouse.schema import ALL

# Metadata key of a curve: duration of the training.
SECONDS = "seconds"


@dataclass(frozen=True, kw_only=True)
class FinetunedModel(ModelOutput):
    def expected(self) -> Expected:
        texts = stored_training_set(self.run.warehouse)
        return Expected(model_fingerprint(self.run, texts.fingerprint), (texts,))

    def stored(self) -> dict[str, str] | None:
        return stored_model(self.run, self.directory)

    @property
    def scratch_folder(self) -> Path:
        """Checkpoints of the training; those of runs with other settings are removed too."""
        return self.run.home.checkpoints / f"finetuned_model.{self.directory.name}"

    def hold_device(self) -> str:
        # The annotating model would take memory that training needs.
        self.run.holder.drop_model()
        settings, home = self.run.settings, self.run.home
        processes, named = settings.training.processes, settings.language_model.device
        return self.run.holder.hold_devices(processes, named, home)

    def make(self, expected: Expected) -> str:
        work = planned_training(self.run)
        # After this check, the run reads only these rows and the base model.
        expected.check_unchanged(self.expected())
        variant = self.run.settings.training.variant
        self.run.log.info(f"{variant}: {work.summary}")
        if not self.run.force:
            work.check_size(self.run.settings.training.min_texts)
        digest = expected.fingerprint.digest
        progress = self._train(work, digest)
        name = training_run_name(digest)
        of_all = {"run": name, "variant": variant}
        rows = [
            {**of_all, **asdict(step), "is_kept": step.step == progress.best.step}
            for step in progress.history
        ]
        curve = typed_frame("training_metrics", rows)
        metadata = {**expected.metadata(), SECONDS: str(progress.seconds)}
        publish(self.run, {("training_metrics", name): (curve, {ALL: metadata})})
        self.write_card()
        return DONE

    def _train(self, work: PlannedTraining, fingerprint: str) -> Progress:
        from toolformer.training.finetuning import finetune
        from toolformer.training.learning_rates import RATES, RATES_OF_ADAPTERS, steps_of_trial
        from toolformer.training.training_job import TrainingJob

        base, settings = base_model_directory(self.run), self.run.settings
        if settings.language_model.server.url and not any(base.glob("*.safetensors")):
            raise ModelNotFoundError(
                f"There are no weights (*.safetensors) in {str(base)!r}. Training needs the model "
                "on this machine, since the server of language_model.server cannot train. Set "
                "language_model.path to the directory of the model."
            )
        device, training = self.hold_device(), settings.training
        precision = training.precision
        if precision == "auto":
            precision = training_precision(device)
        check_training_fits(
            base,
            precision=precision,
            device=device,
            lora_rank=training.lora_rank,
            shares=1 if device == "cpu" else training.processes,
        )
        job = TrainingJob(
            base=base,
            rows=work.rows.rows,
            development=work.development,
            settings=training,
            steps=work.steps,
            # A trial of learning rates replaces this value.
            learning_rate=0.0 if training.learning_rate == "auto" else training.learning_rate,
            precision=precision,
            bos_token=settings.language_model.bos_token,
            state_folder=self.scratch_folder,
            fingerprint=fingerprint,
            device=device,
        )
        rates = ()
        if training.learning_rate == "auto":
            rates = RATES if training.lora_rank is None else RATES_OF_ADAPTERS

        @cache
        def show() -> ProgressCallback:
            """Start this progress only after the trial, which shows its own."""
            return self.run.progress("finetuning", training.variant)

        def report_trial(rate: float) -> Callable[[StepReport], None]:
            trial = f"trying learning rate {rate:.0e}"
            show_trial = self.run.progress(trial, training.variant)
            return lambda step: show_trial(step.step, steps_of_trial(work.steps))

        return finetune(
            job,
            self.directory,
            rates=rates,
            facts={
                "variant": training.variant,
                "calls": dict(work.rows.calls),
                "call writers": dict(work.call_writers),
                "texts without a call that fits": work.rows.texts_without_row,
                "chats": work.rows.chats,
            },
            report=lambda step: show()(step.step, work.steps),
            report_trial=report_trial,
            report_rate=lambda chosen: self.run.log.info(chosen.summary),
        )


@asset_of(FINETUNED_MODEL)
def finetuned_model(run: Run) -> dg.MaterializeResult:
    """Model finetuned on C*: a directory with config, tokenizer and safetensors weights.

    One partition = one variant. `calls` is the model of the paper. The others are controls on the
    same texts in the same order: `plain` has no calls, `shuffled` has results swapped between
    calls of a tool. To train and measure a control, add a partition with its name. Training starts
    from the base model in every round. Each round and variant has its own directory, because the
    model of one round annotates the next.
    """
    directory = finetuned_model_directory(run)
    model = FinetunedModel(run=run, directory=directory)
    state = model.ensure()
    model.complete()
    name = name_of_variant(run.settings.training.variant)
    # The scores of the replaced model do not apply to this one.
    clear_stale_scores(run, evaluated_model(name, run))
    register(run.context.instance, MODELS, [name])
    return dg.MaterializeResult(
        metadata={"state": state, **_report(model)}, data_version=model.data_version()
    )


def _report(model: FinetunedModel) -> dict[str, Any]:
    record, training = read_training_record(model.directory), model.run.settings.training
    curve = model.run.warehouse.read_partition(
        "training_metrics", ALL, training_run_name(record["fingerprint"])
    )
    result = record["result"]
    seconds = (model.stored() or {}).get(SECONDS)
    return {
        "variant": training.variant,
        "directory": dg.MetadataValue.path(str(model.directory)),
        "model card": dg.MetadataValue.md((model.directory / CARD_FILE).read_text()),
        "round": model.run.settings.training_rounds[0],
        **remarks_on(record),
        "texts": record["rows"],
        "calls": record["facts"]["calls"],
        "steps": curve.height,
        "tokens": int(curve.select(pl.col("tokens").max()).item() or 0),
        **({"tokens per second": round(result["tokens"] / float(seconds), 1)} if seconds else {}),
        "last loss": float(curve["loss"][-1]),
        "best step": result["best_step"],
        "development perplexity of the base model": result["base_perplexity"],
        "best development perplexity": result["best_perplexity"],
    }
