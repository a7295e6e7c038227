"""Raw records of a source, one at a time.

Does not parse them, and does not stop for a damaged file: what comes before the damage is used.
"""

import codecs
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from typing import IO
from xml.etree import ElementTree

from toolformer.sources.addresses import unreadable
from toolformer.sources.compression import (
    Allowance,
    ByteStream,
    decompressed,
    usual_file_bytes,
)
from toolformer.sources.errors import ExpansionError, PagelessError, SourceError
from toolformer.sources.files import SourceFile, list_files, open_stored
from toolformer.sources.parquet_rows import open_parquet, read_rows
from toolformer.sources.reasons import (
    DAMAGED_SOURCE,
    DECOMPRESSION_LIMIT,
    TOO_LONG,
    TRUNCATED_SOURCE,
    UNREADABLE,
    XML_WITHOUT_PAGES,
)
from toolformer.sources.records import RawRecord, excerpt_of, has_too_many_values
from toolformer.sources.source import RecordLayout, Source, SourceFormat
from toolformer.sources.web_archives import read_web_archive
from toolformer.sources.wikipedia_dump import read_pages

CHECKED_RECORDS = 100

# A line holds more than its text: other columns, and up to six bytes for an escaped character.
_LINE_BYTES_PER_TEXT_BYTE = 8
_EXCERPT_BYTES = 4_096
_NOT_BLANK = re.compile(rb"\S[^\n]*")
# What a record costs beside its text: in its slice, as a row, in time.
_RECORD_BYTES = 500
# What expat reports where a well-formed document just stops.
_XML_STOPS = frozenset({3, 4, 5})


def read_raw_records(source: Source, files: list[SourceFile] | None = None) -> Iterator[RawRecord]:
    """Yields the raw records of all files of a source, at most `source.limit`.

    Args:
        source: what to read.
        files: its files where they have been listed already.

    Raises:
        SourceError: on the first step, when the source is missing, unreadable or empty or has no
            column for the text or for a context; later, when the disk or the network fails or a
            further Parquet file has no such column.
    """
    files = list_files(source) if files is None else files
    check_first_records(source, files)
    layout = source.layout(files[0].format)
    records = (
        record for file in files for record in read_file(file, layout, source.maximum_file_bytes)
    )
    yield from islice(records, source.limit)


def check_first_records(source: Source, files: list[SourceFile]) -> None:
    """Checks that the first records have the columns they must have, before anything is cut.

    Raises:
        SourceError: empty, unreadable, or the column of the text, or of a context that is named,
            is in none of the first 100 records.
    """
    layout = source.layout(files[0].format)
    checked, failed, columns = 0, None, dict[str, None]()
    records = (
        record for file in files for record in read_file(file, layout, source.maximum_file_bytes)
    )
    for record in islice(records, CHECKED_RECORDS):
        if record.reason in UNREADABLE:
            failed = record
            continue
        if layout.format == "text" and isinstance(record.raw, str) and not record.raw.strip():
            continue
        checked += 1
        if layout.format != "jsonl":
            return
        columns |= dict.fromkeys(_columns_of(record))
        if columns.keys() >= set(layout.required_columns.values()):
            return
    if checked:
        raise _no_column(source, layout, list(columns), checked)
    if failed is not None:
        raise SourceError(
            f"The source {source.path!r} cannot be read: {failed.raw} Expected a complete "
            f"{layout.format} file. Fetch or write the file again, or name its format."
        )
    raise SourceError(
        f"The source {source.path!r} is empty: no record in {len(files)} file(s). Expected at "
        f"least one {layout.format} record. Check that the file was written to its end."
    )


def read_file(
    file: SourceFile, layout: RecordLayout, maximum_file_bytes: int | None
) -> Iterator[RawRecord]:
    """Yields the raw records of one file.

    Where the data stop in the middle, are damaged or grow beyond the limit, the last record says
    so in its `reason`.

    Raises:
        SourceError: the disk or the network fails, or a Parquet file has no column for the text or
            for a context.
    """
    offset = 0
    try:
        with open_stored(file) as stream:
            for record in _READERS[layout.format](file, stream, layout, maximum_file_bytes):
                yield record
                offset = record.offset + 1
    except EOFError as error:
        yield _failed(file, offset, TRUNCATED_SOURCE, error)
    except ElementTree.ParseError as error:
        reason = TRUNCATED_SOURCE if error.code in _XML_STOPS else DAMAGED_SOURCE
        yield _failed(file, offset, reason, error)
    except ExpansionError as error:
        yield _failed(file, offset, DECOMPRESSION_LIMIT, error)
    except PagelessError as error:
        yield _failed(file, offset, XML_WITHOUT_PAGES, error)
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


def _read_lines(
    file: SourceFile, stream: IO[bytes], layout: RecordLayout, maximum_file_bytes: int | None
) -> Iterator[RawRecord]:
    longest = layout.maximum_text_bytes * _LINE_BYTES_PER_TEXT_BYTE
    lines = decompressed(stream, file.path, maximum_file_bytes)
    for offset, line, is_complete in _lines(lines, longest):
        lines.allowance.spend(_RECORD_BYTES)
        if offset == 0:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not is_complete:
            excerpt = line[:_EXCERPT_BYTES].decode("utf-8", "replace")
            yield RawRecord(file.name, offset, excerpt_of(excerpt), TOO_LONG)
        elif line.strip():
            raw = line.rstrip(b"\r").decode("utf-8", "surrogateescape")
            yield RawRecord(file.name, offset, raw)


