"""The paper's studies: what scores owe to k of the trigger, the tools, the size of the model."""

from collections.abc import Sequence

import dagster as dg
import polars as pl

from assets.evaluation.comparisons import compare
from assets.evaluation.measuring import Measuring, told
from assets.shard_stage import EXPECTED_ERRORS, expected_errors, explained
from dagster_project.fingerprints import CODE_VERSIONS
from dagster_project.metadata import table_markdown
from dagster_project.plots.evaluation_figures import (
    EVERY_TOOL,
    calibration_plot,
    model_size_plot,
    tool_ablation_plot,
)
from dagster_project.plots.figures import png_markdown
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.settings.sections import BASE, Settings
from dagster_project.wiring.evaluated_models import (
    EvaluatedModel,
    evaluated_model,
    name_of_variant,
)
from toolformer.errors import ToolformerError
from toolformer.evaluation.modes import (
    DISABLED,
    ENABLED,
    Mode,
    enabled,
    modes_by_k,
    modes_without_each,
)
from toolformer.training.training_plan import parameter_count
from tools.model_identity import SAFETENSORS


@dg.asset(
    group_name="studies",
    kinds={"pytorch", "matplotlib"},
    deps=["finetuned_model"],
    code_version=CODE_VERSIONS["call_top_k_study"],
)
def call_top_k_study(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    warehouse: WarehouseResource,
    toolbox: ToolboxResource,
    language_model: LanguageModelResource,
) -> dg.MaterializeResult:
    """Scores by k of the trigger, where the model calls a tool and where it does not (table 9).

    Of the finetuned model that `training.variant` names, on the benchmarks of the settings. The
    rows are in `evaluation_results`; the view `call_calibration` shows them.
    """
    with expected_errors():
        measuring = _open(context, settings, warehouse, toolbox, language_model)
        loaded, store = measuring.settings, measuring.store
        model = evaluated_model(name_of_variant(loaded.training.variant), loaded, measuring.home)
        modes = modes_by_k(loaded.evaluation.call_top_ks, call_top_k=loaded.decoding.call_top_k)
        _measure_all(measuring, [model], modes)
        calibration = store.view("call_calibration").filter(
            pl.col("model") == model.name,
            pl.col("mode").is_in([mode.name for mode in modes]),
            pl.col("benchmark").is_in(_question_benchmarks(loaded)),
        )
    return dg.MaterializeResult(
        metadata={
            "scores by k": dg.MetadataValue.md(
                png_markdown(calibration_plot(calibration), "scores by k of the trigger")
            ),
            "table": dg.MetadataValue.md(table_markdown(calibration, rows=120)),
            **_states(measuring),
        }
    )


@dg.asset(
    group_name="studies",
    kinds={"pytorch", "matplotlib"},
    deps=["finetuned_model"],
    code_version=CODE_VERSIONS["tool_study"],
)
def tool_study(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    warehouse: WarehouseResource,
    toolbox: ToolboxResource,
    language_model: LanguageModelResource,
) -> dg.MaterializeResult:
    """Scores with all tools, without each one, and without any.

    Of the finetuned model that `training.variant` names, on the benchmarks of the settings. A
    benchmark that blocks a tool anyway is the same without it.
    """
    with expected_errors():
        measuring = _open(context, settings, warehouse, toolbox, language_model)
        loaded, store = measuring.settings, measuring.store
        model = evaluated_model(name_of_variant(loaded.training.variant), loaded, measuring.home)
        modes = modes_without_each(measuring.tools.tools, call_top_k=loaded.decoding.call_top_k)
        _measure_all(measuring, [model], modes)
        scores = _scores(store.view("evaluation_table"), loaded, [model], modes)
        differences = store.view("evaluation_difference").filter(
            pl.col("model") == model.name,
            pl.col("mode").str.starts_with("without-"),
            other_model=model.name,
            other_mode=ENABLED,
        )
    by_tool = scores.with_columns(
        without_tool=pl.when(mode=DISABLED.name)
        .then(pl.lit(EVERY_TOOL))
        .otherwise(pl.col("mode").str.strip_prefix("without-"))
        .replace(ENABLED, None)
    )
    return dg.MaterializeResult(
        metadata={
            "scores without a tool": dg.MetadataValue.md(
                png_markdown(tool_ablation_plot(by_tool), "scores without a tool")
            ),
            "against all tools": dg.MetadataValue.md(table_markdown(differences, rows=120)),
            **_states(measuring),
        }
    )


