"""The least probability with which a finetuned model opens calls, calibrated on development texts.

The paper has no such number: there k alone decides (§4.2).
"""

from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from assets.failures import expected_errors
from assets.run import WITH_MODEL, Run
from assets.training.calibrated_calls import CALL_THRESHOLD, Calibration
from dagster_project.partitions import MODEL_VARIANTS
from dagster_project.plots.call_threshold_figure import call_threshold_plot
from dagster_project.plots.files import plot_links
from dagster_project.wiring.evaluated_models import evaluated_model, name_of_variant
from toolformer.decoding.call_threshold import CallThreshold, read_call_threshold
from toolformer.errors import ToolformerError
from toolformer.training.variants import PLAIN

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dg.asset(
    partitions_def=MODEL_VARIANTS,
    group_name="train",
    kinds={"pytorch", "matplotlib"},
    deps=[
        "finetuned_model",
        "training_set",
        dg.AssetDep("documents", partition_mapping=dg.AllPartitionMapping()),
        "wikipedia_index",
        "passage_index",
    ],
    code_version=CALL_THRESHOLD.version,
    required_resource_keys=WITH_MODEL,
)
def call_threshold(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """`call_threshold.json` in the model's directory: how likely ` [` has to be to open a call.

    One partition = one variant of the finetuned model. Decoding takes the value where
    `decoding.least_call_probability` is null. It is the one with which the model's own calls, with
    their results, gain most on development texts; the control `plain` has none. A model without one
    opens no calls.
    """
    with expected_errors():
        run = Run(context, variant=context.partition_key)
        variant = run.settings.training.variant
        model = evaluated_model(name_of_variant(variant), run.settings, run.home)
        tools = {} if variant == PLAIN else run.open_toolbox().tools
        calibration = Calibration(run=run, directory=model.directory, tools=tools)
        state = calibration.bring_up_to_date()
        chosen = read_call_threshold(calibration.directory)
        if chosen is None:
            raise ToolformerError(
                f"The choice in {str(calibration.directory)!r} was removed as soon as it was "
                "written. Run again; it is made anew."
            )
        return dg.MaterializeResult(
            metadata={
                "state": state,
                "tools": ", ".join(tools) or "none",
                **_report(chosen),
                **plot_links(run.home, "call_threshold", _plots(chosen), partition=variant),
            }
        )


def _report(chosen: CallThreshold) -> dict[str, Any]:
    """What the asset shows; what the chosen one does where there is one."""
    shown: dict[str, Any] = {
        "call_top_k": chosen.call_top_k,
        "texts with calls": chosen.texts_with_calls,
        "texts without calls": chosen.texts_without_calls,
    }
    point = chosen.chosen
    if point is None:
        return {"least call probability": "none", "reason": chosen.reason or "", **shown}
    return {
        "least call probability": point.threshold,
        "choice": chosen.told,
        **shown,
        "mean gain of texts with calls": point.gain_with_calls,
        "mean gain of texts without calls": point.gain_without_calls,
        "score": point.score,
        "texts with calls in which one opens": point.opened_with_calls,
        "at a kept one": point.right,
        "texts without calls in which one opens": point.opened_without_calls,
    }


def _plots(chosen: CallThreshold) -> dict[str, "Figure"]:
    if chosen.chosen is None:
        return {}
    plot = call_threshold_plot(
        pl.DataFrame(list(chosen.curve)),
        chosen=chosen.chosen.threshold,
        texts_with_calls=chosen.texts_with_calls,
        texts_without_calls=chosen.texts_without_calls,
    )
    return {"calls by threshold": plot}
