"""Rows of a Parquet file, of the named columns, in batches of bounded size.

Does not trust the footer: what a page grows to is read from the page's own header. Does not read
nested columns, which hold no text.
"""

from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from toolformer.sources.compression import CHUNK_BYTES, Allowance
from toolformer.sources.errors import ExpansionError

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet

_MOST_ROWS, _BATCH_BYTES = 1_024, 64 << 20
# Writers end a page at 1 MiB, or after one value; it is decompressed whole.
_LARGEST_PAGE = 256 << 20
# Thrift's compact protocol, in which page headers are written.
_BYTE, _SMALL, _INTEGER, _LONG, _BINARY, _STRUCT = 3, 4, 5, 6, 8, 12
_UNCOMPRESSED_SIZE, _COMPRESSED_SIZE = 2, 3
_DEEPEST_HEADER = 10


def open_parquet(stream: IO[bytes]) -> "parquet.ParquetFile":
    """Opens a file so that a row group's columns are not held whole.

    Raises:
        pyarrow.ArrowException, OSError: it is no Parquet file.
    """
    from pyarrow import parquet

    return parquet.ParquetFile(stream, pre_buffer=False, buffer_size=CHUNK_BYTES)


def read_rows(
    table: "parquet.ParquetFile", stream: IO[bytes], columns: list[str], allowance: Allowance
) -> Iterator[tuple[Any, ...]]:
    """Yields the cells of each row in the order of `columns`.

    Raises:
        ExpansionError: a page grows beyond what is allowed.
        EOFError, OSError: the file is damaged; the latter without a number.
        pyarrow.ArrowException: likewise.
    """
    from pyarrow import types

    nested = {
        field.name
        for field in map(table.schema_arrow.field, columns)
        if types.is_nested(field.type)
    }
    flat = [name for name in columns if name not in nested]
    for group in range(table.num_row_groups):
        if table.metadata.row_group(group).num_rows == 0:
            continue
        largest = _check_pages(table.metadata.row_group(group), stream, flat, allowance)
        # A value, once a page or its dictionary is decoded, is at most as long as that.
        rows = max(1, min(_MOST_ROWS, _BATCH_BYTES // largest))
        for batch in table.iter_batches(batch_size=rows, row_groups=[group], columns=flat):
            cells = [
                [[str(table.schema_arrow.field(name).type)]] * batch.num_rows
                if name in nested
                else _values(batch.column(name))
                for name in columns
            ]
            yield from zip(*cells, strict=True)


def _check_pages(
    group: "parquet.RowGroupMetaData", stream: IO[bytes], columns: list[str], allowance: Allowance
) -> int:
    """Bytes of the largest page of the columns, decompressed; at least 1."""
    largest = 1
    for chunk in map(group.column, range(group.num_columns)):
        if chunk.path_in_schema not in columns:
            continue
        place = chunk.data_page_offset
        if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < place:
            place = chunk.dictionary_page_offset
        end = place + chunk.total_compressed_size
        while place < end:
            stream.seek(place)
            header = _header(stream)
            size = header.get(_UNCOMPRESSED_SIZE, -1)
            stored = header.get(_COMPRESSED_SIZE, -1)
            if size < 0 or stored < 0:
                raise OSError("the header of a Parquet page has no size")
            if size > _LARGEST_PAGE:
                raise ExpansionError(
                    f"A Parquet page of {stored:,} bytes grows to {size:,}. Expected at most "
                    f"{_LARGEST_PAGE:,}. Write the file again with pages of about a megabyte"
                )
            allowance.read(size)
            largest = max(largest, size)
            place = stream.tell() + stored
    return largest


def _header(stream: IO[bytes], depth: int = 0) -> dict[int, int]:
    """Reads a structure of a page header: its whole numbers by field."""
    numbers: dict[int, int] = {}
    field = 0
    while (head := _byte(stream)) & 15:
        field = field + (head >> 4) if head >> 4 else _signed(stream)
        kind = head & 15
        if kind in (_SMALL, _INTEGER, _LONG):
            numbers[field] = _signed(stream)
        elif kind == _BINARY:
            stream.seek(_unsigned(stream), 1)
        elif kind == _STRUCT and depth < _DEEPEST_HEADER:
            _header(stream, depth + 1)
        elif kind == _BYTE:
            _byte(stream)
        elif kind > _BYTE:
            raise OSError("the header of a Parquet page is damaged")
    return numbers


def _byte(stream: IO[bytes]) -> int:
    if byte := stream.read(1):
        return byte[0]
    raise EOFError("the Parquet file ends within a page")


def _unsigned(stream: IO[bytes]) -> int:
    number = 0
    for shift in range(0, 70, 7):
        byte = _byte(stream)
        number |= (byte & 127) << shift
        if byte < 128:
            return number
    raise OSError("the header of a Parquet page is damaged")


def _signed(stream: IO[bytes]) -> int:
    number = _unsigned(stream)
    return number >> 1 ^ -(number & 1)


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
