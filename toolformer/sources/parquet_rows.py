"""Rows of a Parquet file, of the named columns, a few at a time.

What a row group grows to is taken from the footer, and what its rows hold is counted as they come.
A footer that lies can make Arrow hold a page of up to 2 GiB, the largest there is. The metadata of
single columns are left alone: where they are damaged, `RowGroupMetaData.column` ends the process.
"""

import os
from collections.abc import Container, Iterator, Mapping
from itertools import count
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from toolformer.sources.columns import MAX_DEPTH, MISSING, value_at
from toolformer.sources.compression import CHUNK_BYTES, RECORD_BYTES, Allowance, usual_file_bytes
from toolformer.sources.errors import DamageError, ExpansionError, SourceError
from toolformer.sources.records import (
    LINE_BYTES_PER_TEXT_BYTE,
    RawRecord,
    damaged_record,
    excerpt_of,
    missing_column_error,
)
from toolformer.sources.source import Source

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet

# Each row of a batch may repeat a long value that is stored once, so batches have few rows.
_BATCH_ROWS = 4


class _Column(NamedTuple):
    """Where values lie: a column of the file, the fields in it, and the name within their text."""

    path: tuple[str, ...]
    rest: str


def read_rows(name: str, stream: IO[bytes], source: Source) -> Iterator[RawRecord]:
    """Yields the rows of a Parquet file, with those of the source's columns that it has.

    A row group that gives fewer rows than the footer tells of gives a damaged record, and reading
    goes on at the next.

    Raises:
        SourceError: a required column is missing, or a column is there twice.
        ExpansionError: a row group grows beyond what is allowed; it is not read.
        OSError: without a number, the footer is damaged; or the stream says so.
    """
    import pyarrow
    from pyarrow import parquet

    stored = stream.seek(0, os.SEEK_END)
    most_bytes = source.maximum_file_bytes or usual_file_bytes(stored)
    allowance = Allowance(stream, most_bytes)
    # Whoever reads the rows comes no further.
    most_rows = most_bytes // RECORD_BYTES
    try:
        # Without the first two settings Arrow holds the columns of a row group whole.
        table = parquet.ParquetFile(
            stream, pre_buffer=False, buffer_size=CHUNK_BYTES, page_checksum_verification=True
        )
        columns = _columns_of(table, name, source)
        groups = [table.metadata.row_group(number) for number in range(table.num_row_groups)]
        rows, counts = table.metadata.num_rows, [group.num_rows for group in groups]
        if min(counts, default=0) < 0 or sum(counts) != rows:
            raise OSError(f"its footer tells of {rows} rows, and of {sum(counts)} in row groups")
        paths = sorted({".".join(column.path) for column in columns.values()})
        first = 0
        for number, group in enumerate(groups):
            given, wrong = 0, "they are not there"
            try:
                allowance.check(group.total_byte_size)
                if _lacks_values(table, number, paths, Allowance(stream, most_bytes), most_rows):
                    raise OSError("a column lacks values, so that the others are of no known row")
                numbers = count(first)
                for record in _records_of(
                    table, number, paths, columns, allowance, name, source, numbers
                ):
                    yield record
                    given += 1
            except (OSError, pyarrow.ArrowException) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                wrong = str(error)
            lost = group.num_rows - given
            if lost > 0:
                message = f"{lost} of {group.num_rows} rows of row group {number} are lost: {wrong}"
                # Their part of the file.
                damage = DamageError(message, -(-stored * lost // rows))
                yield damaged_record(name, first + given, damage)
            first += group.num_rows
    # Names of columns need not be UTF-8.
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise OSError(str(error)) from error


def _lacks_values(
    table: "parquet.ParquetFile",
    group_number: int,
    paths: list[str],
    allowance: Allowance,
    most_rows: int,
) -> bool:
    """Whether a column ends before the others, without an error: its values are of other rows."""
    import pyarrow

    expected = min(table.metadata.row_group(group_number).num_rows, most_rows)
    for path in paths:
        # By itself: together, columns give rows until one of them ends.
        batches = table.iter_batches(_BATCH_ROWS, row_groups=[group_number], columns=[path])
        found = 0
        try:
            while found < expected and (batch := next(batches, None)) is not None:
                allowance.spend(batch.nbytes)
                found += len(batch)
        # Whoever reads the rows is told.
        except (OSError, pyarrow.ArrowException, ExpansionError):
            continue
        if found < expected:
            return True
    return False


def _records_of(
    table: "parquet.ParquetFile",
    group_number: int,
    paths: list[str],
    columns: Mapping[str, _Column],
    allowance: Allowance,
    name: str,
    source: Source,
    numbers: Iterator[int],
) -> Iterator[RawRecord]:
    """The rows of a row group."""
    longest = source.maximum_text_bytes * LINE_BYTES_PER_TEXT_BYTE
    read = {column.path[0] for column in columns.values()}
    unread = tuple(_names(table.schema_arrow, read))
    for batch in table.iter_batches(_BATCH_ROWS, row_groups=[group_number], columns=paths):
        cells = [_cells(batch, column) for column in columns.values()]
        for row in zip(*cells, strict=True):
            size = sum(len(cell) for cell in row if isinstance(cell, str))
            allowance.spend(RECORD_BYTES + size)
            if size > longest:
                yield RawRecord(name, next(numbers), excerpt_of(row[0]), "too_long")
                continue
            named = zip(columns.items(), row, strict=True)
            values = {
                key: value_at(cell, column.rest) if column.rest and cell is not None else cell
                for (key, column), cell in named
            }
            given = {key: value for key, value in values.items() if value is not MISSING}
            yield RawRecord(name, next(numbers), given, unread=unread)


def _columns_of(table: "parquet.ParquetFile", name: str, source: Source) -> dict[str, _Column]:
    """The source's columns that the file has, by name."""
    present, rows = table.schema_arrow.names, table.metadata.num_rows
    columns = {}
    for content, column in source.columns_of.items():
        found = _found(table.schema_arrow, column)
        if found is not None:
            columns[column] = found
        elif rows and content in source.required_columns:
            raise missing_column_error(name, source, content, _names(table.schema_arrow), rows)
    for column in columns.values():
        if present.count(column.path[0]) > 1:
            raise SourceError(
                f"The Parquet file {name!r} has {present.count(column.path[0])} columns "
                f"{column.path[0]!r}. Expected one. Rename the others in the file, or set another "
                "column."
            )
    return columns


def _names(fields: Any, read: Container[str] = (), depth: int = 1) -> Iterator[str]:
    """The names of columns as for JSON (`columns.column_names`), but for those that are read."""
    from pyarrow import types

    for name, kind in zip(fields.names, (field.type for field in fields), strict=True):
        if name in read:
            continue
        if types.is_struct(kind) and kind.num_fields and depth < MAX_DEPTH:
            yield from (f"{name}.{inner}" for inner in _names(kind, depth=depth + 1))
        else:
            yield name


def _found(fields: Any, name: str) -> _Column | None:
    """Looks a name up in a schema or structure, in which a name written like it comes first."""
    from pyarrow import types

    end = len(name)
    while end >= 0:
        outer, rest = name[:end], name[end + 1 :]
        if outer in fields.names:
            kind = fields.field(fields.names.index(outer)).type
            if types.is_struct(kind) and rest:
                inner = _found(kind, rest)
                return inner and _Column((outer, *inner.path), inner.rest)
            if not rest or _is_text(kind):
                return _Column((outer,), rest)
        end = name.rfind(".", 0, end)
    return None


def _cells(batch: "pyarrow.RecordBatch", column: _Column) -> list[Any]:
    from pyarrow import compute

    cells = batch.column(column.path[0])
    for inner in column.path[1:]:
        cells = compute.struct_field(cells, inner)  # pyright: ignore[reportAttributeAccessIssue]
    return _values(cells)


def _is_text(kind: "pyarrow.DataType") -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _values(column: "pyarrow.Array") -> list[Any]:
    """The cells as JSON values: text as it is, days as ISO text, numbers; of others the type."""
    import pyarrow
    from pyarrow import types

    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    is_bytes = types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)
    if _is_text(kind) or is_bytes:
        # By way of bytes: Parquet does not check that its strings are UTF-8.
        cells = column.cast(pyarrow.large_binary()).to_pylist()
        return [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in cells]
    if types.is_timestamp(kind) or types.is_date(kind):
        return column.cast(pyarrow.date32(), safe=False).cast(pyarrow.string()).to_pylist()
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return column.to_pylist()
    # Python has no value for some durations and times of day.
    return [[str(kind)] if is_given else None for is_given in column.is_valid().to_pylist()]
