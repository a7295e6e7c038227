"""Counts of partitions that were read before, so statistics need not open thousands of footers.

    .counts/<name>    a digest of what follows, and a Parquet file: file_name, counted

A version of a partition never changes, so its counts hold for good. What is lost or damaged is read
from the footers again.
"""

import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.base.digests import digest_of_bytes
from toolformer.base.whole_files import replacing
from warehouse.connection import sql_literal
from warehouse.counting import lists_in_footers, type_of_counts
from warehouse.layout import COUNTS_FOLDER
from warehouse.schema import sql_texts

if TYPE_CHECKING:
    import duckdb
    import polars as pl

_DIGEST_BYTES = 16


def remembered_counts(
    connection: "duckdb.DuckDBPyConnection",
    folder: Path,
    name: str,
    files: Sequence[Path],
    *,
    is_kept: bool,
) -> "pl.DataFrame":
    """Returns the counts of partitions.

    Args:
        files: The newest version of each partition of the table, at least one.
        is_kept: Whether those that were read for it are remembered.

    Returns:
        A row for each version: `file_name` within the folder, and the list `counted`.

    Raises:
        duckdb.Error: A footer is damaged, or was moved away at that moment.
    """
    import polars as pl

    path = folder / COUNTS_FOLDER / name
    names = {str(file.relative_to(folder)) for file in files}
    known = _stored(path, name)
    if known is not None:
        known = known.filter(pl.col("file_name").is_in(names))
        names.difference_update(known["file_name"])
        if not names:
            return known
    missing = ", ".join(sql_literal(str(folder / name)) for name in sorted(names))
    read = connection.sql(
        f"select substring(file_name, {len(str(folder)) + 2}) as file_name, counted "
        f"from ({lists_in_footers(name, f'parquet_kv_metadata([{missing}])')})"
    ).pl()
    counted = read if known is None else pl.concat([known, read])
    if is_kept:
        _store(path, name, counted)
    return counted


def _stored(path: Path, name: str) -> "pl.DataFrame | None":
    import polars as pl

    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, stored = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if digest != _digest(name, stored):
        return None
    return pl.read_parquet(io.BytesIO(stored))


def _store(path: Path, name: str, counted: "pl.DataFrame") -> None:
    content = io.BytesIO()
    counted.write_parquet(content)
    stored = content.getvalue()
    # On a full disk, statements still read.
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        with replacing(path, is_durable=False) as temporary:
            temporary.write_bytes(_digest(name, stored) + stored)


def _digest(name: str, stored: bytes) -> bytes:
    import polars as pl

    # With what is counted and how it is held: counts of another kind are not taken for these.
    kind = f"{sql_texts('counts')[name]} {type_of_counts(name)} {pl.__version__} "
    return digest_of_bytes(kind.encode() + stored, size=_DIGEST_BYTES)