def _lines(stream: ByteStream, longest: int) -> Iterator[tuple[int, bytes, bool]]:
    """Yields lines that are not blank, without their end, and their numbers from 0.

    Of a line over `longest` bytes the beginning comes, with False. A blank line costs nothing.
    """
    number, pieces, size = 0, list[bytes](), 0
    while chunk := stream.read():
        end, newline, chunk = chunk.partition(b"\n")
        size += len(end)
        if size <= longest or not pieces:
            pieces.append(end)
        if not newline:
            continue
        yield number, b"".join(pieces), size <= longest
        number += 1
        whole, newline, rest = chunk.rpartition(b"\n")
        place = 0
        for found in _NOT_BLANK.finditer(whole):
            number += whole.count(b"\n", place, found.start())
            line = whole[whole.rfind(b"\n", place, found.start()) + 1 : found.end()]
            yield number, line, len(line) <= longest
            place = found.end()
        number += whole.count(b"\n", place) + len(newline)
        pieces, size = [rest], len(rest)
    yield number, b"".join(pieces), size <= longest


def _read_text(
    file: SourceFile, stream: IO[bytes], layout: RecordLayout, maximum_file_bytes: int | None
) -> Iterator[RawRecord]:
    decompressing = decompressed(stream, file.path, maximum_file_bytes)
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


def _read_dump(
    file: SourceFile, stream: IO[bytes], layout: RecordLayout, maximum_file_bytes: int | None
) -> Iterator[RawRecord]:
    xml = decompressed(stream, file.path, maximum_file_bytes)
    pages = read_pages(xml, maximum_text_bytes=layout.maximum_text_bytes)
    for offset, page in enumerate(pages):
        xml.allowance.spend(_RECORD_BYTES)
        if len(page["text"]) > layout.maximum_text_bytes:
            yield RawRecord(file.name, offset, excerpt_of(page["text"]), TOO_LONG)
        else:
            yield RawRecord(file.name, offset, page)


def _read_web_archive(
    file: SourceFile, stream: IO[bytes], layout: RecordLayout, maximum_file_bytes: int | None
) -> Iterator[RawRecord]:
    archive = decompressed(stream, file.path, maximum_file_bytes)
    for found in read_web_archive(archive, maximum_text_bytes=layout.maximum_text_bytes):
        archive.allowance.spend(_RECORD_BYTES)
        if found.reason is not None:
            yield RawRecord(file.name, found.number, excerpt_of(found.url), found.reason)
        else:
            raw = {"text": found.text, "url": found.url, "date": found.date}
            yield RawRecord(file.name, found.number, raw)


def _read_rows(
    file: SourceFile, stream: IO[bytes], layout: RecordLayout, maximum_file_bytes: int | None
) -> Iterator[RawRecord]:
    import pyarrow

    longest = layout.maximum_text_bytes * _LINE_BYTES_PER_TEXT_BYTE
    stored = stream.seek(0, os.SEEK_END)
    allowance = Allowance(stream, maximum_file_bytes or usual_file_bytes(stored))
    try:
        table = open_parquet(stream)
        present = table.schema_arrow.names
        rows = table.metadata.num_rows
        if rows and not set(layout.required_columns.values()) <= set(present):
            raise _no_column(file.name, layout, present, rows)
        columns = [name for name in layout.columns if name in present]
        for name in columns:
            if present.count(name) > 1:
                raise SourceError(
                    f"The Parquet file {file.name!r} has {present.count(name)} columns {name!r}. "
                    "Expected one. Rename the others in the file, or set another column."
                )
        for offset, row in enumerate(read_rows(table, columns, allowance)):
            size = sum(len(cell) for cell in row if isinstance(cell, str))
            allowance.spend(_RECORD_BYTES + size)
            if size > longest:
                yield RawRecord(file.name, offset, excerpt_of(row[0]), TOO_LONG)
            else:
                yield RawRecord(file.name, offset, dict(zip(columns, row, strict=True)))
    # Names of columns need not be UTF-8.
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise OSError(str(error)) from error


_READERS: dict[
    SourceFormat,
    Callable[[SourceFile, IO[bytes], RecordLayout, int | None], Iterator[RawRecord]],
] = {
    "jsonl": _read_lines,
    "parquet": _read_rows,
    "text": _read_text,
    "wikipedia-dump": _read_dump,
    "warc": _read_web_archive,
}


def _columns_of(record: RawRecord) -> list[str]:
    if isinstance(record.raw, str) and has_too_many_values(record.raw):
        return []
    try:
        row = json.loads(record.raw) if isinstance(record.raw, str) else record.raw
    except (ValueError, RecursionError):
        return []
    return list(row) if isinstance(row, dict) else []


def _no_column(
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
    held, column = next(
        (held, column) for held, column in layout.required_columns.items() if column not in present
    )
    return SourceError(
        f"The source {name!r} has no column {column!r} in its first {checked} record(s). Its "
        f"columns are: {shown}. Set {held}_column to the one that holds the {held}."
    )
