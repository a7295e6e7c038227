"""Reads the rows of Parquet and Arrow files in small batches."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any

from toolformer.sources.columns import MAX_DEPTH
from toolformer.sources.errors import repeated_column_error

if TYPE_CHECKING:
    import pyarrow

# Limits on a batch. Bytes alone are not enough: a dictionary-encoded file stores a large value
# once, but reading repeats it in every row.
_BATCH_BYTES, _BATCH_ROWS = 1 << 22, 64
_BUFFER_BYTES = 1 << 18
_FILE_START = b"ARROW1"
# End of an Arrow stream. pyarrow would accept a stream that is truncated between two batches.
_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"


def read_table(
    stream: IO[bytes], name: str, wanted: Sequence[str] | None = None
) -> tuple[list[str], Iterator[dict[str, Any]]]:
    """Return the column names of a Parquet or Arrow file (`outer.inner` in structs), and its rows.

    Reads only the `wanted` columns, or all columns if None. Bytes that are not UTF-8 become
    surrogate escapes, and dates become ISO 8601. Lists (unless all columns are read), durations and
    times of day become a list that contains only the name of their type.

    Raises SourceError if a wanted column occurs twice. Raises OSError or pyarrow.ArrowException if
    the file is damaged, possibly only while rows are read.
    """
    schema, row_count, batches = _opened(stream, wanted)
    read = [
        column
        for column in schema.names
        if wanted is None or any(f"{each}.".startswith(f"{column}.") for each in wanted)
    ]
    for column in read:
        if (count := read.count(column)) > 1:
            raise repeated_column_error(name, column, count)

    def rows() -> Iterator[dict[str, Any]]:
        row_total = 0
        for batch in batches:
            present = [column for column in read if column in batch.schema.names]
            cells = [_values(batch.column(column), wanted is None) for column in present]
            for number in range(batch.num_rows):
                yield {column: cells[at][number] for at, column in enumerate(present)}
            row_total += batch.num_rows
        if row_count not in (None, row_total):
            raise OSError(f"its footer announces {row_count} rows, but it has {row_total}")

    return list(_names(schema)), rows()


def _opened(
    stream: IO[bytes], wanted: Sequence[str] | None
) -> tuple["pyarrow.Schema", int | None, Iterable["pyarrow.RecordBatch"]]:
    """Return schema, number of rows (None if unknown) and batches."""
    import pyarrow
    from pyarrow import ipc, parquet

    # Arrow's own allocator would retain 33 MB more of freed memory.
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())
    start = stream.read(len(_FILE_START))
    if start.startswith(b"PAR1"):
        # Pre-buffering would keep all columns of a row group in memory.
        table = parquet.ParquetFile(
            stream, pre_buffer=False, buffer_size=_BUFFER_BYTES, page_checksum_verification=True
        )
        groups = [table.metadata.row_group(number) for number in range(table.num_row_groups)]
        batches = (
            batch
            for number, group in enumerate(groups)
            for batch in table.iter_batches(
                _batch_rows(group.total_byte_size, group.num_rows),
                row_groups=[number],
                columns=wanted,
            )
        )
        return table.schema_arrow, table.metadata.num_rows, batches
    if start == _FILE_START:
        whole = ipc.open_file(stream)
        stored = (whole.get_batch(number) for number in range(whole.num_record_batches))
        return whole.schema, None, _slices(stored)
    stream.seek(max(0, stream.seek(0, os.SEEK_END) - len(_STREAM_END)))
    if stream.read() != _STREAM_END:
        raise EOFError("it is truncated, or is not a Parquet or Arrow file")
    stream.seek(0)
    opened = ipc.open_stream(stream)
    return opened.schema, None, _slices(opened)


def _batch_rows(size: int, rows: int) -> int:
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * rows // max(size, 1)))


def _slices(batches: Iterable["pyarrow.RecordBatch"]) -> Iterator["pyarrow.RecordBatch"]:
    for batch in batches:
        size = _batch_rows(batch.nbytes, batch.num_rows)
        yield from (batch.slice(start, size) for start in range(0, batch.num_rows, size))


def _names(fields: Any, depth: int = 1) -> Iterator[str]:
    from pyarrow import types

    for name, kind in zip(fields.names, (field.type for field in fields), strict=True):
        if types.is_struct(kind) and kind.num_fields and depth < MAX_DEPTH:
            yield from (f"{name}.{inner}" for inner in _names(kind, depth + 1))
        else:
            yield name


def _values(column: "pyarrow.Array", is_whole: bool) -> list[Any]:
    import pyarrow
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        return _values(column.cast(kind.value_type), is_whole)
    if types.is_struct(kind) and kind.num_fields:
        cells = zip(*(_values(inner, is_whole) for inner in column.flatten()), strict=True)
        rows = (dict(zip(kind.names, row, strict=True)) for row in cells)
        valid = column.is_valid().to_pylist()
        return [row if is_valid else None for row, is_valid in zip(rows, valid, strict=True)]
    is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    is_bytes = types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
    if is_text or is_bytes:
        # Read strings as bytes, since Parquet files may contain strings that are not UTF-8.
        texts = column.cast(pyarrow.large_binary()).to_pylist()
        return [None if text is None else text.decode("utf-8", "surrogateescape") for text in texts]
    if types.is_timestamp(kind) or types.is_date(kind):
        return column.cast(pyarrow.date32(), safe=False).cast(pyarrow.string()).to_pylist()
    # Python cannot represent some durations and times of day.
    if types.is_temporal(kind) or (types.is_nested(kind) and not is_whole):
        return [[str(kind)] if is_valid else None for is_valid in column.is_valid().to_pylist()]
    return column.to_pylist()
