"""`toolformer train` and `evaluate`.

Does not parse the command line.
"""

from collections.abc import Sequence

from assets.finetuning import planned_training
from dagster_project.commands import console
from dagster_project.commands.options import RunOptions
from dagster_project.home import Home
from dagster_project.runs.run_job import (
    dagster_instance,
    run_job,
)
from dagster_project.settings.sections import merged
from dagster_project.wiring.annotator import finetuned_model_directory
from dagster_project.wiring.warehouse import open_warehouse


def train_model(options: RunOptions, *, dry_run: bool = False) -> None:
    """Make the training set, say what is planned, and finetune the model on it."""
    home = Home.find()
    settings = options.load_settings(home)
    with dagster_instance(home) as instance:

        def run(*assets: str, variant: str | None = None) -> None:
            with console.progress_bars():
                run_job(
                    instance,
                    "train_and_evaluate",
                    resources=options.resources(),
                    assets=assets,
                    variant=variant,
                )

        run("training_set")
        planned = planned_training(settings, home, open_warehouse(home))
        console.say(f"Planned for {settings.training.variant}: {planned.told}.")
        if dry_run:
            return
        run("finetuned_model", "call_statistics", variant=settings.training.variant)
    console.say(f"The finetuned model is in {finetuned_model_directory(settings, home)}.")
    console.frame(open_warehouse(home).ask("development_curve"))


def evaluate_models(options: RunOptions, *, benchmarks: Sequence[str]) -> None:
    """Run the benchmarks with base and finetuned model."""
    home = Home.find()
    if benchmarks:
        overrides = merged(options.overrides, {"evaluation": {"benchmarks": list(benchmarks)}})
        options = RunOptions(options.preset, overrides, options.force, options.tools)
    settings = options.load_settings(home)
    with dagster_instance(home) as instance, console.progress_bars():
        run_job(
            instance,
            "train_and_evaluate",
            resources=options.resources(),
            assets=["evaluation_results"],
            variant=settings.training.variant,
        )
    console.frame(open_warehouse(home).view("evaluation_summary"))
