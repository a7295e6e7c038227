"""The training set, and the model finetuned on it (paper §2 and §4.1)."""

import json
from pathlib import Path

import dagster as dg
import polars as pl

from assets.shard_stage import DONE, UP_TO_DATE, expected_errors
from assets.shard_texts import typed_frame
from dagster_project.fingerprints import (
    CODE_VERSIONS,
    FINGERPRINT,
    finetuned_model_fingerprint,
    training_set_fingerprint,
)
from dagster_project.home import Home
from dagster_project.metadata import table_markdown, table_metadata
from dagster_project.plots.figures import png_markdown, training_curve
from dagster_project.progress import progress_of
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.settings.sections import Settings
from dagster_project.wiring.annotator import finetuned_model_directory
from dagster_project.wiring.model_holder import base_model_directory
from toolformer.augmentation import KeptCall, augmented_ids
from toolformer.calls import CallFormat
from toolformer.errors import ToolformerError
from toolformer.evaluation.dateset import generate_dateset
from toolformer.forward.tokenization import load_tokenizer
from toolformer.sources.manifest import Manifest
from toolformer.training.decontamination import NgramIndex
from toolformer.training.finetuning import RECORD_FILE, FinetuningParameters, StepReport, finetune
from toolformer.training.training_set import AugmentedText, build_training_set
from tools.model_identity import model_identity
from warehouse.layout import name_in_round
from warehouse.warehouse import Warehouse

ALL = "all"


def slice_fingerprints(
    warehouse: Warehouse, table: str, shards: list[str], *, slice_name: str = ALL
) -> dict[str, str]:
    """Fingerprints of the slices of this name of these shards, where there are any."""
    stored = {shard: warehouse.slice_metadata(table, shard, slice_name) for shard in shards}
    return {shard: each[FINGERPRINT] for shard, each in stored.items() if each is not None}


def training_and_held_out_shards(home: Home) -> tuple[list[str], list[str]]:
    """Keys of the active shards that are trained on, and of those that never are."""
    active = Manifest.load(home.sources).active_shards
    return (
        [entry.key for entry in active if not entry.is_held_out],
        [entry.key for entry in active if entry.is_held_out],
    )


@dg.asset(
    group_name="train_and_evaluate",
    kinds={"polars", "duckdb"},
    deps=["augmented_texts", "documents"],
    code_version=CODE_VERSIONS["training_set"],
    metadata=table_metadata("training_texts"),
)
def training_set(
    context: dg.AssetExecutionContext, settings: SettingsResource, warehouse: WarehouseResource
) -> dg.MaterializeResult:
    """C* of all shards, ready for training; one row = one window, by `document_id` and `window`.

    Of the rounds of annotation those that `training.rounds` names, by default the newest. A text
    that several of them annotated counts once, with the calls of the newest: losses of different
    annotators cannot be compared, so calls of different rounds do not compete for a position.
    Held-out shards stay out, and so do duplicates and texts that share 13 words in a row with a
    held-out text or a benchmark. Each tool has at most so many texts.
    """
    with expected_errors():
        loaded, home, store = settings.load(), settings.home(), warehouse.open()
        trained, held_out = training_and_held_out_shards(home)
        rounds = loaded.training_rounds
        built = {
            number: slice_fingerprints(
                store, "augmented_texts", trained, slice_name=name_in_round(number, ALL)
            )
            for number in rounds
        }
        upstream = {
            name_in_round(number, shard): digest
            for number, of_round in built.items()
            for shard, digest in of_round.items()
        }
        missing = [
            name_in_round(number, shard)
            for number in rounds
            for shard in trained
            if shard not in built[number]
        ]
        guarded = slice_fingerprints(store, "documents", held_out)
        for number, of_round in built.items():
            if not of_round:
                which = f" of round {number}" if number > 1 else ""
                remedy = f"with sampling.round {number}, " if len(rounds) > 1 else ""
                raise ToolformerError(
                    f"There are no augmented texts{which} yet. Build the shards first: "
                    f"{remedy}`toolformer build`, or materialise the assets of group build_dataset."
                )
        identity = training_set_fingerprint(upstream, guarded, loaded)
        stored = store.slice_metadata("training_texts", ALL, ALL)
        state = UP_TO_DATE
        if settings.force or identity.difference(stored) is not None:
            state = DONE
            # The newest round first: of texts that are equal the first stays.
            texts = [
                text
                for number, of_round in built.items()
                for shard in sorted(of_round)
                for text in _augmented_texts(store, shard, name_in_round(number, ALL))
            ]
            chosen = build_training_set(
                texts,
                max_texts_per_tool=loaded.training.max_texts_per_tool,
                development_share=loaded.training.development_share,
                seed=loaded.training.seed,
                excluded=_held_out_ngrams(store, sorted(guarded), loaded).first_overlap,
            )
            for reason, count in sorted(chosen.dropped.items()):
                context.log.info(f"left out {count} texts: {reason}")
            rows = [
                {**_row(text), "split": split}
                for split, of_split in (
                    ("train", chosen.train),
                    ("development", chosen.development),
                )
                for text in of_split
            ]
            dropped = {f"left out: {reason}": str(n) for reason, n in chosen.dropped.items()}
            store.replace_slice(
                "training_texts",
                ALL,
                ALL,
                typed_frame("training_texts", rows),
                metadata={**identity.metadata(), **dropped},
            )
        stored = store.slice_metadata("training_texts", ALL, ALL) or {}
        rows = store.read_slice("training_texts", ALL, ALL)
    splits = dict(rows["split"].value_counts().iter_rows())
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows.height,
            "state": state,
            "train texts": splits.get("train", 0),
            "development texts": splits.get("development", 0),
            "calls": int(rows["calls"].list.len().sum()),
            "rounds": ", ".join(map(str, sorted(rounds))),
            "shards": ", ".join(sorted(upstream)),
            "shards without augmented texts": ", ".join(missing) or "none",
            "held-out shards": ", ".join(held_out) or "none",
            **{key: int(value) for key, value in stored.items() if key.startswith("left out: ")},
            "preview": dg.MetadataValue.md(table_markdown(rows.select("split", "text"))),
        }
    )


