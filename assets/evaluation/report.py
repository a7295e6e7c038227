"""One page: which benchmark gained from calls, by how much, and how sure that is."""

from contextlib import suppress

import dagster as dg
import polars as pl

from assets.evaluation.comparisons import EVALUATION_REPORT, compare
from assets.evaluation.tables import (
    gain_sentences,
    gains,
    paper_tables,
    rounding_sentences,
)
from assets.run import Run
from assets.stage_asset import asset_of
from toolformer.errors import ModelNotFoundError
from toolformer.evaluation.modes import DISABLED, ENABLED
from toolformer.forward.model_directory import model_without_weights
from toolformer.training.variants import PLAIN
from toolformer_home.metadata import table_markdown
from toolformer_home.plots.evaluation_figures import difference_plot, model_size_plot
from toolformer_home.plots.files import plot_links
from toolformer_home.report.perplexities import perplexity_sentences
from toolformer_home.settings.evaluation_sections import BASE
from toolformer_home.wiring.evaluated_models import (
    evaluated_model,
    name_of_model,
    name_of_variant,
)
from warehouse.schema import ALL

# The models whose answers without calls tell whether calls help, by what the plot calls them.
_AGAINST = {"its calls disabled": None, "trained without calls": PLAIN, "the base model": BASE}


@asset_of(EVALUATION_REPORT)
def evaluation_report(run: Run) -> dg.MaterializeResult:
    """Scores of all models and modes with 95 % intervals, beside the paper's, and what calls gain.

    Of all results so far. Scores go into `score_intervals`, paired differences into
    `paired_differences`; the views `evaluation_table`, `evaluation_difference`,
    `call_calibration` and `call_use` show them. What studies measured is shown too: scores by k,
    without each tool, and by the size of the model where `evaluation.models` names some.
    """
    loaded, store = run.settings, run.warehouse
    measured = compare(run)
    questions = [name for name, metric in measured.items() if metric == "accuracy"]
    table = store.view("evaluation_table")
    differences = store.view("evaluation_difference")
    calibration = store.view("call_calibration")
    scores = store.read_partitions("score_intervals", ALL).height
    model = name_of_model(name_of_variant(loaded.training.variant), loaded)
    against = {}
    for label, other in _AGAINST.items():
        other_model = name_of_model(other, loaded) if other else model
        against[label] = gains(differences, model=model, other_model=other_model)
    gained = pl.concat(
        [frame.with_columns(comparison=pl.lit(label)) for label, frame in against.items()]
    )
    without = differences.filter(
        pl.col("mode").str.starts_with("without-"),
        model=model,
        other_model=model,
        other_mode=ENABLED,
    )
    by_size = _by_size(run, table.filter(pl.col("benchmark").is_in(questions)))
    order = pl.Enum(table["benchmark"].unique(maintain_order=True))
    gained = gained.sort(pl.col("benchmark").cast(order), maintain_order=True)
    plots = {"gain from calls": difference_plot(gained, f"{model} with calls, against …")}
    if not without.is_empty():
        compared = without.rename({"mode": "comparison"})
        plots["scores without a tool"] = difference_plot(compared, "Without a tool, less all")
    if not by_size.is_empty():
        plots["scores by size"] = model_size_plot(by_size)
    return dg.MaterializeResult(
        metadata={
            **gain_sentences(table, against["its calls disabled"], model=model),
            **{
                f"rounding: {name}": sentence
                for name, sentence in rounding_sentences(store.view("evaluation_summary")).items()
            },
            **{
                f"language lost: {named}": sentence
                for named, sentence in perplexity_sentences(store).items()
            },
            **{
                f"against {label}": table_markdown(frame, rows=40)
                for label, frame in against.items()
                if not frame.is_empty()
            },
            **{
                f"scores: {heading}": table_markdown(frame, rows=40)
                for heading, frame in paper_tables(table).items()
            },
            **{
                heading: table_markdown(frame, rows=120)
                for heading, frame in {
                    "without a tool, against all": without,
                    "by size of the model": by_size,
                }.items()
                if not frame.is_empty()
            },
            **plot_links(run.home, EVALUATION_REPORT.name, plots),
            "where it called and where not": table_markdown(calibration, rows=60),
            "calls not needed, missing and not used": table_markdown(
                store.view("call_use"), rows=60
            ),
            "dagster/row_count": scores,
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
