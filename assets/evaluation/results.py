"""Measures perplexity, and questions with calls enabled and disabled (paper §4.2 and §4.3)."""

import time
from collections.abc import Iterable
from contextlib import suppress

import dagster as dg
import polars as pl
from filelock import Timeout

from assets.evaluation.answers import TABLE
from assets.evaluation.contamination import contamination_warning
from assets.evaluation.evaluator import Evaluator, describe_states, enabled_for
from assets.evaluation.stage import EVALUATION_RESULTS
from assets.outputs import data_version_of
from assets.partition_events import REPORTED, PartitionEvents, PartitionReports
from assets.run import Run
from assets.stage_asset import asset_of
from assets.training.training_inputs import LEFT_OUT
from toolformer.evaluation.modes import DISABLED, Mode
from toolformer.home.expected_errors import EXPECTED_ERRORS, explain_out_of_memory, explained
from toolformer.home.metadata import table_markdown
from toolformer.home.partitions import EVALUATIONS_PER_RUN, benchmark_and_model
from toolformer.home.wiring.model_cards import write_model_card
from toolformer.home.wiring.models import EvaluatedModel, evaluated_model
from toolformer.settings.evaluation_sections import BASE
from toolformer.settings.sections import Settings
from warehouse.schema import ALL


@asset_of(EVALUATION_RESULTS, backfill_policy=dg.BackfillPolicy.multi_run(EVALUATIONS_PER_RUN))
def evaluation_results(run: Run) -> PartitionEvents:
    """Results of benchmarks; one row = one item, by benchmark, item, model and mode.

    One partition = one benchmark with one model, with calls disabled and enabled. The base model
    was never taught calls, so it has them disabled unless `decoding.min_call_probability` is set.
    Models are `base`, `finetuned`, the controls `plain` and `shuffled`, and `evaluation.models`. A
    suffix such as `-round-2` names the later round on which a model was finetuned. Texts are
    measured by perplexity, with calls disabled. A failed benchmark does not stop the others.
    """
    errors: dict[str, Exception] = {}
    evaluator = Evaluator.open(run)
    context, loaded = run.context, run.settings
    reports = PartitionReports(context)
    for model_key, keys in _by_model(context.partition_keys).items():
        finished: EvaluatedModel | None = None
        for key in keys:
            name, _ = benchmark_and_model(key)
            began = time.monotonic()
            try:
                model = evaluated_model(model_key, run)
                with explain_out_of_memory():
                    evaluator.measure(name, model, _modes(model, loaded))
            except EXPECTED_ERRORS as error:
                context.log.error(f"{name} with {model_key}: {error}")
                errors[f"{name} with {model_key}"] = error
                continue
            finished = model
            metadata = _report(evaluator, name, model, time.monotonic() - began)
            results = loaded.evaluation.result_name(name)
            version = data_version_of(run.warehouse, TABLE, ALL, f"{results}.{model.name}.")
            yield reports.of(key, metadata, data_version=version)
        if finished is not None and finished.is_finetuned:
            _write_card(run, finished)
    if errors:
        raise dg.Failure(
            description="Not measured: "
            + " ".join(f"{key}: {explained(error)}" for key, error in errors.items())
            + (f" Measured: {', '.join(evaluator.states)}." if evaluator.states else ""),
            allow_retries=False,
        )
    yield REPORTED


def _modes(model: EvaluatedModel, settings: Settings) -> list[Mode]:
    if model.name == BASE and settings.decoding.min_call_probability is None:
        return [DISABLED]
    return [DISABLED, enabled_for(model, settings)]


def _by_model(keys: Iterable[str]) -> dict[str, list[str]]:
    """Group partition keys by model, so that each model is loaded once."""
    grouped: dict[str, list[str]] = {}
    for key in keys:
        grouped.setdefault(benchmark_and_model(key)[1], []).append(key)
    return grouped


def _report(
    evaluator: Evaluator, name: str, model: EvaluatedModel, seconds: float
) -> dict[str, object]:
    store = evaluator.run.warehouse
    results = evaluator.run.settings.evaluation.result_name(name)
    summary = store.view("evaluation_summary").filter(benchmark=results, model=model.name)
    examples = store.ask("evaluation_examples", benchmark=results, model=model.name)
    left_out = evaluator.left_out(name, model)
    state = describe_states(evaluator.states[f"{results} with {model.name}"])
    warning = contamination_warning(evaluator.run, model, [name])
    if warning is not None:
        evaluator.run.log.warning(warning)
    scores = summary.drop_nulls("score").select("mode", "score").iter_rows()
    shown = ", ".join(f"{mode} {score:.3g}" for mode, score in scores) or "no scores"
    evaluator.run.log.info(f"{results} with {model.name}: {shown}, {state}, {seconds:.1f} s")
    return {
        "tools": ", ".join(evaluator.tools.tools) or "none",
        "state": state,
        "items asked": evaluator.items_asked[name],
        **({"kept out of training": warning} if warning else {}),
        "dagster/partition_row_count": int(summary["items"].sum()),
        **{f"{LEFT_OUT}{reason}": count for reason, count in left_out.items()},
        "summary": table_markdown(summary, rows=20),
        "examples": table_markdown(examples, rows=8, width=80),
    }


def _write_card(run: Run, model: EvaluatedModel) -> None:
    summary = run.warehouse.view("evaluation_summary")
    rows = summary.filter(pl.col("model").is_in([BASE, model.name])).to_dicts()
    lock = run.home.output_lock(f"finetuned_model.{model.directory.name}")
    # If another run holds the lock, it trains the model again and these scores are outdated.
    with suppress(Timeout), lock.acquire(timeout=0):
        write_model_card(model.directory, run, evaluation=rows)
