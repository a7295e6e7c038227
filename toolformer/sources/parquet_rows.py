"""Rows of a Parquet file, of the named columns, a few at a time.

What a row group grows to is taken from the footer, and what its rows hold is counted as they come.
A footer that lies can make Arrow hold a page of up to 2 GiB, the largest there is.
"""

import os
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from toolformer.sources.compression import (
    CHUNK_BYTES,
    RECORD_BYTES,
    Allowance,
    usual_file_bytes,
)
from toolformer.sources.errors import SourceError
from toolformer.sources.records import (
    LINE_BYTES_PER_TEXT_BYTE,
    RawRecord,
    excerpt_of,
    missing_column_error,
)
from toolformer.sources.source import Source

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet

# Each row of a batch may repeat a long value that is stored once, so batches have few rows.
_BATCH_ROWS = 4


def read_rows(name: str, stream: IO[bytes], source: Source) -> Iterator[RawRecord]:
    """Yields the rows of a Parquet file, with those of the source's columns that it has.

    Raises:
        SourceError: a required column is missing, or a column is there twice.
        ExpansionError: a row group grows beyond what is allowed; it is not read.
        OSError: without a number, the file is damaged; or the stream says so.
    """
    import pyarrow
    from pyarrow import parquet

    longest = source.maximum_text_bytes * LINE_BYTES_PER_TEXT_BYTE
    stored = stream.seek(0, os.SEEK_END)
    allowance = Allowance(stream, source.maximum_file_bytes or usual_file_bytes(stored))
    try:
        # Without these settings Arrow holds the columns of a row group whole.
        table = parquet.ParquetFile(stream, pre_buffer=False, buffer_size=CHUNK_BYTES)
        columns = _columns_of(table, name, source)
        for offset, row in enumerate(_rows(table, columns, allowance)):
            size = sum(len(cell) for cell in row if isinstance(cell, str))
            allowance.spend(RECORD_BYTES + size)
            if size > longest:
                yield RawRecord(name, offset, excerpt_of(row[0]), "too_long")
            else:
                yield RawRecord(name, offset, dict(zip(columns, row, strict=True)))
    # Names of columns need not be UTF-8.
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise OSError(str(error)) from error


def _columns_of(table: "parquet.ParquetFile", name: str, source: Source) -> list[str]:
    present, rows = table.schema_arrow.names, table.metadata.num_rows
    if rows and not set(source.required_columns.values()) <= set(present):
        raise missing_column_error(name, source, present, rows)
    columns = [column for column in source.columns if column in present]
    for column in columns:
        if present.count(column) > 1:
            raise SourceError(
                f"The Parquet file {name!r} has {present.count(column)} columns {column!r}. "
                "Expected one. Rename the others in the file, or set another column."
            )
    return columns


def _rows(
    table: "parquet.ParquetFile", columns: list[str], allowance: Allowance
) -> Iterator[tuple[Any, ...]]:
    """Yields the cells of each row; of nested columns, which hold no text, only the type."""
    from pyarrow import types

    fields = [table.schema_arrow.field(name) for name in columns]
    nested = {field.name: str(field.type) for field in fields if types.is_nested(field.type)}
    flat = [name for name in columns if name not in nested]
    for number in range(table.num_row_groups):
        group = table.metadata.row_group(number)
        chunks = map(group.column, range(group.num_columns))
        allowance.check(
            sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in flat)
        )
        for batch in table.iter_batches(_BATCH_ROWS, row_groups=[number], columns=flat):
            cells = [
                [[nested[name]]] * batch.num_rows if name in nested else _values(batch.column(name))
                for name in columns
            ]
            yield from zip(*cells, strict=True)


def _values(column: "pyarrow.Array") -> list[Any]:
    """The cells as JSON values: text as it is, days as ISO text, numbers; of others the type."""
    import pyarrow
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    is_bytes = types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
    if is_text or is_bytes:
        # By way of bytes: Parquet does not check that its strings are UTF-8.
        cells = column.cast(pyarrow.large_binary()).to_pylist()
        return [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in cells]
    if types.is_timestamp(kind) or types.is_date(kind):
        return column.cast(pyarrow.date32(), safe=False).cast(pyarrow.string()).to_pylist()
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return column.to_pylist()
    # Python has no value for some durations and times of day.
    return [[str(kind)] if is_given else None for is_given in column.is_valid().to_pylist()]
