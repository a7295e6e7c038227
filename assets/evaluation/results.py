"""The benchmarks (paper §4.2–4.3): perplexity, and questions with calls enabled and disabled."""

import time
from collections.abc import Iterable
from contextlib import suppress
from typing import get_args

import dagster as dg
import polars as pl
from filelock import Timeout

from assets.evaluation.kept_out import doubt_about
from assets.evaluation.measured import TABLE
from assets.evaluation.measuring import Measuring, describe_states
from assets.evaluation.stage import EVALUATION_RESULTS
from assets.outputs import data_version_of
from assets.partition_events import REPORTED, PartitionEvents, PartitionReports
from assets.run import Run
from assets.stage_asset import asset_of
from assets.training.training_inputs import LEFT_OUT
from toolformer.decoding.calibration import min_call_probability
from toolformer.decoding.completions import CLOSED
from toolformer.evaluation.modes import (
    DISABLED,
    Mode,
    StudyName,
    enabled,
    forced,
    modes_by_edit,
    modes_by_k,
    modes_without_each,
)
from toolformer.home.expected_errors import EXPECTED_ERRORS, explained, memory_explained
from toolformer.home.metadata import table_markdown
from toolformer.home.partitions import EVALUATIONS_PER_RUN, benchmark_and_model
from toolformer.home.wiring.model_cards import write_model_card
from toolformer.home.wiring.models import EvaluatedModel, evaluated_model
from toolformer.settings.evaluation_sections import BASE
from warehouse.schema import ALL

# Of the trigger, as in the paper's table 9.
_CALL_TOP_KS = (0, 1, 3, 10)
_STUDY = dg.Field(
    dg.Enum("Study", [dg.EnumValue(name) for name in get_args(StudyName)]),
    is_required=False,
    description="further modes: k (calls by k of the trigger, table 9), tools (without each tool), "
    "sizes (with calls, the base model too), openings (each answer with a call that is forced), "
    "tables (the facts that are asked for changed, and deleted)",
)


@asset_of(
    EVALUATION_RESULTS,
    backfill_policy=dg.BackfillPolicy.multi_run(EVALUATIONS_PER_RUN),
    config_schema={"study": _STUDY},
)
def evaluation_results(run: Run) -> PartitionEvents:
    """One row = one benchmark item, by benchmark, item, model and mode.

    One partition = one benchmark with one model, calls disabled and enabled; the base model, which
    knows no calls, has them disabled unless `decoding.min_call_probability` is set. Models are
    `base`, `finetuned`, the controls `plain` and `shuffled`, and those of
    `evaluation.models`; one that was finetuned on a later round has `-round-2` and so on behind its
    name. `study` adds the modes of a study. Of texts the perplexity is measured, with calls
    disabled. A benchmark that cannot be measured does not keep the others of a run from it.
    """
    errors: dict[str, Exception] = {}
    measuring = Measuring.open(run)
    context, loaded = run.context, run.settings
    study = context.op_execution_context.op_config.get("study")
    reports = PartitionReports(context)
    for model_key, keys in _by_model(context.partition_keys).items():
        finished: EvaluatedModel | None = None
        for key in keys:
            name, _ = benchmark_and_model(key)
            began = time.monotonic()
            try:
                model = evaluated_model(model_key, run)
                with memory_explained():
                    modes, others = _modes(measuring, model, study)
                    measuring.measure(name, model, modes, others)
            except EXPECTED_ERRORS as error:
                context.log.error(f"{name} with {model_key}: {error}")
                errors[f"{name} with {model_key}"] = error
                continue
            finished = model
            metadata = _report(measuring, name, model, time.monotonic() - began)
            results = loaded.evaluation.result_name(name)
            version = data_version_of(run.warehouse, TABLE, ALL, f"{results}.{model.name}.")
            yield reports.of(key, metadata, data_version=version)
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


def _modes(
    measuring: Measuring, model: EvaluatedModel, study: StudyName | None
) -> tuple[list[Mode], list[Mode]]:
    """How a model is used: without calls, and with them where it may open any; then as in a study.

    The base model opens none unless `decoding.min_call_probability` is set: it was not taught
    calls, so none was calibrated for it. A study leaves out no mode of other runs: Dagster takes a
    partition that was reported for one that is up to date.

    Returns:
        These modes, and all modes that a run of these settings may use.
    """
    settings = measuring.run.settings
    is_base = model.name == BASE and settings.decoding.min_call_probability is None
    if is_base and study is None:
        # Nobody needs to hear that nothing was calibrated for it.
        calls = enabled(settings.decoding.call_top_k, CLOSED)
    else:
        least = min_call_probability(model.directory, settings.decoding.min_call_probability)
        calls = enabled(settings.decoding.call_top_k, least)
    by_k = modes_by_k(_CALL_TOP_KS, with_calls=calls)
    by_edit = modes_by_edit(with_calls=calls)
    with_forced = forced(settings.decoding.call_top_k)
    without = modes_without_each(measuring.tools.tools, with_calls=calls)
    if study == "k":
        modes = by_k if is_base or calls in by_k else [*by_k, calls]
    elif study == "tools":
        modes = without
    elif study == "tables":
        modes = [DISABLED, calls, *by_edit]
    elif study == "openings":
        modes = [DISABLED, calls, with_forced]
    else:
        modes = [DISABLED] if is_base and study is None else [DISABLED, calls]
    return modes, [*by_k, *without, with_forced, *by_edit]


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
    results = measuring.run.settings.evaluation.result_name(name)
    summary = store.view("evaluation_summary").filter(benchmark=results, model=model.name)
    examples = store.ask("evaluation_examples", benchmark=results, model=model.name)
    left_out = measuring.left_out(name, model)
    state = describe_states(measuring.states[f"{results} with {model.name}"])
    doubt = doubt_about(measuring.run, model, [name])
    if doubt is not None:
        measuring.run.log.warning(doubt)
    scores = summary.drop_nulls("score").select("mode", "score").iter_rows()
    shown = ", ".join(f"{mode} {score:.3g}" for mode, score in scores) or "no scores"
    measuring.run.log.info(f"{results} with {model.name}: {shown}, {state}, {seconds:.1f} s")
    return {
        "tools": ", ".join(measuring.tools.tools) or "none",
        "state": state,
        "items asked": measuring.items_asked[name],
        **({"kept out of training": doubt} if doubt else {}),
        "dagster/partition_row_count": int(summary["items"].sum()),
        **{f"{LEFT_OUT}{reason}": count for reason, count in left_out.items()},
        "summary": table_markdown(summary, rows=20),
        "examples": table_markdown(examples, rows=8, width=80),
    }


def _write_card(run: Run, model: EvaluatedModel) -> None:
    summary = run.warehouse.view("evaluation_summary")
    rows = summary.filter(pl.col("model").is_in([BASE, model.name])).to_dicts()
    lock = run.home.output_lock(f"finetuned_model.{model.directory.name}")
    # A model that is made anew meanwhile has other scores.
    with suppress(Timeout), lock.acquire(timeout=0):
        write_model_card(model.directory, run, evaluation=rows)
