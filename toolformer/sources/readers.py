"""Raw records of a source, one at a time; of a damaged file those before and after the damage."""

import codecs
import html
import io
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, count, islice
from typing import IO, Any

from toolformer.base.named_files import IS_POINTER, POINTER_START
from toolformer.sources.addresses import unreadable
from toolformer.sources.columns import MISSING, column_names, value_at
from toolformer.sources.compression import CHUNK_BYTES, RECORD_BYTES, ByteStream, decompressed
from toolformer.sources.errors import DamageError, ExpansionError, SourceError
from toolformer.sources.files import SourceFile, open_stored
from toolformer.sources.parquet_rows import read_rows
from toolformer.sources.reasons import UNREADABLE, Reason
from toolformer.sources.records import (
    LINE_BYTES_PER_TEXT_BYTE,
    RawRecord,
    damaged_record,
    excerpt_of,
    missing_column_error,
    row_of,
)
from toolformer.sources.source import FORMATS_WITH_COLUMNS, Source
from toolformer.sources.web_archives import read_web_archive
from toolformer.sources.wikipedia_dump import read_pages

CHECKED_RECORDS = 100

_EXCERPT_BYTES = 4_096
_ARTICLE = re.compile(
    rb'<doc id="[^"]*"(?: revid="[^"]*")? url="(?P<url>[^"]*)" title="(?P<title>.*)">\s*$'
)


def read_raw_records(source: Source, files: list[SourceFile]) -> Iterator[RawRecord]:
    """Yields the raw records of the files of a source, at most `source.limit`.

    Args:
        source: with the format of its files.
        files: as `list_files` gives them.

    Raises:
        SourceError: on the first step, when the source is unreadable or empty, has no column for
            the text or for a context, or no record has a column that it names; later, when the
            disk or the network fails or a further Parquet file has no text.
    """
    # Read twice, since a hundred records may take more memory than there is.
    _check(source, files)
    yield from islice(_records(source, files), source.limit)


def _records(
    source: Source, files: list[SourceFile], per_file: int | None = None
) -> Iterator[RawRecord]:
    return chain.from_iterable(islice(_records_of(file, source), per_file) for file in files)


def _check(source: Source, files: list[SourceFile]) -> None:
    """Checks that there are records with the columns they must have, before anything is cut.

    A required column is in the first hundred; a further one that is named may come late. All rows
    of a Parquet file have the same columns.
    """
    per_file = CHECKED_RECORDS if source.format == "parquet" else None
    most = source.limit and max(source.limit, CHECKED_RECORDS)
    missing = dict(source.named_columns)
    checked, first, failed, columns = 0, None, None, dict[str, None]()
    for number, record in enumerate(islice(_records(source, files, per_file), most), 1):
        if record.reason in UNREADABLE:
            failed = record
        elif source.format in FORMATS_WITH_COLUMNS:
            checked += 1
            first = first or record.raw
            found = row_of(record)
            row = found if isinstance(found, Mapping) else {}
            for content in [
                each for each in missing if value_at(row, missing[each]) is not MISSING
            ]:
                del missing[content]
            if number <= CHECKED_RECORDS:
                columns |= dict.fromkeys([*column_names(row), *record.unread])
            if not missing:
                return
        elif source.format != "text" or not isinstance(record.raw, str) or record.raw.strip():
            return
        if number >= CHECKED_RECORDS and (
            not missing or missing.keys() & source.required_columns.keys()
        ):
            break
    if checked:
        content = next(iter(missing))
        raise missing_column_error(source.path, source, content, columns, checked, first)
    raise _no_records_error(source, len(files), failed)


def _no_records_error(source: Source, files: int, failed: RawRecord | None) -> SourceError:
    if failed is not None:
        return SourceError(
            f"The source {source.path!r} cannot be read: {failed.raw} Expected a complete "
            f"{source.format} file. Fetch or write the file again, or name its format."
        )
    return SourceError(
        f"The source {source.path!r} is empty: no record in {files} file(s). Expected at "
        f"least one {source.format} record. Check that the file was written to its end."
    )


def _records_of(file: SourceFile, source: Source) -> Iterator[RawRecord]:
    """Yields the raw records of one file.

    Where the data stop in the middle, are damaged or grow beyond the limit, the last record says
    so in its `reason`.
    """
    offset = 0
    try:
        with open_stored(file) as stored:
            for record in _read(file, stored, source):
                yield record
                offset = record.offset + 1
    except (EOFError, ExpansionError, OSError) as error:
        # Decompressors and Arrow raise OSError without a number for what is wrong in the data.
        if isinstance(error, OSError) and error.errno is not None:
            raise unreadable(file.name, error) from error
        if isinstance(error, DamageError):
            yield damaged_record(file.name, offset, error)
            return
        reason = _reason_of(error)
        explanation = f"{file.name}: {str(error) or reason}."
        yield RawRecord(file.name, offset, excerpt_of(explanation), reason)


