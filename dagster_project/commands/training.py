"""`toolformer train` and `evaluate`.

Does not parse the command line.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from assets.finetuning import planned_training
from dagster_project.commands import console
from dagster_project.commands.options import RunOptions
from dagster_project.home import Home
from dagster_project.runs.run_job import (
    dagster_instance,
    run_job,
)
from dagster_project.settings.evaluation_sections import EMBEDDED_BENCHMARKS
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


def list_benchmarks(options: RunOptions) -> None:
    """Print every benchmark, and what it reads or needs."""
    evaluation = options.load_settings(Home.find()).evaluation
    own = {name: each.path for name, each in evaluation.questions.items()}
    files = {**evaluation.files, **own}
    rows = []
    for name in evaluation.known_benchmarks:
        needed = "embedded" if name in EMBEDDED_BENCHMARKS else f"needs evaluation.files.{name}"
        is_run = "yes" if name in evaluation.benchmarks else ""
        file = files.get(name)
        is_there = file is None or Path(file).expanduser().exists()
        questions = (file or needed) if is_there else f"missing: {file}"
        rows.append({"benchmark": name, "runs": is_run, "questions": questions})
    console.frame(pl.DataFrame(rows))


def evaluate_models(
    options: RunOptions, *, benchmarks: Sequence[str], items: int | None = None
) -> None:
    """Run the benchmarks with base and finetuned model.

    Args:
        options: of the command.
        benchmarks: instead of those of the settings, where there are any.
        items: most items of each.
    """
    home = Home.find()
    chosen = {"benchmarks": list(benchmarks)} if benchmarks else {}
    chosen |= {} if items is None else {"items": items}
    if chosen:
        overrides = merged(options.overrides, {"evaluation": chosen})
        options = RunOptions(options.preset, overrides, options.force, options.tools)
    settings = options.load_settings(home)
    with dagster_instance(home) as instance:
        try:
            with console.progress_bars():
                run_job(
                    instance,
                    "train_and_evaluate",
                    resources=options.resources(),
                    assets=["evaluation_results"],
                    variant=settings.training.variant,
                )
        finally:
            # A benchmark that failed does not hide the others.
            console.frame(open_warehouse(home).view("evaluation_summary"))