@dg.asset(
    group_name="studies",
    kinds={"pytorch", "matplotlib"},
    deps=["finetuned_model"],
    code_version=CODE_VERSIONS["model_size_study"],
)
def model_size_study(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    warehouse: WarehouseResource,
    toolbox: ToolboxResource,
    language_model: LanguageModelResource,
) -> dg.MaterializeResult:
    """Scores with and without calls by the size of the model (§4.4).

    Of the base model, the finetuned one and those of `evaluation.models`, on the benchmarks of the
    settings.
    """
    with expected_errors():
        measuring = _open(context, settings, warehouse, toolbox, language_model)
        loaded, store = measuring.settings, measuring.store
        keys = (BASE, name_of_variant(loaded.training.variant), *loaded.evaluation.models)
        models = [evaluated_model(key, loaded, measuring.home) for key in keys]
        modes = [DISABLED, enabled(loaded.decoding.call_top_k)]
        _measure_all(measuring, models, modes)
        scores = _scores(store.view("evaluation_table"), loaded, models, modes)
    sizes = {model.name: parameter_count(model.directory.glob(*SAFETENSORS)) for model in models}
    by_size = scores.with_columns(
        parameters=pl.col("model").replace_strict(sizes, return_dtype=pl.Int64)
    )
    return dg.MaterializeResult(
        metadata={
            "scores by size": dg.MetadataValue.md(
                png_markdown(model_size_plot(by_size), "scores by size of the model")
            ),
            "table": dg.MetadataValue.md(table_markdown(by_size, rows=120)),
            **_states(measuring),
        }
    )


def _open(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    warehouse: WarehouseResource,
    toolbox: ToolboxResource,
    language_model: LanguageModelResource,
) -> Measuring:
    measuring = Measuring.open(context, settings, warehouse, toolbox, language_model)
    if not _question_benchmarks(measuring.settings):
        raise ToolformerError(
            "No benchmark of evaluation.benchmarks has questions, so there is nothing to study. "
            "Name some (`toolformer evaluate --list` shows them)."
        )
    return measuring


def _measure_all(
    measuring: Measuring, models: Sequence[EvaluatedModel], modes: Sequence[Mode]
) -> None:
    """Measure and compare on every benchmark that has questions; one that fails stops no other.

    Raises:
        ToolformerError: after all, naming those that could not be measured and why.
    """
    errors = []
    for model in models:
        for name in _question_benchmarks(measuring.settings):
            try:
                measuring.measure(name, model, modes)
            except EXPECTED_ERRORS as error:
                errors.append(f"{name} with {model.name}: {explained(error)}")
    compare(measuring.store, measuring.home, measuring.settings, force=measuring.force)
    if errors:
        raise ToolformerError(f"Not measured: {' '.join(errors)}")


def _question_benchmarks(settings: Settings) -> list[str]:
    evaluation = settings.evaluation
    return [name for name in evaluation.benchmarks if not evaluation.is_text(name)]


def _scores(
    table: pl.DataFrame,
    settings: Settings,
    models: Sequence[EvaluatedModel],
    modes: Sequence[Mode],
) -> pl.DataFrame:
    """Of the view `evaluation_table`, our lines of these models and modes."""
    return table.filter(
        pl.col("benchmark").is_in(_question_benchmarks(settings)),
        pl.col("model").is_in([model.name for model in models]),
        pl.col("mode").is_in([mode.name for mode in modes]),
        source="ours",
    )


def _states(measuring: Measuring) -> dict[str, str]:
    return {f"state of {name}": told(states) for name, states in measuring.states.items()}
