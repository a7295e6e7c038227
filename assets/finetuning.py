"""The model finetuned on the training set (paper §2 and §4.1)."""

import json
from dataclasses import asdict
from pathlib import Path

import dagster as dg
import polars as pl

from assets.inputs import Input, Wanted, look_at
from assets.outputs import DONE, make_once
from assets.shard_stage import expected_errors
from assets.shard_texts import typed_frame
from assets.training_set import LEFT_OUT, augmented_text_of
from dagster_project.fingerprints import CODE_VERSIONS, finetuned_model_fingerprint
from dagster_project.home import Home
from dagster_project.plots.figures import png_markdown, training_curve
from dagster_project.progress import progress_of
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.settings.sections import Settings
from dagster_project.wiring.annotator import finetuned_model_directory
from dagster_project.wiring.model_damage import check_undamaged
from dagster_project.wiring.model_holder import base_model_directory
from toolformer.augmentation import augmented_ids
from toolformer.calls import CallFormat
from toolformer.errors import ToolformerError
from toolformer.forward.tokenization import load_tokenizer
from toolformer.training.finetuning import RECORD_FILE, FinetuningParameters, StepReport, finetune
from tools.model_identity import model_identity
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse


@dg.asset(
    group_name="train_and_evaluate",
    kinds={"pytorch", "huggingface"},
    deps=["training_set"],
    code_version=CODE_VERSIONS["finetuned_model"],
)
def finetuned_model(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    warehouse: WarehouseResource,
    language_model: LanguageModelResource,
) -> dg.MaterializeResult:
    """The model M finetuned on C*: a directory with config, tokenizer and safetensors weights.

    It begins with the base model, also in later rounds of annotation. Each round keeps its own
    directory, since the model of one round annotates the next.
    """
    with expected_errors():
        loaded, home, store = settings.load(), settings.home(), warehouse.open()
        holder = language_model.holder()
        base = base_model_directory(loaded, home)
        directory = finetuned_model_directory(loaded, home)

        def wanted() -> Wanted:
            texts = _usable_training_set(store)
            return Wanted(
                finetuned_model_fingerprint(texts.fingerprint, loaded, model_identity(base)),
                (texts,),
            )

        def is_stale() -> bool:
            identity = wanted().fingerprint
            # The curve of an earlier training stays when the model is replaced by another's.
            metrics = store.slice_metadata("training_metrics", ALL, _run_of(identity.digest))
            is_there = _fingerprint_of_training(directory) == identity.digest
            return settings.force or not is_there or identity.difference(metrics) is not None

        def hold_device() -> str:
            # The annotating model would take memory that training needs.
            holder.drop_model()
            return holder.hold_device(loaded, home)

        def make() -> str:
            looked_at = wanted()
            rows = store.read_slice("training_texts", ALL, ALL)
            # From here on nothing but these rows and the base model is read.
            looked_at.check_unchanged(wanted())
            digest = looked_at.fingerprint.digest
            steps = _train(context, loaded, home, rows, directory, digest, hold_device())
            run = _run_of(digest)
            store.replace_slice(
                "training_metrics",
                ALL,
                run,
                typed_frame("training_metrics", [{"run": run, **step} for step in steps]),
                metadata=looked_at.metadata(),
            )
            return DONE

        # One lock for the models of all rounds, which share the folder of the saved state.
        state = make_once(
            home.output_lock("finetuned_model"),
            is_stale=is_stale,
            make=make,
            hold_device=hold_device,
        )
        run = _run_of(_fingerprint_of_training(directory) or "")
        curve = store.read_slice("training_metrics", ALL, run)
    measured = curve.filter(pl.col("development_perplexity").is_not_null())
    best = measured.sort("development_perplexity", "step").head(1)
    return dg.MaterializeResult(
        metadata={
            "state": state,
            "directory": dg.MetadataValue.path(str(directory)),
            "round": loaded.training_rounds[0],
            "steps": curve.height,
            "tokens": int(curve["tokens"].max() or 0),
            "last loss": float(curve["loss"][-1]),
            "best step": int(best["step"][0]),
            "best development perplexity": float(best["development_perplexity"][0]),
            "training curve": dg.MetadataValue.md(
                png_markdown(training_curve(curve), "training curve")
            ),
        }
    )


def _run_of(fingerprint: str) -> str:
    """How the curve of a training is named."""
    return f"finetuning-{fingerprint[:12]}"


def _usable_training_set(store: Warehouse) -> Input:
    """The training set as it is now.

    Raises:
        ToolformerError: there is none, or nothing in it to train on.
    """
    found = look_at(store, "training_texts", ALL, ALL)
    if found is None:
        raise ToolformerError("There is no training set yet. Materialise `training_set` first.")
    rows = store.read_slice("training_texts", ALL, ALL)
    if rows.filter(pl.col("split") == "train").is_empty():
        stored = store.slice_metadata("training_texts", ALL, ALL) or {}
        reasons = [f"{name} {count}" for name, count in stored.items() if name.startswith(LEFT_OUT)]
        raise ToolformerError(
            "The training set holds no text to train on"
            f" ({'; '.join(reasons) or 'no call was kept'}). Build more shards, or lower the "
            "filtering thresholds (tools.*.filtering_threshold)."
        )
    return found


def _fingerprint_of_training(directory: Path) -> str | None:
    """What the model in a directory was trained on; None where there is no finetuned model."""
    try:
        return json.loads((directory / RECORD_FILE).read_text())["fingerprint"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _train(
    context: dg.AssetExecutionContext,
    settings: Settings,
    home: Home,
    rows: pl.DataFrame,
    directory: Path,
    fingerprint: str,
    device: str,
) -> list[dict]:
    base = base_model_directory(settings, home)
    check_undamaged(base, home)
    tokenizer = load_tokenizer(base)
    texts = {
        split: [
            augmented_text_of(row)
            for row in rows.filter(pl.col("split") == split).iter_rows(named=True)
        ]
        for split in ("train", "development")
    }
    training = settings.training
    progress = progress_of("finetuning", context.log)
    steps: list[dict] = []

    def report(step: StepReport) -> None:
        steps.append(asdict(step))
        progress(step.step, training.steps)

    finetune(
        base,
        directory,
        [
            augmented_ids(
                tokenizer, tokenizer.encode(text.text), text.calls, call_format=CallFormat()
            )
            for text in texts["train"]
        ],
        [tokenizer.encode(text.text) for text in texts["development"]],
        parameters=FinetuningParameters(
            **training.model_dump(exclude={"max_texts_per_tool", "development_share", "rounds"})
        ),
        bos_token=settings.language_model.bos_token,
        resume_folder=home.checkpoints / "finetuned_model",
        fingerprint=fingerprint,
        report=report,
        device=device,
    )
    return steps
