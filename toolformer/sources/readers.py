"""Raw records of a source, one at a time.

Does not parse them, and does not stop for a damaged file: what comes before the damage is used.
"""

import codecs
import json
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import IO, TYPE_CHECKING, Any
from xml.etree import ElementTree

from toolformer.sources.compression import ByteStream, decompressed
from toolformer.sources.errors import SourceError
from toolformer.sources.files import SourceFile, list_files, open_stored, unreadable
from toolformer.sources.records import (
    DAMAGED_SOURCE,
    TOO_LONG,
    TRUNCATED_SOURCE,
    RawRecord,
    excerpt_of,
)
from toolformer.sources.source import RecordLayout, Source, SourceFormat
from toolformer.sources.wikipedia_dump import read_pages

if TYPE_CHECKING:
    import pyarrow

CHECKED_RECORDS = 100

# A line holds more than its text: other columns, and up to six bytes for an escaped character.
_LINE_BYTES_PER_TEXT_BYTE = 8
_EXCERPT_BYTES = 4_096
_ROWS_PER_BATCH = 1_024
# What expat reports where a well-formed document just stops.
_XML_STOPS = frozenset({3, 4, 5})


def read_raw_records(source: Source, files: list[SourceFile] | None = None) -> Iterator[RawRecord]:
    """Yields the raw records of all files of a source, at most `source.limit`.

    Args:
        source: what to read.
        files: its files where they have been listed already.

    Raises:
        SourceError: on the first step, when the source is missing, unreadable or empty or has no
            text column; later, when the disk or the network fails or a further Parquet file has
            no text column.
    """
    files = list_files(source) if files is None else files
    check_first_records(source, files)
    layout = source.layout(files[0].format)
    records = (record for file in files for record in read_file(file, layout))
    yield from islice(records, source.limit)


def check_first_records(source: Source, files: list[SourceFile]) -> None:
    """Checks that the first records have the text column, before anything is cut.

    Raises:
        SourceError: empty, unreadable, or the text column is in none of the first 100 records.
    """
    layout = source.layout(files[0].format)
    checked, failed, columns = 0, None, dict[str, None]()
    records = (record for file in files for record in read_file(file, layout))
    for record in islice(records, CHECKED_RECORDS):
        if record.reason in (TRUNCATED_SOURCE, DAMAGED_SOURCE):
            failed = record
            continue
        if layout.format == "text" and isinstance(record.raw, str) and not record.raw.strip():
            continue
        checked += 1
        if layout.format != "jsonl":
            return
        columns |= dict.fromkeys(_columns_of(record))
        if layout.text_column in columns:
            return
    if checked:
        raise _no_text_column(source, layout, list(columns), checked)
    if failed is not None:
        raise SourceError(
            f"The source {source.path!r} cannot be read: {failed.raw} Expected a complete "
            f"{layout.format} file. Fetch or write the file again, or name its format."
        )
    raise SourceError(
        f"The source {source.path!r} is empty: no record in {len(files)} file(s). Expected at "
        f"least one {layout.format} record. Check that the file was written to its end."
    )


def read_file(file: SourceFile, layout: RecordLayout) -> Iterator[RawRecord]:
    """Yields the raw records of one file.

    Where the data stop in the middle or are damaged, the last record says so in its `reason`.

    Raises:
        SourceError: the disk or the network fails, or a Parquet file has no text column.
    """
    offset = 0
    try:
        with open_stored(file) as stream:
            for record in _READERS[layout.format](file, stream, layout):
                yield record
                offset = record.offset + 1
    except EOFError as error:
        yield _failed(file, offset, TRUNCATED_SOURCE, error)
    except ElementTree.ParseError as error:
        reason = TRUNCATED_SOURCE if error.code in _XML_STOPS else DAMAGED_SOURCE
        yield _failed(file, offset, reason, error)
    except zlib.error as error:
        yield _failed(file, offset, DAMAGED_SOURCE, error)
    except OSError as error:
        # Decompressors and Arrow raise OSError without a number for what is wrong in the data.
        if error.errno is not None:
            raise unreadable(file.name, error) from error
        yield _failed(file, offset, DAMAGED_SOURCE, error)


def _failed(file: SourceFile, offset: int, reason: str, error: Exception) -> RawRecord:
    explanation = f"{file.name}: {error}." if str(error) else f"{file.name}: {reason}."
    return RawRecord(file.name, offset, excerpt_of(explanation), reason)


