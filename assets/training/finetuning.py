"""The model finetuned on the training set, and its controls (paper §2 and §4.1)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import dagster as dg
import polars as pl

from assets.failures import expected_errors
from assets.inputs import Input, Wanted, look_at
from assets.outputs import DONE, make_once
from assets.shard_texts import typed_frame
from assets.stage import Stage
from assets.training.training_set import LEFT_OUT, training_set_digest
from dagster_project.fingerprints import Fingerprint
from dagster_project.home import Home
from dagster_project.partitions import MODEL_VARIANTS
from dagster_project.plots.figures import training_curve
from dagster_project.plots.files import plot_links
from dagster_project.progress import progress_of
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.settings.sections import Settings
from dagster_project.shared_files import bring, publish
from dagster_project.wiring.annotator import finetuned_model_directory
from dagster_project.wiring.model_cards import write_model_card
from dagster_project.wiring.model_damage import check_undamaged
from dagster_project.wiring.model_holder import base_model_directory
from dagster_project.wiring.precision import (
    AUTO,
    purpose_of_training,
    recorded_precision,
    training_precision,
)
from toolformer.augmentation import KeptCall
from toolformer.errors import ToolformerError
from toolformer.forward.language_model import resolve_device
from toolformer.forward.precision import FLOAT32
from toolformer.forward.tokenization import load_tokenizer
from toolformer.training.finetuning import RECORD_FILE, FinetuningParameters, StepReport, finetune
from toolformer.training.model_card import CARD_FILE
from toolformer.training.training_loss import LossWeights
from toolformer.training.training_plan import (
    TrainingPlan,
    matmul_speed,
    parameter_count,
    training_plan,
)
from toolformer.training.variant_rows import TextWithCalls, VariantRows, variant_rows
from toolformer.training.variants import PLAIN
from tools.model_identity import SAFETENSORS, model_identity
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

FINETUNED_MODEL = Stage(
    name="finetuned_model",
    version="1",
    settings=(
        "corpus.window_tokens",
        "training.variant",
        "training.development_share",
        "training.learning_rate",
        "training.warmup_share",
        "training.batch_size",
        "training.epochs",
        "training.steps",
        "training.loss_weights",
        "training.max_tokens",
        "training.micro_batch_tokens",
        "training.packs_rows",
        "training.lora_rank",
        "training.evaluate_every",
        "training.clip_norm",
        "training.precision",
        "training.seed",
    ),
    settings_of_parts=("language_model.path", "language_model.bos_token"),
)
# Of the section `training`: how the loop trains.
_OF_THE_LOOP = {
    "learning_rate",
    "warmup_share",
    "batch_size",
    "micro_batch_tokens",
    "packs_rows",
    "gradient_checkpointing",
    "processes",
    "parallelism",
    "lora_rank",
    "evaluate_every",
    "save_every",
    "clip_norm",
    "seed",
}


@dg.asset(
    partitions_def=MODEL_VARIANTS,
    group_name="train",
    kinds={"pytorch", "huggingface"},
    deps=["training_set"],
    code_version=FINETUNED_MODEL.version,
)
def finetuned_model(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    warehouse: WarehouseResource,
    language_model: LanguageModelResource,
) -> dg.MaterializeResult:
    """The model M finetuned on C*: a directory with config, tokenizer and safetensors weights.

    One partition = one variant. `calls` is the paper's model. The others are controls on the same
    texts, in the same order: `plain` without calls, `shuffled` with results exchanged between the
    calls of a tool, `random` with calls that the filter dropped.

    It begins with the base model, also in later rounds of annotation. Each round and variant keeps
    its own directory, since the model of one round annotates the next.
    """
    with expected_errors():
        loaded = settings.load(variant=context.partition_key)
        home, store = settings.home(), warehouse.open()
        holder = language_model.holder()
        base = base_model_directory(loaded, home)
        directory = finetuned_model_directory(loaded, home)

        def wanted() -> Wanted:
            texts = _usable_training_set(store)
            return Wanted(
                _fingerprint(texts.fingerprint, loaded, model_identity(base)),
                (texts,),
            )

        def is_stale() -> bool:
            bring(home, directory)
            return settings.force or not _is_there(wanted().fingerprint, directory, store)

        def hold_device() -> str:
            # The annotating model would take memory that training needs.
            holder.drop_model()
            return holder.hold_devices(loaded.training.processes, loaded, home)

        lock = home.output_lock(f"finetuned_model.{directory.name}")

        def check_lock() -> None:
            if lock.regain() and not is_stale():
                raise ToolformerError(
                    f"The connection that held the lock of {str(directory)!r} was lost, and "
                    "another run has made the model meanwhile. Nothing is lost; run the same "
                    "again to go on from that model."
                )

        def make() -> str:
            looked_at = wanted()
            work = planned_training(loaded, home, store)
            # From here on nothing but these rows and the base model is read.
            looked_at.check_unchanged(wanted())
            context.log.info(f"{loaded.training.variant}: {work.told}")
            if not settings.force:
                work.check_size(loaded)
            digest = looked_at.fingerprint.digest
            device = hold_device()
            steps = _train(context, loaded, home, work, directory, digest, device, check_lock)
            run = _run_of(digest)
            of_run = {"run": run, "variant": loaded.training.variant}
            store.replace_slice(
                "training_metrics",
                ALL,
                run,
                typed_frame("training_metrics", [{**of_run, **step} for step in steps]),
                metadata=looked_at.metadata(),
            )
            return DONE

        state = make_once(
            lock,
            is_stale=is_stale,
            make=make,
            hold_device=hold_device,
        )
        if state == DONE or not (directory / CARD_FILE).exists():
            write_model_card(directory, base, loaded)
        publish(home, directory)
        record = record_of(directory)
        run = _run_of(record["fingerprint"])
        curve = store.read_slice("training_metrics", ALL, run)
    result = record["result"]
    return dg.MaterializeResult(
        metadata={
            "state": state,
            "variant": loaded.training.variant,
            "directory": dg.MetadataValue.path(str(directory)),
            "model card": dg.MetadataValue.md((directory / CARD_FILE).read_text()),
            "round": loaded.training_rounds[0],
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
                home,
                "finetuned_model",
                {"training curve": training_curve(curve)},
                partition=loaded.training.variant,
            ),
        }
    )


@dataclass(frozen=True, slots=True)
class PlannedTraining:
    """What a run will train on, and how long.

    Attributes:
        rows: of the variant.
        development: texts for the development perplexity, as token ids.
        plan: what the run will do.
        seconds: about how long it takes.
    """

    rows: VariantRows
    development: list[list[int]]
    plan: TrainingPlan
    seconds: float

    @property
    def told(self) -> str:
        """The plan in a line."""
        plan = self.plan
        return (
            f"{plan.texts:,} texts with {plan.calls:,} calls; {plan.steps:,} steps of "
            f"{plan.batch_size} texts, {plan.epochs:.1f} epochs, about {plan.tokens:,} tokens and "
            f"{self.seconds / 60:.1f} minutes"
        )

    def check_size(self, settings: Settings) -> None:
        """Refuse a training set on which nothing can be learnt but its texts.

        Raises:
            ToolformerError: it has fewer texts than `training.least_texts`.
        """
        least = settings.training.least_texts
        if self.plan.texts < least:
            raise ToolformerError(
                f"The training set has {self.plan.texts} texts; expected at least {least} "
                "(training.least_texts), since a model learns so few by heart and nothing else. "
                "Build more shards or lower the filtering thresholds (tools.*.filtering_threshold)."
                " To train all the same: `toolformer train --force`, or `force: true` in the "
                "Launchpad."
            )


def planned_training(settings: Settings, home: Home, store: Warehouse) -> PlannedTraining:
    """What a run with these settings would train on, and how long.

    Raises:
        ToolformerError: there is no training set, or none that can be used.
    """
    _usable_training_set(store)
    base, training = base_model_directory(settings, home), settings.training
    tokenizer = load_tokenizer(base)
    texts = store.read_slice("training_texts", ALL, ALL)
    rows_of = partial(variant_rows, tokenizer, max_tokens=training.max_tokens, seed=training.seed)
    rows = rows_of(
        [_text_with_calls(row) for row in _split(texts, "train").iter_rows(named=True)],
        training.variant,
    )
    # Without calls, which settle the part of a long text: its beginning.
    development = [
        TextWithCalls(text, context, (), ())
        for text, context in _split(texts, "development").select("text", "context").iter_rows()
    ]
    plan = training_plan(
        rows, batch_size=training.batch_size, epochs=training.epochs, steps=training.steps
    )
    device = resolve_device(settings.language_model.device)
    precision = training.precision
    if precision == AUTO:
        record = recorded_precision(purpose_of_training(settings), base, device, home)
        precision = record.choice.precision if record else FLOAT32
    weights = [file for pattern in SAFETENSORS for file in base.glob(pattern)]
    return PlannedTraining(
        rows,
        [list(row.ids) for row in rows_of(development, PLAIN).rows],
        plan,
        plan.seconds(parameter_count(weights), matmul_speed(device, precision)),
    )


def _split(texts: pl.DataFrame, name: str) -> pl.DataFrame:
    return texts.filter(pl.col("split") == name)


def _text_with_calls(row: Mapping) -> TextWithCalls:
    return TextWithCalls(
        row["text"],
        row["context"],
        tuple(KeptCall(**call) for call in row["calls"]),
        tuple(KeptCall(**call) for call in row["dropped_calls"]),
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
    if _split(rows, "train").is_empty():
        stored = store.slice_metadata("training_texts", ALL, ALL) or {}
        reasons = [f"{name} {count}" for name, count in stored.items() if name.startswith(LEFT_OUT)]
        raise ToolformerError(
            "The training set holds no text to train on"
            f" ({'; '.join(reasons) or 'no call was kept'}). Build more shards, or lower the "
            "filtering thresholds (tools.*.filtering_threshold)."
        )
    return found


def is_finetuned(settings: Settings, home: Home, store: Warehouse) -> bool:
    """Whether the model that the settings describe is up to date.

    The stored training set may be that of another round: it is not asked.

    Raises:
        ToolformerError: a file of a benchmark is missing, or there is no base model.
    """
    identity = _fingerprint(
        training_set_digest(settings, home, store),
        settings,
        model_identity(base_model_directory(settings, home)),
    )
    return _is_there(identity, finetuned_model_directory(settings, home), store)


def _fingerprint(training_set: str, settings: Settings, model: str) -> Fingerprint:
    """Of the finetuned model.

    Args:
        training_set: fingerprint of its texts.
        settings: of the run.
        model: identity of the base model.
    """
    return FINETUNED_MODEL.fingerprint(
        settings,
        {
            "training_set": training_set,
            "language_model": [model, settings.language_model.bos_token],
        },
    )


def _is_there(identity: Fingerprint, directory: Path, store: Warehouse) -> bool:
    # The curve of an earlier training stays when the model is replaced by another's.
    metrics = store.slice_metadata("training_metrics", ALL, _run_of(identity.digest))
    is_trained = _fingerprint_of_training(directory) == identity.digest
    return is_trained and identity.difference(metrics) is None


def record_of(directory: Path) -> dict:
    """What the training of a finetuned model left beside its weights."""
    return json.loads((directory / RECORD_FILE).read_text())


def _fingerprint_of_training(directory: Path) -> str | None:
    """What the model in a directory was trained on; None where there is no finetuned model."""
    try:
        return record_of(directory)["fingerprint"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _train(
    context: dg.AssetExecutionContext,
    settings: Settings,
    home: Home,
    work: PlannedTraining,
    directory: Path,
    fingerprint: str,
    device: str,
    check_lock: Callable[[], None],
) -> list[dict]:
    base = base_model_directory(settings, home)
    check_undamaged(base, home)
    training = settings.training
    precision = training_precision(settings, base, device, home)
    progress = progress_of("finetuning", context.log, detail=training.variant)
    steps: list[dict] = []

    def report(step: StepReport) -> None:
        # The state that it goes on from lies where another machine would look for it, too.
        check_lock()
        steps.append(asdict(step))
        progress(step.step, work.plan.steps)

    finetune(
        base,
        directory,
        work.rows.rows,
        work.development,
        parameters=FinetuningParameters(
            **training.model_dump(include=_OF_THE_LOOP),
            precision=precision,
            steps=work.plan.steps,
            loss_weights=LossWeights(**training.loss_weights.model_dump()),
        ),
        bos_token=settings.language_model.bos_token,
        resume_folder=home.checkpoints / f"finetuned_model.{directory.name}",
        fingerprint=fingerprint,
        facts={
            "variant": training.variant,
            "calls": dict(work.rows.calls),
            "texts without a call that fits": work.rows.texts_without_row,
        },
        report=report,
        log=context.log.info,
        device=device,
    )
    return steps
