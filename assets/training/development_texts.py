"""Selects texts for calibration on which the model was not trained, with and without kept calls.

Texts with calls are the development texts of the training set. Texts without calls are other
windows of development documents.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import polars as pl

from assets.shard_texts import documents_in, windows_of
from assets.training.corpus_windows import window_mismatch_error, windows_without_calls
from toolformer.augmentation import KeptCall, check_round_trip
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window
from toolformer.home.wiring.workspace import Workspace
from toolformer.training.chats import chat_formatter, window_as_trained
from toolformer.training.training_set import is_development_document, random_rank
from tools.protocol import Document
from warehouse.schema import ALL

# Maximum number of texts with calls, and of texts without. Several calls per text are written,
# executed and scored, which takes minutes for 200 texts on a CPU. Ten times the minimum number of
# texts with calls suffices to compare thresholds.
_MAX_TEXTS = 100


@dataclass(frozen=True, slots=True)
class DevelopmentText:
    """A text of a development document.

    Attributes:
        window: tokens as trained on: after those of the context, or as a chat.
        call_positions: tool of each kept call, by token position in `window`.
    """

    window: Window
    document: Document
    call_positions: Mapping[int, str]


def development_texts(
    work: Workspace, shards: Sequence[str], tokenizer: Tokenizer
) -> list[DevelopmentText]:
    """Draw at most 100 texts with calls and 100 without from these shards.

    Raises ToolformerError if the training set's windows were cut differently.
    """
    texts = work.warehouse.read_partition("training_texts", ALL, ALL)
    as_trained = partial(
        window_as_trained,
        tokenizer=tokenizer,
        chats=chat_formatter(tokenizer, work.settings),
        max_tokens=work.settings.training.max_tokens,
    )
    return [
        *_with_calls(work, shards, tokenizer, texts, as_trained),
        *_without_calls(work, shards, tokenizer, texts, as_trained),
    ]


def _with_calls(
    work: Workspace,
    shards: Sequence[str],
    tokenizer: Tokenizer,
    texts: pl.DataFrame,
    as_trained: Callable[[Window, str | None, int | None], Window],
) -> Iterator[DevelopmentText]:
    seed, settings = work.settings.training.seed, work.settings
    development = texts.filter(pl.col("split") == "development", pl.col("shard").is_in(shards))
    rows = sorted(
        development.iter_rows(named=True),
        key=lambda row: random_rank(seed, "calls", row["document_id"], row["window_index"]),
    )[:_MAX_TEXTS]
    wanted = {row["document_id"] for row in rows}
    documents = {
        document_id: document
        for shard in sorted({row["shard"] for row in rows})
        for document_id, document in documents_in(work.warehouse, shard).items()
        if document_id in wanted
    }
    # Cut again, because the training set does not store the position of a window in its document.
    cut = windows_of(documents, tokenizer, window_tokens=settings.corpus.window_tokens)
    windows = {window.key: window for window in cut}
    for row in rows:
        # The shard may have other documents by now.
        if row["document_id"] not in documents:
            continue
        key = row["document_id"], row["window_index"]
        window = windows.get(key)
        if window is None or window.text != row["text"]:
            raise window_mismatch_error(key, row["shard"])
        check_round_trip(window, [KeptCall(**call) for call in row["calls"]])
        calls = [call["position"] for call in row["calls"]]
        whole = as_trained(window, row["context"], min(calls, default=None))
        prefix_tokens = len(whole.ids) - len(window.ids)
        positions = {prefix_tokens + call["position"]: call["tool"] for call in row["calls"]}
        yield DevelopmentText(whole, documents[row["document_id"]], positions)


def _without_calls(
    work: Workspace,
    shards: Sequence[str],
    tokenizer: Tokenizer,
    texts: pl.DataFrame,
    as_trained: Callable[[Window, str | None, int | None], Window],
) -> list[DevelopmentText]:
    training = work.settings.training
    trained_on = set(texts.filter(split="train")["document_id"])
    held_back = set(texts.filter(split="development")["document_id"])
    # Texts excluded from the training set have calls, so they do not count as texts without calls.
    excluded = work.warehouse.read_partition("training_exclusions", ALL, ALL)
    left_out = set(excluded.select("document_id", "window_index").iter_rows())

    windows = windows_without_calls(
        work,
        sorted(shards, key=lambda shard: random_rank(training.seed, shard)),
        tokenizer,
        with_calls={
            (document_id, window_index): text
            for document_id, window_index, text in texts.select(
                "document_id", "window_index", "text"
            ).rows()
        },
        is_wanted=lambda document_id: (
            document_id in held_back
            or (
                document_id not in trained_on
                and is_development_document(document_id, training.development_share)
            )
        ),
    )
    plain = (
        DevelopmentText(as_trained(window, text.context, None), document, {})
        for document, window, text in windows
        if text.key not in left_out
    )
    return list(islice(plain, _MAX_TEXTS))