def _read_lines(file: SourceFile, stream: IO[bytes], layout: RecordLayout) -> Iterator[RawRecord]:
    longest = layout.maximum_text_bytes * _LINE_BYTES_PER_TEXT_BYTE
    for offset, (line, is_complete) in enumerate(_lines(decompressed(stream, file.path), longest)):
        if offset == 0:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not is_complete:
            excerpt = line[:_EXCERPT_BYTES].decode("utf-8", "replace")
            yield RawRecord(file.name, offset, excerpt_of(excerpt), TOO_LONG)
        elif line.strip():
            raw = line.rstrip(b"\r").decode("utf-8", "surrogateescape")
            yield RawRecord(file.name, offset, raw)


def _lines(stream: ByteStream, longest: int) -> Iterator[tuple[bytes, bool]]:
    """Yields lines without their end; of a line over `longest` bytes the beginning, and False."""
    pieces: list[bytes] = []
    size = 0
    while chunk := stream.read():
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            yield b"".join((*pieces, end)), size + len(end) <= longest
            pieces, size = [], 0
        size += len(rest)
        if size <= longest or not pieces:
            pieces.append(rest)
    if size:
        yield b"".join(pieces), size <= longest


def _read_text(file: SourceFile, stream: IO[bytes], layout: RecordLayout) -> Iterator[RawRecord]:
    decompressing = decompressed(stream, file.path)
    pieces: list[bytes] = []
    size = 0
    while size <= layout.maximum_text_bytes and (chunk := decompressing.read()):
        pieces.append(chunk)
        size += len(chunk)
    content = b"".join(pieces).removeprefix(codecs.BOM_UTF8)
    if size > layout.maximum_text_bytes:
        excerpt = content[:_EXCERPT_BYTES].decode("utf-8", "replace")
        yield RawRecord(file.name, 0, excerpt_of(excerpt), TOO_LONG)
    else:
        yield RawRecord(file.name, 0, content.decode("utf-8", "surrogateescape"))


def _read_dump(file: SourceFile, stream: IO[bytes], layout: RecordLayout) -> Iterator[RawRecord]:
    for offset, page in enumerate(read_pages(decompressed(stream, file.path))):
        if len(page["text"]) > layout.maximum_text_bytes:
            yield RawRecord(file.name, offset, excerpt_of(page["text"]), TOO_LONG)
        else:
            yield RawRecord(file.name, offset, page)


def _read_rows(file: SourceFile, stream: IO[bytes], layout: RecordLayout) -> Iterator[RawRecord]:
    import pyarrow
    from pyarrow import parquet

    try:
        # Without the read-ahead a row group's columns are not held whole.
        table = parquet.ParquetFile(stream, pre_buffer=False)
        present = table.schema_arrow.names
        if layout.text_column not in present:
            raise _no_text_column(file.name, layout, present, table.metadata.num_rows)
        columns = [name for name in layout.columns if name in present]
        offset = 0
        for batch in table.iter_batches(batch_size=_ROWS_PER_BATCH, columns=columns):
            values = [_values(batch.column(name)) for name in columns]
            for row in zip(*values, strict=True):
                yield RawRecord(file.name, offset, dict(zip(columns, row, strict=True)))
                offset += 1
    except pyarrow.ArrowException as error:
        raise OSError(str(error)) from error


def _values(column: "pyarrow.Array") -> list[Any]:
    """The cells as JSON values: text as it is, days as ISO text, numbers; others as text."""
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
    return [None if cell is None else [str(cell)] for cell in column.to_pylist()]


_READERS: dict[
    SourceFormat, Callable[[SourceFile, IO[bytes], RecordLayout], Iterator[RawRecord]]
] = {
    "jsonl": _read_lines,
    "parquet": _read_rows,
    "text": _read_text,
    "wikipedia-dump": _read_dump,
}


def _columns_of(record: RawRecord) -> list[str]:
    try:
        row = json.loads(record.raw) if isinstance(record.raw, str) else record.raw
    except (ValueError, RecursionError):
        return []
    return list(row) if isinstance(row, dict) else []


def _no_text_column(
    source: Source | str, layout: RecordLayout, present: list[str], checked: int
) -> SourceError:
    name = source if isinstance(source, str) else source.path
    if not present:
        return SourceError(
            f"None of the first {checked} lines of {name!r} is a JSON object. Expected one object "
            f"per line with the text in {layout.text_column!r}. An array or a pretty-printed file "
            "must be rewritten so, one object on each line (jq -c '.[]' does it)."
        )
    shown = ", ".join(present[:20]) + (", …" if len(present) > 20 else "")
    return SourceError(
        f"The source {name!r} has no column {layout.text_column!r} in its first {checked} "
        f"record(s). Its columns are: {shown}. Set text_column to the one that holds the text."
    )
