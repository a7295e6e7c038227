"""Reports how much each benchmark gains from calls, with confidence intervals."""

import dagster as dg

from assets.evaluation.comparisons import EVALUATION_REPORT, compare
from assets.evaluation.tables import gains
from assets.run import Run
from assets.stage_asset import asset_of
from toolformer.home.metadata import table_markdown
from toolformer.home.report.remarks import remarks_on_scores
from toolformer.home.wiring.models import name_of_model, name_of_variant
from warehouse.schema import ALL


@asset_of(EVALUATION_REPORT)
def evaluation_report(run: Run) -> dg.MaterializeResult:
    """Scores of all models and modes with 95 % intervals, and the gains from calls.

    Scores are in `score_intervals`, paired differences in `paired_differences`. The views
    `evaluation_table`, `evaluation_difference`, `call_calibration` and `call_use` add the paper's
    scores. The HTML page of the asset `report` shows them.
    """
    loaded, store = run.settings, run.warehouse
    measured = compare(run)
    model = name_of_model(name_of_variant(loaded.training.variant), loaded)
    gained = gains(store.view("evaluation_difference"), model=model)
    return dg.MaterializeResult(
        metadata={
            f"what {model} gains from calls": table_markdown(gained, rows=40),
            **{f"remark: {of}": said for of, said in remarks_on_scores(store).items()},
            "dagster/row_count": store.read_partitions("score_intervals", ALL).height,
            "benchmarks": len(measured),
        }
    )
