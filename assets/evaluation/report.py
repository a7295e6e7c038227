"""One page: which benchmark gained from calls, by how much, and how sure that is."""

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
from toolformer.training.variants import PLAIN
from toolformer_home.metadata import table_markdown
from toolformer_home.plots.evaluation_figures import difference_plot
from toolformer_home.plots.files import plot_links
from toolformer_home.settings.evaluation_sections import BASE
from toolformer_home.wiring.evaluated_models import name_of_model, name_of_variant
from warehouse.schema import ALL

# The models whose answers without calls tell whether calls help, by what the plot calls them.
_AGAINST = {"its calls disabled": None, "trained without calls": PLAIN, "the base model": BASE}


@asset_of(EVALUATION_REPORT)
def evaluation_report(run: Run) -> dg.MaterializeResult:
    """Scores of all models and modes with 95 % intervals, beside the paper's, and what calls gain.

    Of all results so far. Scores go into `score_intervals`, paired differences into
    `paired_differences`; the views `evaluation_table`, `evaluation_difference`,
    `call_calibration` and `call_use` show them.
    """
    loaded, store = run.settings, run.warehouse
    measured = compare(run)
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
    order = pl.Enum(table["benchmark"].unique(maintain_order=True))
    gained = gained.sort(pl.col("benchmark").cast(order), maintain_order=True)
    return dg.MaterializeResult(
        metadata={
            **gain_sentences(table, against["its calls disabled"], model=model),
            **{
                f"rounding: {name}": sentence
                for name, sentence in rounding_sentences(store.view("evaluation_summary")).items()
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
            **plot_links(
                run.home,
                "evaluation_report",
                {"gain from calls": difference_plot(gained, f"{model} with calls, against …")},
            ),
            "where it called and where not": table_markdown(calibration, rows=60),
            "calls not needed, missing and not used": table_markdown(
                store.view("call_use"), rows=60
            ),
            "dagster/row_count": scores,
            "benchmarks": len(measured),
        }
    )
