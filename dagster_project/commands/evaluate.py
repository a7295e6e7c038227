"""`toolformer evaluate`: evaluate models and print scores and differences with intervals."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from assets.evaluation.comparisons import EVALUATION_REPORT
from assets.evaluation.contamination import contamination_warning
from assets.evaluation.stage import EVALUATION_RESULTS
from assets.evaluation.tables import gains, paper_tables
from assets.training.finetuned_model import why_stale
from assets.training.min_call_probability import is_calibrated
from dagster_project.commands import console
from dagster_project.commands.options import (
    AsJson,
    Changes,
    Force,
    RunOptions,
    ToolNames,
    VariantName,
    names_in,
)
from dagster_project.commands.planning import report_outdated
from dagster_project.runs.planned_run import PlannedRun, execute_runs, raise_failures
from dagster_project.runs.run_job import dagster_instance
from toolformer.errors import ToolformerError
from toolformer.home.expected_errors import RunFailedError
from toolformer.home.fingerprints import MISSING
from toolformer.home.home import Home
from toolformer.home.partitions import BENCHMARKS, MODELS, evaluation_key, register
from toolformer.home.report.remarks import remarks_on_scores
from toolformer.home.wiring.benchmarks import configured_benchmark, items_of, remarks_on
from toolformer.home.wiring.models import (
    check_model_name,
    evaluated_model,
    finetuned_model_directory,
    name_of_model,
    name_of_variant,
)
from toolformer.settings.evaluation_sections import BASE, EMBEDDED_BENCHMARKS, FINETUNED
from toolformer.settings.sections import Settings, merged
from toolformer.settings.training_sections import CALLS
from warehouse.warehouse import Warehouse

_JOB = "evaluate"

app = typer.Typer()


@app.command()
def evaluate(
    benchmarks: Annotated[
        str | None, typer.Option(help="Comma-separated benchmarks; `--list` shows all.")
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated models: base, finetuned, plain, your own … Default: base and "
            "finetuned, or base and the --variant."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of items per benchmark.")
    ] = None,
    list_all: Annotated[
        bool, typer.Option("--list", help="List all benchmarks and the files they need; run none.")
    ] = False,
    as_json: AsJson = False,
    variant: VariantName = None,
    tools: ToolNames = None,
    force: Force = False,
    changes: Changes = None,
) -> None:
    """Evaluate models on benchmarks, with calls disabled and enabled."""
    options = RunOptions.of(
        changes,
        force=force,
        tools=names_in(tools),
        variant=variant,
        benchmarks=names_in(benchmarks),
        items=limit,
    )
    if list_all:
        _list_benchmarks(options, as_json=as_json)
    else:
        evaluate_models(options, models=names_in(models))


def _list_benchmarks(options: RunOptions, *, as_json: bool) -> None:
    evaluation = options.load_settings(Home.find()).evaluation
    rows = []
    for name in evaluation.known_benchmarks:
        needed = "embedded" if name in EMBEDDED_BENCHMARKS else f"needs evaluation.files.{name}"
        is_run = "yes" if name in evaluation.benchmarks else ""
        file = evaluation.sources.get(name)
        is_there = file is None or Path(file).exists()
        questions = (file or needed) if is_there else f"missing: {file}"
        rows.append({"benchmark": name, "runs": is_run, "questions": questions})
    console.frame(pl.DataFrame(rows), as_json=as_json)


def evaluate_models(options: RunOptions, *, models: Sequence[str] = ()) -> None:
    """Evaluate models, by default base and the model of `training.variant`, and print the scores.

    Failures are raised at the end, after the scores of the other models were printed.
    """
    work = options.workspace()
    settings, home = work.settings, work.home
    evaluation = settings.evaluation
    benchmarks = list(evaluation.benchmarks)
    named = tuple(models) or (BASE, name_of_variant(settings.training.variant))
    for name in named:
        check_model_name(name, settings)
    failures: list[RunFailedError] = []
    with dagster_instance(home) as instance, console.progress_bars():
        register(instance, BENCHMARKS, benchmarks)
        register(instance, MODELS, list(named))
        # One run per model, so that the model is loaded once for adjacent benchmarks.
        measured = [
            PlannedRun(
                _JOB,
                (EVALUATION_RESULTS.name,),
                tuple(evaluation_key(name, model) for name in benchmarks),
            )
            for model in named
        ]
        for planned in (measured, [PlannedRun(_JOB, (EVALUATION_REPORT.name,))]):
            failures += execute_runs(instance, options.resources(), planned)
    # Show the scores of the other models even if some failed.
    _show(work.warehouse, settings)
    models_of_home = {*named} - {BASE, *evaluation.models}
    report_outdated(options, home, settings.training_rounds if models_of_home else ())
    # An unreadable benchmark has already printed its error.
    for name in set(benchmarks).intersection(evaluation.sources) - set(evaluation.texts):
        with suppress(ToolformerError):
            _remark_on_questions(name, settings)
    for name in named:
        # A model that could not be evaluated has already printed its error.
        with suppress(ToolformerError):
            doubt = contamination_warning(work, evaluated_model(name, work), benchmarks)
            if not doubt and name in models_of_home:
                doubt = _why_outdated(name, options, home)
            if doubt:
                console.say(doubt)
    raise_failures(failures)


def _remark_on_questions(name: str, settings: Settings) -> None:
    benchmark = configured_benchmark(name, settings)
    items, left_out = items_of(benchmark)
    if left_out:
        console.say(f"{name} leaves out {len(left_out)} rows. The first: {left_out[0]}.")
    for remark in remarks_on(benchmark, items):
        console.say(remark)


def _why_outdated(name: str, options: RunOptions, home: Home) -> str | None:
    """Return a sentence if training would replace the model or its calibration."""
    # Choosing benchmarks to evaluate must not change what the training set leaves out.
    overrides = {key: value for key, value in options.overrides.items() if key != "evaluation"}
    variant = CALLS if name == FINETUNED else name
    of_variant = merged(overrides, {"training": {"variant": variant}})
    work = RunOptions(of_variant).workspace(home)
    why, what = why_stale(work), name
    if why is None and work.settings.decoding.min_call_probability is None:
        what = f"The minimum call probability of {name}"
        if not is_calibrated(finetuned_model_directory(work), work.settings):
            why = "other settings, another model, or calls without an answer"
    # A model without a record cannot be compared.
    if why in (None, MISSING):
        return None
    return (
        f"{what} is out of date ({why}). Run `toolformer train --variant {variant}`, then "
        "`toolformer evaluate` again."
    )


def _show(store: Warehouse, settings: Settings) -> None:
    evaluation = settings.evaluation
    chosen = pl.col("benchmark").is_in([*map(evaluation.result_name, evaluation.benchmarks)])
    table = store.view("evaluation_table").filter(chosen)
    for heading, frame in paper_tables(table).items():
        console.heading(f"{heading} (with 95 % intervals)")
        console.frame(frame)
    for named, sentence in remarks_on_scores(store).items():
        console.say(f"{named}: {sentence}")
    model = name_of_model(name_of_variant(settings.training.variant), settings)
    differences = store.view("evaluation_difference").filter(chosen)
    gained = gains(differences, model=model)
    if not gained.is_empty():
        console.heading(f"What {model} gains from calls, in percentage points")
        console.frame(gained)
    calibration = store.view("call_calibration").filter(chosen, model=model)
    if not calibration.is_empty():
        console.heading(f"Scores of {model} on items with and without a call (shares)")
        console.frame(calibration.drop("model"))
    console.say(
        'More: `toolformer sql "select * from evaluation_difference"`; also `evaluation_table`, '
        "`call_calibration` and `call_use`, and every item in `evaluation_results`. `toolformer "
        "report` writes one page about all of them."
    )
