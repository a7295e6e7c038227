"""Texts that a model was not trained on, with the places of their kept calls, or without any.

Both come from documents of the development side. With calls: the development texts of the training
set. Without: the other windows of such documents, in which nothing was kept. Does not read them
with a model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import polars as pl

from assets.training.plain_windows import windows_without_calls
from dagster_project.settings.sections import Settings
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window
from toolformer.training.augmented_text import TextKey
from toolformer.training.training_set import is_for_development, random_rank
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

# Of either kind: a share of these is known to three percentage points, in minutes on a processor.
_MOST_TEXTS = 300


@dataclass(frozen=True, slots=True)
class DevelopmentText:
    """A text of the development side.

    Attributes:
        window: its tokens.
        call_positions: where its kept calls stand, counted in tokens without calls.
    """

    window: Window
    call_positions: frozenset[int]


def development_texts(
    store: Warehouse, shards: Sequence[str], tokenizer: Tokenizer, settings: Settings
) -> list[DevelopmentText]:
    """Some of these texts, at random: at most 300 with calls, and 300 without.

    Args:
        store: with the training set.
        shards: in whose documents those without calls are looked for, until there are enough.
        tokenizer: of the model that was trained.
        settings: of the run.

    Raises:
        ToolformerError: windows are cut in another way than the training set's.
    """
    texts = store.read_slice("training_texts", ALL, ALL)
    excluded = store.read_slice("training_exclusions", ALL, ALL)
    seed = settings.training.seed
    development = sorted(
        texts.filter(split="development").iter_rows(named=True),
        key=lambda row: random_rank(seed, "calls", row["document_id"], row["window"]),
    )
    with_calls = [
        DevelopmentText(
            _window(row["document_id"], row["window"], row["text"], tokenizer),
            frozenset(call["position"] for call in row["calls"]),
        )
        for row in development[:_MOST_TEXTS]
    ]
    return [*with_calls, *_without_calls(store, shards, tokenizer, settings, texts, excluded)]


def _without_calls(
    store: Warehouse,
    shards: Sequence[str],
    tokenizer: Tokenizer,
    settings: Settings,
    texts: pl.DataFrame,
    excluded: pl.DataFrame,
) -> list[DevelopmentText]:
    training = settings.training
    trained_on = set(texts.filter(split="train")["document_id"])
    held_back = set(texts.filter(split="development")["document_id"])
    # Texts with calls that were left out of the training set are no texts without calls.
    left_out = set(map(TextKey._make, excluded.select("document_id", "window").iter_rows()))

    def is_held_back(document_id: str) -> bool:
        return document_id in held_back or (
            document_id not in trained_on
            and is_for_development(document_id, training.development_share)
        )

    windows = windows_without_calls(
        store,
        sorted(shards, key=lambda shard: random_rank(training.seed, shard)),
        tokenizer,
        settings,
        with_calls=_by_key(texts),
        is_wanted=is_held_back,
    )
    plain = (window for window, text in windows if text.key not in left_out)
    return [DevelopmentText(window, frozenset()) for window in islice(plain, _MOST_TEXTS)]


def _by_key(texts: pl.DataFrame) -> Mapping[TextKey, str]:
    rows = texts.select("document_id", "window", "text").iter_rows()
    return {TextKey(document_id, window): text for document_id, window, text in rows}


def _window(document_id: str, number: int, text: str, tokenizer: Tokenizer) -> Window:
    ids, offsets = tokenizer.encode_with_offsets(text)
    return Window(document_id, number, 0, text, tuple(ids), tuple(offsets))