def _reason_of(error: Exception) -> Reason:
    if isinstance(error, ExpansionError):
        return "decompression_limit"
    return "truncated_source" if isinstance(error, EOFError) else "damaged_source"


def _read(file: SourceFile, stored: Any, source: Source) -> Iterator[RawRecord]:
    if stored.peek(len(POINTER_START)).startswith(POINTER_START):
        raise OSError(IS_POINTER)
    if file.format == "parquet":
        yield from read_rows(file.name, stored, source)
        return
    content = decompressed(stored, file.path, source.maximum_file_bytes)
    for record in _READERS[file.format](file.name, content, source):
        content.allowance.spend(RECORD_BYTES)
        yield record


def _read_lines(name: str, content: ByteStream, source: Source) -> Iterator[RawRecord]:
    longest = source.maximum_text_bytes * LINE_BYTES_PER_TEXT_BYTE
    lines = io.BufferedReader(content, CHUNK_BYTES)
    for offset in count():
        try:
            line = end = lines.readline(longest + 1)
            while not end.endswith(b"\n") and (end := lines.readline(CHUNK_BYTES)):
                pass
        except DamageError as error:
            # The line that was begun is lost with it.
            yield damaged_record(name, offset, error)
            continue
        if not line:
            return
        is_whole = len(line) <= longest
        if offset == 0:
            line = line.removeprefix(codecs.BOM_UTF8)
        if not is_whole:
            excerpt = line[:_EXCERPT_BYTES].decode("utf-8", "replace")
            yield RawRecord(name, offset, excerpt_of(excerpt), "too_long")
        elif line.strip():
            raw = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
            yield RawRecord(name, offset, raw)
        else:
            # A blank line is no record, but takes time.
            content.allowance.spend(RECORD_BYTES)


def _read_text(name: str, content: ByteStream, source: Source) -> Iterator[RawRecord]:
    stream = io.BufferedReader(content, CHUNK_BYTES)
    if stream.peek().startswith(b"<doc id="):
        yield from _read_articles(name, stream, source)
        return
    text = stream.read(source.maximum_text_bytes + 1)
    if len(text) > source.maximum_text_bytes:
        excerpt = text[:_EXCERPT_BYTES].decode("utf-8", "replace")
        yield RawRecord(name, 0, excerpt_of(excerpt), "too_long")
    else:
        text = text.removeprefix(codecs.BOM_UTF8)
        yield RawRecord(name, 0, text.decode("utf-8", "surrogateescape"))


def _read_articles(name: str, lines: IO[bytes], source: Source) -> Iterator[RawRecord]:
    """Articles as WikiExtractor writes them: each begins with its title, and is safe in HTML."""
    number = size = 0
    head, body = None, list[bytes]()
    while line := lines.readline(source.maximum_text_bytes * LINE_BYTES_PER_TEXT_BYTE):
        size += len(line)
        found = _ARTICLE.match(line)
        if found if head else not found and line.strip():
            yield damaged_record(name, number, DamageError("<doc …> or </doc> is missing", size))
            number, size = number + 1, 0
        if found:
            head, body, size = found, [], 0
        elif head and line.strip() == b"</doc>":
            url, title = (part.decode("utf-8", "replace") for part in head.groups())
            if size > source.maximum_text_bytes:
                yield RawRecord(name, number, excerpt_of(title), "too_long")
            else:
                text = html.unescape(b"".join(body).decode("utf-8", "surrogateescape"))
                text = text.lstrip("\n").removeprefix(f"{title}\n").strip("\n")
                yield RawRecord(name, number, {"text": text, "title": title, "url": url})
            number, size, head = number + 1, 0, None
        elif size <= source.maximum_text_bytes:
            body.append(line)
    if head:
        raise EOFError("the last article has no </doc>")


def _read_dump(name: str, content: ByteStream, source: Source) -> Iterator[RawRecord]:
    pages = read_pages(content, maximum_text_bytes=source.maximum_text_bytes)
    for offset, page in enumerate(pages):
        is_damage = isinstance(page, DamageError)
        yield damaged_record(name, offset, page) if is_damage else RawRecord(name, offset, page)


_READERS: dict[str, Callable[[str, ByteStream, Source], Iterator[RawRecord]]] = {
    "jsonl": _read_lines,
    "text": _read_text,
    "wikipedia-dump": _read_dump,
    "warc": read_web_archive,
}
