"""Reads the texts of a shard for the stages: documents, their windows, and earlier calls."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import polars as pl

from toolformer.augmentation import KeptCall
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window, WindowKey, split_into_windows
from toolformer.settings.sections import Settings
from tools.protocol import Document
from warehouse.layout import name_in_round
from warehouse.schema import ALL, table_schema
from warehouse.warehouse import Warehouse


def texts_in(warehouse: Warehouse, shard: str) -> tuple[dict[str, Document], dict[WindowKey, str]]:
    """Return the documents of a shard by id, and the contexts of their first windows.

    Before training, contexts serve only to check what a call may know, so `Document` omits them.
    """
    frame = warehouse.read_partition("documents", shard, ALL)
    documents = {
        row["document_id"]: Document(**row)
        for row in frame.select(Document.__slots__).iter_rows(named=True)
    }
    contexts = frame.select("document_id", "context").drop_nulls("context").iter_rows()
    return documents, {(document_id, 0): context for document_id, context in contexts}


def documents_in(warehouse: Warehouse, shard: str) -> dict[str, Document]:
    return texts_in(warehouse, shard)[0]


def windows_of(
    documents: Mapping[str, Document],
    tokenizer: Tokenizer,
    *,
    window_tokens: int,
    max_windows: int | None = None,
) -> Iterator[Window]:
    for document in documents.values():
        windows = split_into_windows(
            document.document_id, document.text, tokenizer, window_tokens=window_tokens
        )
        yield from islice(windows, max_windows)


def count_truncated(documents: Mapping[str, Document], windows: Iterable[Window]) -> int:
    ends = {window.document_id: window.start + len(window.text) for window in windows}
    return sum(len(document.text) > ends.get(key, 0) for key, document in documents.items())


def first_calls_in(
    warehouse: Warehouse, shard: str, settings: Settings
) -> dict[WindowKey, KeptCall]:
    """Return the first call of each text in the previous round; empty if rounds are not chained."""
    sampling = settings.sampling
    if not sampling.is_chained:
        return {}
    name = name_in_round(sampling.round - 1, ALL)
    frame = warehouse.read_partition("augmented_texts", shard, name)
    return {
        (row["document_id"], row["window_index"]): KeptCall(**row["calls"][0])
        for row in frame.iter_rows(named=True)
    }


def typed_frame(table: str, rows: list[dict]) -> pl.DataFrame:
    schema = table_schema(table).polars_schema
    return pl.DataFrame(rows, schema=schema, orient="row") if rows else schema.to_frame()
