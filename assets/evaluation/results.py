"""The benchmarks (paper §4.2–4.3): perplexity, and questions with calls enabled and disabled."""

import time
from collections.abc import Iterable

import dagster as dg
import polars as pl

from assets.evaluation.measuring import Measuring, describe_states
from assets.evaluation.stage import EVALUATION_RESULTS
from assets.partition_events import REPORTED, PartitionEvents, PartitionReports
from assets.run import Run
from assets.stage_asset import asset_of
from assets.training.training_inputs import LEFT_OUT
from toolformer.evaluation.modes import DISABLED, Mode
from toolformer_home.expected_errors import EXPECTED_ERRORS, explained, memory_explained
from toolformer_home.metadata import table_markdown
from toolformer_home.partitions import EVALUATIONS_PER_RUN, benchmark_and_model
from toolformer_home.settings.evaluation_sections import BASE
from toolformer_home.settings.sections import Settings
from toolformer_home.wiring.evaluated_models import EvaluatedModel, evaluated_model
from toolformer_home.wiring.live_calls import with_calls
from toolformer_home.wiring.model_cards import write_model_card


@asset_of(EVALUATION_RESULTS, backfill_policy=dg.BackfillPolicy.multi_run(EVALUATIONS_PER_RUN))
def evaluation_results(run: Run) -> PartitionEvents:
    """One row = one benchmark item, by benchmark, item, model and mode.

    One partition = one benchmark with one model, calls disabled and enabled; the base model, which
    knows no calls, has them disabled unless `decoding.min_call_probability` is set. Models are
    `base`, `finetuned`, the controls `plain`, `shuffled` and `random`, and those of
    `evaluation.models`; one that was finetuned on a later round has `-round-2` and so on behind its
    name. Of texts the perplexity is measured, with calls disabled. A benchmark that cannot be
    measured does not keep the others of a run from it.
    """
    errors: dict[str, Exception] = {}
    measuring = Measuring.open(run)
    context, loaded = run.context, run.settings
    reports = PartitionReports(context)
    for model_key, keys in _by_model(context.partition_keys).items():
        finished: EvaluatedModel | None = None
        for key in keys:
            name, _ = benchmark_and_model(key)
            began = time.monotonic()
            try:
                model = evaluated_model(model_key, loaded, run.home)
                with memory_explained():
                    measuring.measure(name, model, _modes(model, loaded))
            except EXPECTED_ERRORS as error:
                context.log.error(f"{name} with {model_key}: {error}")
                errors[f"{name} with {model_key}"] = error
                continue
            finished = model
            metadata = _report(measuring, name, model, time.monotonic() - began)
            yield reports.of(key, metadata)
        if finished is not None and finished.is_finetuned:
            _write_card(run, finished)
    if errors:
        raise dg.Failure(
            description="Not measured: "
            + " ".join(f"{key}: {explained(error)}" for key, error in errors.items())
            + (f" Measured were {', '.join(measuring.states)}." if measuring.states else ""),
            allow_retries=False,
        )
    yield REPORTED


def _modes(model: EvaluatedModel, settings: Settings) -> list[Mode]:
    """How a model is used: without calls, and with them where it may open any.

    The base model opens none unless `decoding.min_call_probability` is set: it was not taught
    calls, so none was calibrated for it.
    """
    if model.name == BASE and settings.decoding.min_call_probability is None:
        return [DISABLED]
    return [DISABLED, with_calls(model.directory, settings)]


def _by_model(keys: Iterable[str]) -> dict[str, list[str]]:
    """Keys of partitions by their models, so that each model is loaded once."""
    grouped: dict[str, list[str]] = {}
    for key in keys:
        grouped.setdefault(benchmark_and_model(key)[1], []).append(key)
    return grouped


def _report(
    measuring: Measuring, name: str, model: EvaluatedModel, seconds: float
) -> dict[str, object]:
    """What one partition came to."""
    store = measuring.run.warehouse
    summary = store.view("evaluation_summary").filter(benchmark=name, model=model.name)
    examples = store.ask("evaluation_examples", benchmark=name, model=model.name)
    left_out = measuring.left_out(name, model)
    state = describe_states(measuring.states[f"{name} with {model.name}"])
    scores = summary.drop_nulls("score").select("mode", "score").iter_rows()
    shown = ", ".join(f"{mode} {score:.3g}" for mode, score in scores) or "no scores"
    measuring.run.log.info(f"{name} with {model.name}: {shown}, {state}, {seconds:.1f} s")
    return {
        "tools": ", ".join(measuring.tools.tools) or "none",
        "state": state,
        "items asked": measuring.items_asked[name],
        "dagster/partition_row_count": int(summary["items"].sum()),
        **{f"{LEFT_OUT}{reason}": count for reason, count in left_out.items()},
        "summary": table_markdown(summary, rows=20),
        "examples": table_markdown(examples, rows=8, width=80),
    }


def _write_card(run: Run, model: EvaluatedModel) -> None:
    summary = run.warehouse.view("evaluation_summary")
    rows = summary.filter(pl.col("model").is_in([BASE, model.name])).to_dicts()
    write_model_card(model.directory, run.base_model, run.settings, evaluation=rows)
