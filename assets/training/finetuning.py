"""The model finetuned on the training set, and its controls (paper §2 and §4.1)."""

from typing import Any

import dagster as dg
import polars as pl

from assets.failures import expected_errors
from assets.run import Run
from assets.training.finetuned_model import FINETUNED_MODEL, record_of, run_of
from assets.training.model_training import FinetunedModel
from dagster_project.partitions import MODEL_VARIANTS
from dagster_project.plots.figures import training_curve
from dagster_project.plots.files import plot_links
from dagster_project.wiring.annotator import finetuned_model_directory
from toolformer.training.model_card import CARD_FILE
from warehouse.schema import ALL


@dg.asset(
    partitions_def=MODEL_VARIANTS,
    group_name="train",
    kinds={"pytorch", "huggingface"},
    deps=["training_set"],
    code_version=FINETUNED_MODEL.version,
    required_resource_keys={"settings", "warehouse", "language_model"},
)
def finetuned_model(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """The model M finetuned on C*: a directory with config, tokenizer and safetensors weights.

    One partition = one variant. `calls` is the paper's model. The others are controls on the same
    texts, in the same order: `plain` without calls, `shuffled` with results exchanged between the
    calls of a tool, `random` with calls that the filter dropped.

    It begins with the base model, also in later rounds of annotation. Each round and variant keeps
    its own directory, since the model of one round annotates the next.
    """
    with expected_errors():
        run = Run(context, variant=context.partition_key)
        directory = finetuned_model_directory(run.settings, run.home)
        model = FinetunedModel(run=run, directory=directory)
        state = model.bring_up_to_date()
        model.complete()
        return dg.MaterializeResult(metadata={"state": state, **_report(model)})


def _report(model: FinetunedModel) -> dict[str, Any]:
    """What the page of the asset shows."""
    record, training = record_of(model.directory), model.run.settings.training
    curve = model.run.warehouse.read_slice("training_metrics", ALL, run_of(record["fingerprint"]))
    result = record["result"]
    return {
        "variant": training.variant,
        "directory": dg.MetadataValue.path(str(model.directory)),
        "model card": dg.MetadataValue.md((model.directory / CARD_FILE).read_text()),
        "round": model.run.settings.training_rounds[0],
        "texts": record["rows"],
        "calls": record["facts"]["calls"],
        "steps": curve.height,
        "tokens": int(curve.select(pl.col("tokens").max()).item() or 0),
        "tokens per second": round(result["tokens"] / max(result["seconds"], 1e-9), 1),
        "last loss": float(curve["loss"][-1]),
        "best step": result["best_step"],
        "development perplexity of the base model": result["base_perplexity"],
        "best development perplexity": result["best_perplexity"],
        **plot_links(
            model.run.home,
            "finetuned_model",
            {"training curve": training_curve(curve)},
            partition=training.variant,
        ),
    }