def _augmented_texts(store: Warehouse, shard: str, slice_name: str) -> list[AugmentedText]:
    rows = store.read_slice("augmented_texts", shard, slice_name)
    return [augmented_text_of(row) for row in rows.iter_rows(named=True)]


def augmented_text_of(row: dict) -> AugmentedText:
    """A row of `augmented_texts` or `training_texts` as the engine has it."""
    return AugmentedText(
        document_id=row["document_id"],
        window=row["window"],
        shard=row["shard"],
        text=row["text"],
        calls=tuple(KeptCall(**call) for call in row["calls"]),
    )


def _row(text: AugmentedText) -> dict:
    return {
        "document_id": text.document_id,
        "window": text.window,
        "shard": text.shard,
        "text": text.text,
        "calls": [
            {name: getattr(call, name) for name in KeptCall.__slots__} for call in text.calls
        ],
    }


def _held_out_ngrams(store: Warehouse, shards: list[str], settings: Settings) -> NgramIndex:
    index = NgramIndex()
    for shard in shards:
        for text in store.read_slice("documents", shard, ALL)["text"]:
            index.add("held_out_shards", text)
    for item in generate_dateset(seed=settings.evaluation.seed):
        index.add("dateset", item.question)
    return index


@dg.asset(
    group_name="train_and_evaluate",
    kinds={"pytorch", "huggingface"},
    deps=[training_set],
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
        stored = store.slice_metadata("training_texts", ALL, ALL)
        if stored is None:
            raise ToolformerError("There is no training set yet. Materialise `training_set` first.")
        if (
            store.read_slice("training_texts", ALL, ALL)
            .filter(pl.col("split") == "train")
            .is_empty()
        ):
            reasons = [f"{name} {n}" for name, n in stored.items() if name.startswith("left out: ")]
            raise ToolformerError(
                "The training set holds no text to train on"
                f" ({'; '.join(reasons) or 'no call was kept'}). Build more shards, or lower the "
                "filtering thresholds (tools.*.filtering_threshold)."
            )
        base = base_model_directory(loaded, home)
        identity = finetuned_model_fingerprint(stored[FINGERPRINT], loaded, model_identity(base))
        run = f"finetuning-{identity.digest[:12]}"
        metrics = store.slice_metadata("training_metrics", ALL, run)
        directory = finetuned_model_directory(loaded, home)
        # The curve of an earlier training stays when the model is replaced by another's.
        is_there = _fingerprint_of_training(directory) == identity.digest
        state = UP_TO_DATE
        if settings.force or not is_there or identity.difference(metrics) is not None:
            state = DONE
            holder = language_model.holder()
            # The annotating model would take memory that training needs.
            holder.drop_model()
            device = holder.hold_device(loaded, home)
            steps = _train(context, loaded, home, store, directory, identity.digest, device)
            store.replace_slice(
                "training_metrics",
                ALL,
                run,
                typed_frame("training_metrics", [{"run": run, **step} for step in steps]),
                metadata=identity.metadata(),
            )
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


def _fingerprint_of_training(directory: Path) -> str | None:
    """What the model in a directory was trained on; None where there is no finetuned model."""
    try:
        return json.loads((directory / RECORD_FILE).read_text())["fingerprint"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return None


def _train(
    context: dg.AssetExecutionContext,
    settings: Settings,
    home: Home,
    store: Warehouse,
    directory: Path,
    fingerprint: str,
    device: str,
) -> list[dict]:
    base = base_model_directory(settings, home)
    tokenizer = load_tokenizer(base)
    rows = store.read_slice("training_texts", ALL, ALL)
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
        steps.append({name: getattr(step, name) for name in StepReport.__slots__})
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
            learning_rate=training.learning_rate,
            warmup_share=training.warmup_share,
            batch_size=training.batch_size,
            steps=training.steps,
            max_tokens=training.max_tokens,
            micro_batch_tokens=training.micro_batch_tokens,
            evaluate_every=training.evaluate_every,
            seed=training.seed,
            clip_norm=training.clip_norm,
            precision=training.precision,
            save_every=training.save_every,
        ),
        bos_token=settings.language_model.bos_token,
        resume_folder=home.checkpoints / "finetuned_model",
        fingerprint=fingerprint,
        report=report,
        device=device,
    )
    return steps
