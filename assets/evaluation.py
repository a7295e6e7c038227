"""The benchmarks (paper §4.2–4.3): perplexity, and questions with calls enabled and disabled."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import dagster as dg
import polars as pl

from assets.inputs import Wanted
from assets.outputs import Made, replace_slice_if_stale
from assets.questions import DISABLED, ask
from assets.shard_stage import expected_errors
from assets.shard_texts import documents_in, typed_frame, windows_of
from assets.training_set import (
    LEFT_OUT,
    fingerprints_of,
    slice_inputs,
    training_and_held_out_shards,
)
from dagster_project.fingerprints import CODE_VERSIONS, evaluation_fingerprint
from dagster_project.metadata import table_markdown, table_metadata
from dagster_project.partitions import MODEL_VARIANTS
from dagster_project.progress import progress_of
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.settings.evaluation_sections import PERPLEXITY
from dagster_project.settings.sections import BASE, FINETUNED, Settings
from dagster_project.wiring.annotator import finetuned_model_directory, is_trained
from dagster_project.wiring.benchmarks import configured_benchmark, identity_of
from dagster_project.wiring.model_cards import write_model_card
from dagster_project.wiring.model_holder import base_model_directory, precision_of
from dagster_project.wiring.toolbox import Toolbox, open_toolbox
from toolformer.errors import ToolformerError
from toolformer.evaluation.benchmarks.benchmark import Benchmark
from toolformer.evaluation.perplexity import perplexity_row
from toolformer.forward.batching import plan_batches
from toolformer.forward.geometry import choose_pack_tokens
from toolformer.forward.language_model import LanguageModel
from toolformer.ground.digests import digest
from toolformer.losses import token_losses
from toolformer.training.variants import CALLS
from tools.model_identity import model_identity
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

Progress = Callable[[int, int], None]
# Rows of a benchmark, and how many items have no score, by reason.
_Rows = tuple[list[dict], Mapping[str, int]]


@dg.asset(
    group_name="train_and_evaluate",
    kinds={"pytorch", "duckdb"},
    partitions_def=MODEL_VARIANTS,
    deps=[
        "finetuned_model",
        dg.AssetDep("documents", partition_mapping=dg.AllPartitionMapping()),
        "wikipedia_index",
        "passage_index",
    ],
    code_version=CODE_VERSIONS["evaluation_results"],
    metadata=table_metadata("evaluation_results"),
)
def evaluation_results(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    warehouse: WarehouseResource,
    toolbox: ToolboxResource,
    language_model: LanguageModelResource,
) -> dg.MaterializeResult:
    """One row = one benchmark item, by benchmark, item, model and mode.

    One partition = one variant of the finetuned model, measured beside the base model. Models are
    `base`, `finetuned` (variant `calls`), and the controls `plain`, `shuffled` and `random`; one
    that was finetuned on a later round has `-round-2` and so on behind its name.
    Perplexity is measured on held-out shards with calls disabled; the other benchmarks with calls
    enabled and disabled. One that cannot be read does not keep the others from being measured.
    """
    states = {}
    with expected_errors():
        loaded = settings.load(variant=context.partition_key)
        home, store = settings.home(), warehouse.open()
        tools = open_toolbox(loaded, home, named=toolbox.tools, while_decoding=True)
        held_out = training_and_held_out_shards(home)[1]
        opened, errors = _open_benchmarks(loaded)
        for model_name, directory in (
            (BASE, base_model_directory(loaded, home)),
            (finetuned_name(loaded), finetuned_model_directory(loaded, home)),
        ):
            _check_trained(directory, loaded.training.variant)
            for name, (identity, benchmark) in opened.items():
                slice_name = f"{name}.{model_name}"
                if benchmark is None:
                    run = partial(_perplexity, store, held_out, loaded)
                else:
                    run = partial(
                        ask,
                        benchmark=benchmark,
                        tools=tools,
                        settings=loaded,
                        warn=context.log.warning,
                    )
                try:
                    states[slice_name] = replace_slice_if_stale(
                        store,
                        home,
                        ("evaluation_results", ALL, slice_name),
                        partial(_wanted, store, held_out, identity, loaded, directory, tools),
                        partial(
                            _run_benchmark,
                            name,
                            model_name,
                            partial(language_model.holder().load, directory, loaded, home),
                            run,
                            progress_of(f"{name} with the {model_name} model", context.log),
                        ),
                        force=settings.force,
                        hold_device=partial(language_model.holder().hold_device, loaded, home),
                    )
                except ToolformerError as error:
                    # The other benchmarks are measured all the same.
                    errors[name] = str(error)
        left_out = {
            f"{name}: {reason}": int(count)
            for name in states
            for reason, count in _metadata_of(store, name).items()
            if reason.startswith(LEFT_OUT)
        }
        summary = store.view("evaluation_summary")
        of_both = summary.filter(pl.col("model").is_in([BASE, finetuned_name(loaded)]))
        write_model_card(
            finetuned_model_directory(loaded, home),
            base_model_directory(loaded, home),
            loaded,
            evaluation=of_both.to_dicts(),
        )
        examples = store.ask("evaluation_examples")
        if errors:
            raise ToolformerError(
                "Not measured: "
                + " ".join(f"{name}: {error}" for name, error in errors.items())
                + (f" Measured were {', '.join(states)}." if states else "")
            )
    return dg.MaterializeResult(
        metadata={
            **{f"state of {name}": state for name, state in states.items()},
            "tools": ", ".join(tools.tools) or "none",
            **left_out,
            "summary": dg.MetadataValue.md(table_markdown(summary, rows=40)),
            "examples": dg.MetadataValue.md(table_markdown(examples, rows=8)),
        }
    )


def _open_benchmarks(
    settings: Settings,
) -> tuple[dict[str, tuple[str | None, Benchmark | None]], dict[str, str]]:
    """Identity and benchmark by name, both None for perplexity; and why others cannot be opened."""
    opened: dict[str, tuple[str | None, Benchmark | None]] = {}
    errors: dict[str, str] = {}
    for name in settings.evaluation.benchmarks:
        try:
            benchmark = None if name == PERPLEXITY else configured_benchmark(name, settings)
            opened[name] = (identity_of(benchmark) if benchmark else None, benchmark)
        except ToolformerError as error:
            errors[name] = str(error)
    return opened, errors


def _wanted(
    store: Warehouse,
    held_out: list[str],
    questions: str | None,
    settings: Settings,
    directory: Path,
    tools: Toolbox,
) -> Wanted:
    documents = slice_inputs(store, "documents", held_out)
    identity = evaluation_fingerprint(
        questions,
        settings,
        # Of the model that is there now: another run may have trained it while this one waited.
        model_identity(directory),
        precision_of(settings),
        held_out_documents=fingerprints_of(documents),
        tool_versions={name: tool.version for name, tool in tools.tools.items()},
    )
    return Wanted(identity, tuple(documents.values()))


def _metadata_of(store: Warehouse, slice_name: str) -> Mapping[str, str]:
    return store.slice_metadata("evaluation_results", ALL, slice_name) or {}


def _run_benchmark(
    benchmark: str,
    model_name: str,
    load_model: Callable[[], LanguageModel],
    # Takes the model, and `progress` by name.
    run: Callable[..., _Rows],
    progress: Progress,
    _: Wanted,
) -> Made:
    rows, left_out = run(load_model(), progress=progress)
    named = [{"benchmark": benchmark, "model": model_name, **row} for row in rows]
    reasons = {f"{LEFT_OUT}{reason}": str(count) for reason, count in left_out.items()}
    return Made(typed_frame("evaluation_results", named), reasons)


def finetuned_name(settings: Settings) -> str:
    """How the finetuned model is called in the results, where all variants and rounds stand."""
    newest, variant = settings.training_rounds[0], settings.training.variant
    name = FINETUNED if variant == CALLS else variant
    return name if newest == 1 else f"{name}-round-{newest}"


def _check_trained(directory: Path, variant: str) -> None:
    if not is_trained(directory):
        raise ToolformerError(
            f"There is no finetuned model in {str(directory)!r} yet. Materialise partition "
            f"{variant} of `finetuned_model` first (`toolformer train --variant {variant}`)."
        )


def _perplexity(
    store: Warehouse,
    held_out: list[str],
    settings: Settings,
    model: LanguageModel,
    progress: Progress,
) -> _Rows:
    shards = sorted(slice_inputs(store, "documents", held_out))
    if not shards:
        raise ToolformerError(
            "There is no held-out shard with documents, so perplexity has nothing to measure. Cut "
            "the corpus into at least corpus.held_out_every shards (a smaller corpus.shard_size "
            "before the first ingest, or a smaller held_out_every) and build them, or leave "
            "`perplexity` out of evaluation.benchmarks."
        )
    windows = [
        window
        for shard in shards
        for window in windows_of(
            documents_in(store, shard),
            model.tokenizer,
            window_tokens=settings.corpus.window_tokens,
        )
    ]
    # A random choice that does not change when other windows come or go.
    seed = settings.evaluation.seed
    windows.sort(
        key=lambda window: digest(seed, window.document_id, window.index, size=8, separator=" ")
    )
    windows = windows[: settings.evaluation.perplexity_windows]
    rows = []
    left_out: Counter[str] = Counter()
    batches = plan_batches(
        [len(window.ids) for window in windows],
        token_budget=settings.scoring.token_budget
        or choose_pack_tokens(model, window_tokens=settings.corpus.window_tokens),
        is_padded=not model.packs_rows,
    )
    for batch in batches:
        losses = token_losses(model, [list(windows[index].ids) for index in batch])
        for index, of_window in zip(batch, losses, strict=True):
            window = windows[index]
            row = perplexity_row(of_window)
            if row.reason is not None:
                left_out[row.reason] += 1
            rows.append(
                {
                    "item_id": f"{window.document_id}-{window.index}",
                    "mode": DISABLED,
                    "prompt": window.text,
                    "output": "",
                    "gold": "",
                    "score": row.mean_loss,
                    "score_weight": float(row.tokens),
                    "reason": row.reason,
                }
            )
        progress(len(rows), len(windows))
    return sorted(rows, key=lambda row: row["item_id"]), left_out
