"""The paper's studies: what scores owe to k of the trigger, the tools, the size of the model."""

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, TypeAlias

import dagster as dg
import polars as pl

from assets.evaluation.comparisons import compare
from assets.evaluation.measuring import Measuring, describe_states
from assets.run import Run
from assets.stage import Stage, always
from assets.stage_asset import asset_of
from toolformer.errors import ToolformerError
from toolformer.evaluation.modes import (
    DISABLED,
    ENABLED,
    Mode,
    modes_by_k,
    modes_without_each,
)
from toolformer.training.training_plan import parameter_count
from toolformer_home.expected_errors import EXPECTED_ERRORS, explained, memory_explained
from toolformer_home.metadata import table_markdown
from toolformer_home.plots.evaluation_figures import difference_plot, model_size_plot
from toolformer_home.plots.files import plot_links
from toolformer_home.settings.evaluation_sections import BASE
from toolformer_home.settings.sections import Settings
from toolformer_home.wiring.evaluated_models import (
    EvaluatedModel,
    evaluated_model,
    name_of_variant,
)
from toolformer_home.wiring.live_calls import with_calls
from tools.model_identity import SAFETENSORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of the trigger, as in the paper's table 9.
_CALL_TOP_KS = (0, 1, 3, 10)
# Their declarations.
STUDIES: list[Stage] = []
# Plots and tables, by heading.
Shown: TypeAlias = tuple[Mapping[str, "Figure"], Mapping[str, pl.DataFrame]]


def _study(show: Callable[[Measuring], Shown]) -> dg.AssetsDefinition:
    """An asset that measures, and shows what its scores say; it has no rows of its own."""
    stage = Stage(
        name=show.__name__,
        version="1",
        group="studies",
        kinds=("pytorch", "matplotlib"),
        reads=("finetuned_model", "min_call_probability"),
        needs_device=always,
    )
    STUDIES.append(stage)

    @asset_of(stage)
    @wraps(show)
    def study(run: Run) -> dg.MaterializeResult:
        measuring = Measuring.open(run)
        if not _question_benchmarks(run.settings):
            raise ToolformerError(
                "No benchmark of evaluation.benchmarks has questions, so there is nothing to "
                "study. Name some (`toolformer evaluate --list` shows them)."
            )
        plots, tables = show(measuring)
        states = measuring.states.items()
        return dg.MaterializeResult(
            metadata={
                **plot_links(run.home, stage.name, plots),
                **{name: table_markdown(frame, rows=120) for name, frame in tables.items()},
                **{f"state of {name}": describe_states(counts) for name, counts in states},
            }
        )

    return study


@_study
def call_top_k_study(measuring: Measuring) -> Shown:
    """Scores by k of the trigger, where the model calls a tool and where it does not (table 9).

    Of the finetuned model that `training.variant` names, on the benchmarks of the settings. The
    rows are in `evaluation_results`; the view `call_calibration` shows them.
    """
    settings = measuring.run.settings
    (model,) = _models(measuring, _finetuned(settings))
    modes = modes_by_k(_CALL_TOP_KS, with_calls=with_calls(model.directory, settings))
    calibration = _measured(measuring, {model: modes}, "call_calibration")
    return {}, {"table": calibration}


@_study
def tool_study(measuring: Measuring) -> Shown:
    """Scores with all tools, without each one, and without any.

    Of the finetuned model that `training.variant` names, on the benchmarks of the settings. A
    benchmark that blocks a tool anyway is the same without it.
    """
    settings = measuring.run.settings
    (model,) = _models(measuring, _finetuned(settings))
    modes = modes_without_each(
        measuring.tools.tools, with_calls=with_calls(model.directory, settings)
    )
    differences = _measured(measuring, {model: modes}, "evaluation_difference").filter(
        pl.col("mode").str.starts_with("without-"),
        other_model=model.name,
        other_mode=ENABLED,
    )
    plot = difference_plot(differences.rename({"mode": "comparison"}), "Without a tool, less all")
    return {"scores without a tool": plot}, {"against all tools": differences}


@_study
def model_size_study(measuring: Measuring) -> Shown:
    """Scores with and without calls by the size of the model (§4.4).

    Of the base model, the finetuned one and those of `evaluation.models`, on the benchmarks of the
    settings.
    """
    settings = measuring.run.settings
    models = _models(measuring, BASE, _finetuned(settings), *settings.evaluation.models)
    modes = {model: [DISABLED, with_calls(model.directory, settings)] for model in models}
    scores = _measured(measuring, modes, "evaluation_table")
    sizes = {model.name: parameter_count(model.directory.glob(SAFETENSORS)) for model in models}
    by_size = scores.with_columns(
        parameters=pl.col("model").replace_strict(sizes, return_dtype=pl.Int64)
    )
    return {"scores by size": model_size_plot(by_size)}, {"table": by_size}


def _finetuned(settings: Settings) -> str:
    return name_of_variant(settings.training.variant)


def _models(measuring: Measuring, *keys: str) -> list[EvaluatedModel]:
    return [evaluated_model(key, measuring.run.settings, measuring.run.home) for key in keys]


def _measured(
    measuring: Measuring, modes_of: Mapping[EvaluatedModel, Sequence[Mode]], view: str
) -> pl.DataFrame:
    """Measure and compare on every benchmark that has questions; one that fails stops no other.

    Returns:
        The lines of a view that are about these benchmarks, models and modes.

    Raises:
        ToolformerError: after all, naming those that could not be measured and why.
    """
    benchmarks = _question_benchmarks(measuring.run.settings)
    errors = []
    for model, modes in modes_of.items():
        for name in benchmarks:
            try:
                with memory_explained():
                    measuring.measure(name, model, modes)
            except EXPECTED_ERRORS as error:
                errors.append(f"{name} with {model.name}: {explained(error)}")
    compare(measuring.run)
    if errors:
        raise ToolformerError(f"Not measured: {' '.join(errors)}")
    return measuring.run.warehouse.view(view).filter(
        pl.col("benchmark").is_in(benchmarks),
        pl.col("model").is_in([model.name for model in modes_of]),
        pl.col("mode").is_in({mode.name for modes in modes_of.values() for mode in modes}),
    )


def _question_benchmarks(settings: Settings) -> list[str]:
    evaluation = settings.evaluation
    return [name for name in evaluation.benchmarks if not evaluation.is_text(name)]
