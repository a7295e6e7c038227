"""`toolformer train`: finetune a model on the augmented texts."""

from typing import Annotated

import typer

from assets.training.finetuned_model import read_training_record, remarks_on, training_run_name
from assets.training.planned_training import planned_training
from dagster_project.commands import console
from dagster_project.commands.options import Changes, RunOptions, VariantName
from dagster_project.commands.planning import report_outdated
from dagster_project.runs.planned_run import PlannedRun, execute_runs, raise_failures
from dagster_project.runs.run_job import dagster_instance
from toolformer.decoding.calibration import read_min_call_probability
from toolformer.home.partitions import MODEL_VARIANTS, register
from toolformer.home.wiring.models import finetuned_model_directory

app = typer.Typer()


@app.command()
def train(
    variant: VariantName = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Make the training set and show the plan.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Train even if the model is up to date or texts are too few."),
    ] = False,
    changes: Changes = None,
) -> None:
    """Finetune the model or one of its controls on the augmented texts of all shards."""
    train_model(RunOptions.of(changes, force=force, variant=variant), dry_run=dry_run)


def train_model(options: RunOptions, *, dry_run: bool = False, is_calibrated: bool = True) -> None:
    """Make the training set, print the plan, then finetune and calibrate the model.

    Outdated calls are reported, but used as they are. A model that only annotates needs no
    calibration.
    """
    work = options.workspace()
    settings, home = work.settings, work.home
    with dagster_instance(home) as instance:
        register(instance, MODEL_VARIANTS, [settings.training.variant])
        report_outdated(options, home, settings.training_rounds)

        def run(*planned: PlannedRun) -> None:
            with console.progress_bars():
                raise_failures(execute_runs(instance, options.resources(), planned))

        run(PlannedRun("train", ("training_set",)))
        planned = planned_training(work)
        console.say(f"Planned for {settings.training.variant}: {planned.summary}.")
        if dry_run:
            return
        assets = ("finetuned_model", *(["min_call_probability"] if is_calibrated else []))
        run(
            PlannedRun("train", assets, (settings.training.variant,)),
            PlannedRun("train", ("call_statistics",)),
        )
    directory = finetuned_model_directory(work)
    console.say(f"The finetuned model is in {directory}.")
    record = read_training_record(directory)
    for sentence in remarks_on(record).values():
        console.say(f"{sentence[0].upper()}{sentence[1:]}")
    if chosen := read_min_call_probability(directory):
        console.say(chosen.summary)
    console.frame(
        work.warehouse.ask("development_curve", run=training_run_name(record["fingerprint"]))
    )
