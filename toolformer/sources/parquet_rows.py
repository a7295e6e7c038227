"""Rows of a Parquet file, of the named columns, a few at a time.

What a row group grows to is taken from the footer, and what its rows hold is counted as they come.
A footer that lies can make Arrow hold a page of up to 2 GiB, the largest there is. Does not read
nested columns, which hold no text.
"""

from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from toolformer.sources.compression import CHUNK_BYTES, Allowance

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet

# Each row of a batch may repeat a long value that is stored once, so batches have few rows.
_BATCH_ROWS = 4


def open_parquet(stream: IO[bytes]) -> "parquet.ParquetFile":
    """Opens a file so that a row group's columns are not held whole.

    Raises:
        pyarrow.ArrowException, OSError: it is no Parquet file.
    """
    from pyarrow import parquet

    return parquet.ParquetFile(stream, pre_buffer=False, buffer_size=CHUNK_BYTES)


def read_rows(
    table: "parquet.ParquetFile", columns: list[str], allowance: Allowance
) -> Iterator[tuple[Any, ...]]:
    """Yields the cells of each row in the order of `columns`.

    Raises:
        ExpansionError: a row group grows beyond what is allowed; it is not read.
        OSError: without a number, the file is damaged; or the stream says so.
        pyarrow.ArrowException: likewise.
    """
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
