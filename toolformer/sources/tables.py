"""Rows of Parquet and Arrow files, a few at a time."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from toolformer.sources.columns import MAX_DEPTH
from toolformer.sources.errors import SourceError

if TYPE_CHECKING:
    import pyarrow

# A value that is stored once may be in each of the rows.
_BATCH_BYTES, _BATCH_ROWS = 1 << 22, 64
_BUFFER_BYTES = 1 << 18
_FILE_START = b"ARROW1"
# Without it, a reader takes an Arrow stream that breaks off between two batches for a whole one.
_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"


class Table(NamedTuple):
    """A Parquet or Arrow file.

    Attributes:
        names: its columns, those in structs as `outer.inner`.
        columns: the wanted columns that it has.
        row_count: number of rows; None for an Arrow stream, which does not tell.
        rows: a dictionary per row, of the wanted columns: texts (bytes that are not UTF-8 as
            surrogate escapes), days in ISO 8601, other values as in Python; for lists and structs
            only their type, unless all columns are wanted.
    """

    names: list[str]
    columns: list[str]
    row_count: int | None
    rows: Iterator[dict[str, Any]]


def read_table(stream: IO[bytes], name: str, wanted: Sequence[str] | None = None) -> Table:
    """Open a Parquet or Arrow file; None stands for all columns.

    Raises:
        SourceError: the file has a wanted column twice.
        OSError, pyarrow.ArrowException: the file is damaged; while reading rows too.
    """
    schema, row_count, batches = _opened(stream)
    names = list(_names(schema))
    paths = {
        column: path
        for column in (schema.names if wanted is None else wanted)
        if (path := _path_of(schema, column))
    }
    for path in paths.values():
        if (count := schema.names.count(path[0])) > 1:
            raise SourceError(
                f"The file {name!r} has {count} columns {path[0]!r}. Expected one. Rename the "
                "others in the file, or set another column."
            )
    selected = sorted({".".join(path) for path in paths.values()})
    return Table(
        names, list(paths), row_count, _rows(batches(selected), paths, row_count, wanted is None)
    )


def _opened(stream: IO[bytes]) -> tuple["pyarrow.Schema", int | None, Any]:
    """Return schema, number of rows, and a function that reads batches of columns."""
    from pyarrow import ipc, parquet

    start = stream.read(len(_FILE_START))
    if start.startswith(b"PAR1"):
        # With pre-buffering Arrow holds the columns of a whole row group in memory.
        table = parquet.ParquetFile(
            stream, pre_buffer=False, buffer_size=_BUFFER_BYTES, page_checksum_verification=True
        )

        def read(columns: list[str]) -> Iterator["pyarrow.RecordBatch"]:
            for number in range(table.num_row_groups):
                group = table.metadata.row_group(number)
                size = _batch_rows(group.total_byte_size, group.num_rows)
                yield from table.iter_batches(size, row_groups=[number], columns=columns)

        return table.schema_arrow, table.metadata.num_rows, read
    if start == _FILE_START:
        whole = ipc.open_file(stream)
        found = (whole.get_batch(number) for number in range(whole.num_record_batches))
        return whole.schema, None, lambda _: _slices(found)
    stream.seek(-len(_STREAM_END), os.SEEK_END)
    if stream.read() != _STREAM_END:
        raise EOFError("it breaks off, or is no Parquet or Arrow file")
    stream.seek(0)
    opened = ipc.open_stream(stream)
    return opened.schema, None, lambda _: _slices(opened)


def _batch_rows(size: int, rows: int) -> int:
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * rows // max(size, 1)))


def _slices(batches: Iterable["pyarrow.RecordBatch"]) -> Iterator["pyarrow.RecordBatch"]:
    for batch in batches:
        size = _batch_rows(batch.nbytes, batch.num_rows)
        yield from (batch.slice(start, size) for start in range(0, batch.num_rows, size))


def _rows(
    batches: Iterator["pyarrow.RecordBatch"],
    paths: dict[str, tuple[str, ...]],
    row_count: int | None,
    is_whole: bool,
) -> Iterator[dict[str, Any]]:
    from pyarrow import compute

    given = 0
    for batch in batches:
        cells: list[list[Any]] = []
        for first, *inner in paths.values():
            column = batch.column(first)
            for name in inner:
                column = compute.struct_field(column, name)  # pyright: ignore[reportAttributeAccessIssue]
            cells.append(_values(column, is_whole))
        for row in zip(*cells, strict=True):
            yield dict(zip(paths, row, strict=True))
        given += batch.num_rows
    if row_count not in (None, given):
        raise OSError(f"its footer names {row_count} rows, but it has {given}")


def _names(fields: Any, depth: int = 1) -> Iterator[str]:
    """Yield the names of columns as `columns.column_names` does."""
    from pyarrow import types

    for name, kind in zip(fields.names, (field.type for field in fields), strict=True):
        if types.is_struct(kind) and kind.num_fields and depth < MAX_DEPTH:
            yield from (f"{name}.{inner}" for inner in _names(kind, depth + 1))
        else:
            yield name


def _path_of(fields: Any, name: str) -> tuple[str, ...] | None:
    """Return the column and the nested fields that a name leads to; a literal name comes first."""
    from pyarrow import types

    end = len(name)
    while end >= 0:
        outer, rest = name[:end], name[end + 1 :]
        if outer in fields.names:
            kind = fields.field(fields.names.index(outer)).type
            if not rest:
                return (outer,)
            if types.is_struct(kind):
                inner = _path_of(kind, rest)
                return inner and (outer, *inner)
        end = name.rfind(".", 0, end)
    return None


def _values(column: "pyarrow.Array", is_whole: bool) -> list[Any]:
    """Return the cells of a column as `Table.rows` has them."""
    import pyarrow
    from pyarrow import types

    kind = column.type
    if types.is_dictionary(kind):
        return _values(column.cast(kind.value_type), is_whole)
    is_text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    is_bytes = types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
    if is_text or is_bytes:
        # By way of bytes: Parquet does not check that its strings are UTF-8.
        cells = column.cast(pyarrow.large_binary()).to_pylist()
        return [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in cells]
    if types.is_timestamp(kind) or types.is_date(kind):
        return column.cast(pyarrow.date32(), safe=False).cast(pyarrow.string()).to_pylist()
    # Python has no value for some durations and times of day.
    if types.is_temporal(kind) or (types.is_nested(kind) and not is_whole):
        return [[str(kind)] if is_given else None for is_given in column.is_valid().to_pylist()]
    return column.to_pylist()
