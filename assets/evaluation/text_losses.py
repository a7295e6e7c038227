"""Losses of texts, window by window: the held-out shards, or a text file (paper §4.3).

Does not store anything.
"""

from collections.abc import Callable, Iterable
from functools import partial

from assets.inputs import slice_inputs
from assets.shard_texts import documents_in, windows_of
from dagster_project.settings.evaluation_sections import PERPLEXITY
from dagster_project.settings.sections import Settings
from dagster_project.wiring.benchmarks import read_text
from toolformer.errors import ToolformerError
from toolformer.evaluation.modes import DISABLED
from toolformer.evaluation.perplexity import perplexity_row
from toolformer.forward.batching import plan_batches
from toolformer.forward.geometry import choose_pack_tokens
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window, split_into_windows
from toolformer.ground.digests import digest
from toolformer.losses import token_losses
from warehouse.warehouse import Warehouse

# The windows of a collection, given the tokenizer.
WindowsOf = Callable[[Tokenizer], Iterable[Window]]


def text_collection(
    name: str, store: Warehouse, held_out: list[str], settings: Settings
) -> WindowsOf:
    """What the benchmark of this name measures the losses of.

    Raises:
        ToolformerError: there is no held-out shard.
    """
    if name == PERPLEXITY:
        if not slice_inputs(store, "documents", held_out):
            raise ToolformerError(
                "There is no held-out shard with documents, so perplexity has nothing to measure. "
                "Cut the corpus into at least corpus.held_out_every shards (a smaller "
                "corpus.shard_size before the first ingest, or a smaller held_out_every) and build "
                "them, or leave `perplexity` out of evaluation.benchmarks."
            )
        return partial(_held_out_windows, store, held_out, settings)
    return partial(_windows_of_file, name, settings)


def measure_losses(
    model: LanguageModel,
    windows_of_collection: WindowsOf,
    settings: Settings,
    *,
    progress: Callable[[int, int], None],
) -> list[dict]:
    """The mean loss of each window, with calls disabled.

    Returns:
        Rows of `evaluation_results` without benchmark, model and precision.

    Raises:
        ToolformerError: there is no window.
    """
    # A random choice that does not change when other windows come or go.
    seed = settings.evaluation.seed
    windows = sorted(
        windows_of_collection(model.tokenizer),
        key=lambda window: digest(seed, window.document_id, window.index, size=8, separator=" "),
    )[: settings.evaluation.perplexity_windows]
    if not windows:
        raise ToolformerError(
            "The text is empty, so there is no loss to measure. Expected a text in UTF-8; correct "
            "the path in evaluation.texts."
        )
    rows = []
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
            rows.append(
                {
                    "item_id": f"{window.document_id}-{window.index}",
                    "mode": DISABLED.name,
                    "call_top_k": DISABLED.call_top_k,
                    "least_call_probability": DISABLED.least_call_probability,
                    "metric": "perplexity",
                    "prompt": window.text,
                    "output": "",
                    "gold": "",
                    "score": row.mean_loss,
                    "score_weight": float(row.tokens),
                    "reason": row.reason,
                }
            )
        progress(len(rows), len(windows))
    return sorted(rows, key=lambda row: row["item_id"])


def _held_out_windows(
    store: Warehouse, held_out: list[str], settings: Settings, tokenizer: Tokenizer
) -> Iterable[Window]:
    for shard in sorted(slice_inputs(store, "documents", held_out)):
        yield from windows_of(
            documents_in(store, shard), tokenizer, window_tokens=settings.corpus.window_tokens
        )


def _windows_of_file(name: str, settings: Settings, tokenizer: Tokenizer) -> Iterable[Window]:
    text = read_text(name, settings)
    yield from split_into_windows(
        name, text, tokenizer, window_tokens=settings.corpus.window_tokens
    )
