"""Which benchmark gained from calls, by how much, and how sure that is."""

from contextlib import suppress

import dagster as dg
import polars as pl

from assets.evaluation.comparisons import EVALUATION_REPORT, compare
from assets.evaluation.tables import gain_sentences, gains
from assets.run import Run
from assets.stage_asset import asset_of
from toolformer.errors import ModelNotFoundError
from toolformer.evaluation.modes import DISABLED, ENABLED
from toolformer.forward.model_directory import model_without_weights
from toolformer.home.plots.evaluation_figures import difference_plot, model_size_plot
from toolformer.home.plots.files import plot_links
from toolformer.home.report import ADDRESS
from toolformer.home.report.remarks import remarks_on_scores
from toolformer.home.settings.evaluation_sections import BASE
from toolformer.home.wiring.evaluated_models import evaluated_model, name_of_model, name_of_variant
from warehouse.schema import ALL


@asset_of(EVALUATION_REPORT)
def evaluation_report(run: Run) -> dg.MaterializeResult:
    """Scores of all models and modes with 95 % intervals, and what calls gain, of all results.

    Scores go into `score_intervals`, paired differences into `paired_differences`. The views
    `evaluation_table`, `evaluation_difference`, `call_calibration` and `call_use` have them with
    the paper's, the [page of the report](/toolformer/report) shows them. Drawn here is what
    studies measured: scores without each tool, and by the size of the model where
    `evaluation.models` names some.
    """
    loaded, store = run.settings, run.warehouse
    measured = compare(run)
    questions = [name for name, metric in measured.items() if metric == "accuracy"]
    table = store.view("evaluation_table")
    differences = store.view("evaluation_difference")
    model = name_of_model(name_of_variant(loaded.training.variant), loaded)
    without = differences.filter(
        pl.col("mode").str.starts_with("without-"),
        model=model,
        other_model=model,
        other_mode=ENABLED,
    )
    by_size = _by_size(run, table.filter(pl.col("benchmark").is_in(questions)))
    plots = {}
    if not without.is_empty():
        compared = without.rename({"mode": "comparison"})
        plots["scores without a tool"] = difference_plot(compared, "Without a tool, less all")
    if not by_size.is_empty():
        plots["scores by size"] = model_size_plot(by_size)
    gained = gains(differences, model=model)
    return dg.MaterializeResult(
        metadata={
            **gain_sentences(table, gained, model=model),
            **{f"remark: {of}": said for of, said in remarks_on_scores(store).items()},
            **plot_links(run.home, EVALUATION_REPORT.name, plots),
            "report": dg.MetadataValue.url(ADDRESS),
            "dagster/row_count": store.read_partitions("score_intervals", ALL).height,
            "benchmarks": len(measured),
        }
    )


def _by_size(run: Run, table: pl.DataFrame) -> pl.DataFrame:
    """The scores of base, the finetuned model and those of `evaluation.models`, with their sizes.

    Args:
        table: the view `evaluation_table`, of questions.
    """
    settings = run.settings
    sizes: dict[str, int] = {}
    for name in (BASE, *settings.evaluation.models) if settings.evaluation.models else ():
        # What is not there any more keeps its scores, and loses its place in the plot.
        with suppress(ModelNotFoundError):
            directory = evaluated_model(name, settings, run.home).directory
            sizes[name] = model_without_weights(directory).num_parameters()
    if BASE in sizes:
        # Finetuning changes no shapes.
        finetuned = name_of_model(name_of_variant(settings.training.variant), settings)
        sizes[finetuned] = sizes[BASE]
    schema = {"model": pl.String, "parameters": pl.Int64}
    counts = pl.DataFrame(list(sizes.items()), schema=schema, orient="row")
    scores = table.filter(pl.col("mode").is_in((DISABLED.name, ENABLED)), source="ours")
    return scores.join(counts, on="model", maintain_order="left")
