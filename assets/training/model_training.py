"""The training of a finetuned model, as an output that is made once."""

from dataclasses import asdict, dataclass
from functools import partial

from assets.inputs import Wanted
from assets.outputs import DONE, publish
from assets.shard_texts import typed_frame
from assets.training.finetuned_model import model_fingerprint, run_of, stored_model
from assets.training.model_output import ModelOutput
from assets.training.planned_training import (
    PlannedTraining,
    planned_training,
    usable_training_set,
)
from dagster_project.progress import ProgressCallback
from dagster_project.wiring.model_damage import check_undamaged
from dagster_project.wiring.precision import training_precision
from toolformer.training.finetuning import FinetuningParameters, StepReport, finetune
from toolformer.training.training_loss import LossWeights
from warehouse.schema import ALL

# Of the section `training`: how the loop trains.
_OF_THE_LOOP = {
    "learning_rate",
    "warmup_share",
    "batch_size",
    "micro_batch_tokens",
    "gradient_checkpointing",
    "processes",
    "parallelism",
    "lora_rank",
    "evaluate_every",
    "save_every",
    "clip_norm",
    "seed",
}


@dataclass(frozen=True, kw_only=True)
class FinetunedModel(ModelOutput):
    """The model of the run's variant, in a directory of its own."""

    def wanted(self) -> Wanted:
        """See `Output.wanted`."""
        texts = usable_training_set(self.run)
        return Wanted(model_fingerprint(self.run, texts.fingerprint), (texts,))

    def stored(self) -> dict[str, str] | None:
        """See `Output.stored`."""
        return stored_model(self.run, self.bring_directory())

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
        work = planned_training(self.run)
        # From here on nothing but these rows and the base model is read.
        wanted.check_unchanged(self.wanted())
        variant = self.run.settings.training.variant
        self.run.log.info(f"{variant}: {work.summary}")
        if not self.run.force:
            work.check_size(self.run.settings.training.least_texts)
        digest = wanted.fingerprint.digest
        steps = self._train(work, digest)
        name = run_of(digest)
        rows = [{"run": name, "variant": variant, **asdict(step)} for step in steps]
        curve = typed_frame("training_metrics", rows)
        publish(self.run, ("training_metrics", ALL, name), curve, wanted.metadata())
        self.write_card()
        self.replace_published()
        return DONE

    def _train(self, work: PlannedTraining, fingerprint: str) -> list[StepReport]:
        base, settings, home = self.run.base_model, self.run.settings, self.run.home
        check_undamaged(base, home)
        device, training = self.hold_device(), settings.training
        precision = training_precision(settings, base, device, home)
        show = self.run.progress("finetuning", training.variant)
        steps: list[StepReport] = []
        finetune(
            base,
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
            resume_folder=home.checkpoints / f"finetuned_model.{self.directory.name}",
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
