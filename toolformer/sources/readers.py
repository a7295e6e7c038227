"""Reads the records of a source's files, in all supported formats."""

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from typing import IO, Any

from toolformer.base.regular_files import LFS_POINTER_ERROR, POINTER_START
from toolformer.base.untrusted_text import plain
from toolformer.sources.addresses import unreadable
from toolformer.sources.columns import MISSING, column_names, value_at
from toolformer.sources.compression import decompressed, split_compression
from toolformer.sources.errors import SourceError, repeated_column_error
from toolformer.sources.excerpt import read_wikipedia_excerpt
from toolformer.sources.files import SourceFile
from toolformer.sources.reasons import Reason
from toolformer.sources.records import ParsedDocument, Record, Rejection, parse_record
from toolformer.sources.source import Source
from toolformer.sources.tables import read_table

# A line can be longer than its text column because it also contains the other columns, and because
# JSON escapes take up to six bytes per character.
_LINE_BYTES_PER_TEXT_BYTE = 8
# Limits memory: a parsed JSON value needs up to 72 bytes, even if it is one character in the file.
_MAX_JSON_VALUES = 3_000_000
# If present in the settings, these columns must occur within the first 100 records.
_REQUIRED, _CHECKED_RECORDS = ("text", "context"), 100
_SHOWN_COLUMNS = 20
_BLOCK_BYTES = 1 << 18


def read_documents(source: Source, files: list[SourceFile]) -> Iterator[ParsedDocument | Rejection]:
    """Yield the documents and rejected records of a source; see `read_records`."""
    return (parse_record(record, source) for record in read_records(source, files))


def read_records(source: Source, files: list[SourceFile]) -> Iterator[Record]:
    """Yield the records of a source's files, at most `source.limit`.

    A required column must occur in the first 100 records, any other column that the user named in
    at least one record. Raises SourceError if one does not, if a file cannot be read to its end, or
    if the source is empty.
    """
    missing = dict(source.named_columns)
    names = dict[str, None]()
    number, first = 0, None
    records = chain.from_iterable(_records_of(file, source) for file in files)
    for number, record in enumerate(islice(records, source.limit), 1):
        first = first or record
        if missing:
            if number <= _CHECKED_RECORDS:
                # Table readers load only the named columns and list the rest in `record.unread`.
                unread = record.unread if record.raw is None else ()
                names |= dict.fromkeys([*column_names(record.columns), *unread])
            for role in [*missing]:
                if value_at(record.columns, missing[role]) is not MISSING:
                    del missing[role]
            if number == _CHECKED_RECORDS and not missing.keys().isdisjoint(_REQUIRED):
                break
        yield record
    if first is None:
        raise SourceError(
            f"The source {source.path!r} is empty: its {len(files)} file(s) contain no records. "
            f"Expected at least one {files[0].format} record. Check that the file is complete."
        )
    if missing:
        role = min(missing, key=[*source.columns_by_role].index)
        raise _missing_column_error(source.path, source, role, list(names), number, first)


def read_lines(content: IO[bytes], max_line_bytes: int) -> Iterator[tuple[int, bytes, bool]]:
    """Yield (line number from 0, content, whether it ended in a newline) for each non-blank line.

    A line that is too long is cut to `max_line_bytes` + 1 bytes, so the caller can detect it.
    """
    for number, line in enumerate(iter(lambda: content.readline(max_line_bytes + 1), b"")):
        end = line
        while not end.endswith(b"\n") and (end := content.readline(_BLOCK_BYTES)):
            pass
        if number == 0:
            line = line.removeprefix(codecs.BOM_UTF8)
        if line.strip():
            yield number, line.rstrip(b"\r\n"), end.endswith(b"\n")


def json_object(line: bytes) -> Mapping[str, Any] | Reason:
    """Return the object in a line of JSON, or the reason for rejecting the line."""
    if sum(map(line.count, (b"{", b"[", b","))) > _MAX_JSON_VALUES:
        return "too_long"
    try:
        row = json.loads(line.decode(), object_pairs_hook=_object)
    except UnicodeDecodeError:
        return "invalid_utf8"
    except _RepeatedKeyError:
        return "repeated_key"
    except (ValueError, RecursionError):
        return "invalid_json"
    return row if isinstance(row, Mapping) else "not_an_object"


def read_csv(content: IO[bytes], delimiter: str, max_cell_chars: int) -> Iterator[list[str]]:
    """Yield the header, then the rows.

    Raises csv.Error if quoting is malformed or a cell exceeds `max_cell_chars` characters.
    """
    csv.field_size_limit(max_cell_chars)
    lines = io.TextIOWrapper(content, "utf-8-sig", "surrogateescape", newline="")
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    row_start = 1
    try:
        for row in rows:
            row_start = rows.line_num + 1
            if row:
                yield row
    except csv.Error as error:
        raise csv.Error(f"in the row that starts on line {row_start}: {error}") from error


class _RepeatedKeyError(ValueError):
    """An object has two values for one key."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise _RepeatedKeyError
    return row


def _records_of(file: SourceFile, source: Source) -> Iterator[Record]:
    number = 0
    try:
        before = file.state()
        with file.open() as stream:
            start = stream.read(len(POINTER_START))
            stream.seek(0)
            if start == POINTER_START:
                raise OSError(LFS_POINTER_ERROR)
            for record in _READERS[file.format](file, stream, source):
                yield record
                number += 1
        if file.state() != before:
            raise OSError("it changed while being read")
    except SourceError:
        raise
    # Codecs, Arrow and drivers of remote file systems raise many kinds of errors.
    except Exception as error:
        position = f" after record {number}" if number else ""
        raise unreadable(file.name, error, position) from error


def _lines(file: SourceFile, stream: IO[bytes], source: Source) -> Iterator[Record]:
    max_line_bytes = source.maximum_text_bytes * _LINE_BYTES_PER_TEXT_BYTE
    has_valid_line = False
    for offset, line, ends_in_newline in read_lines(
        decompressed(stream, file.path), max_line_bytes
    ):
        row_or_reason = "too_long" if len(line) > max_line_bytes else json_object(line)
        if not isinstance(row_or_reason, str):
            has_valid_line = True
            unread = source.unread_columns(row_or_reason)
            yield Record(file.name, offset, row_or_reason, line, unread=unread)
        elif has_valid_line and not ends_in_newline and row_or_reason != "too_long":
            # After a valid line, an invalid last line without a newline means that the file is
            # incomplete. Without a valid line, the file is probably not JSON lines at all.
            raise EOFError(f"line {offset + 1}, the last one, is truncated")
        else:
            yield Record(file.name, offset, {}, line, row_or_reason)


def _csv_rows(file: SourceFile, stream: IO[bytes], source: Source) -> Iterator[Record]:
    max_cell_chars = source.maximum_text_bytes * _LINE_BYTES_PER_TEXT_BYTE
    is_tsv = split_compression(file.path)[0].lower().endswith(".tsv")
    rows = read_csv(decompressed(stream, file.path), "\t" if is_tsv else ",", max_cell_chars)
    header = next(rows, [])
    if source.text_column not in header and not "".join(header).isprintable():
        raise SourceError(
            f"The first line of {file.name!r} is not a header: {plain(','.join(header))}. Expected "
            f"column names, including {source.text_column!r}. Decompress the file if it is "
            "compressed, or convert it (iconv -t UTF-8)."
        )
    for column in source.columns_by_role.values():
        if (count := header.count(column)) > 1:
            raise repeated_column_error(file.name, column, count)
    unread = source.unread_columns(header)
    for offset, row in enumerate(rows):
        if len(row) == len(header):
            columns = dict(zip(header, row, strict=True))
            yield Record(file.name, offset, columns, unread=unread)
        else:
            # The cells cannot be assigned to columns. Pass all header columns anyway, since the
            # check for missing columns must not report them.
            raw = ",".join(row).encode("utf-8", "surrogateescape")
            yield Record(file.name, offset, dict.fromkeys(header), raw, "wrong_column_count")


def _table_rows(file: SourceFile, stream: IO[bytes], source: Source) -> Iterator[Record]:
    names, rows = read_table(stream, file.name, [*source.columns_by_role.values()])
    unread = source.unread_columns(names)
    for offset, row in enumerate(rows):
        yield Record(file.name, offset, row, unread=unread)


def _text(file: SourceFile, stream: IO[bytes], source: Source) -> Iterator[Record]:
    text = decompressed(stream, file.path).read(source.maximum_text_bytes + 1)
    if text.startswith(b"<doc id="):
        raise SourceError(
            f"The file {file.name!r} contains articles between <doc> and </doc>, as WikiExtractor "
            "writes them. Expected one text per file. Run WikiExtractor with --json, and ingest "
            "its files as jsonl."
        )
    if len(text) > source.maximum_text_bytes:
        yield Record(file.name, 0, {source.text_column: None}, text, "too_long")
        return
    content = text.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
    columns = {source.text_column: content}
    if source.title_column is not None:
        columns[source.title_column] = file.name.rpartition("/")[2]
    yield Record(file.name, 0, columns)


def _articles(file: SourceFile, stream: IO[bytes], _: Source) -> Iterator[Record]:
    for offset, article in enumerate(read_wikipedia_excerpt(stream)):
        yield Record(file.name, offset, article)


_READERS: dict[str, Callable[[SourceFile, IO[bytes], Source], Iterator[Record]]] = {
    "jsonl": _lines,
    "csv": _csv_rows,
    "parquet": _table_rows,
    "arrow": _table_rows,
    "text": _text,
    "wikipedia-excerpt": _articles,
}


def _missing_column_error(
    name: str, source: Source, role: str, present: list[str], checked: int, first: Record
) -> SourceError:
    column = source.columns_by_role[role]
    if present:
        names = ", ".join(present[:_SHOWN_COLUMNS])
        more = ", …" if len(present) > _SHOWN_COLUMNS else ""
        advice = f"Set {role}_column to the column with the {role}."
        return SourceError(
            f"The source {name!r} has no column {column!r} in its first {checked} record(s). Its "
            f"columns are: {plain(names)}{more}. {advice}"
        )
    line = first.raw or b""
    if line.startswith(b"\x1f\x8b"):
        advice = "The first line is gzip: decompress the file (again, if it was compressed twice)."
    elif line.startswith(b"<doc "):
        advice = "This is WikiExtractor's default format: run it with --json."
    elif b"\0" in line or first.reason == "invalid_utf8":
        advice = (
            "The first line is not UTF-8: convert the file (iconv -t UTF-8), or download it again."
        )
    else:
        advice = "Convert an array with jq -c '.[]', or pretty-printed objects with jq -c '.'."
    return SourceError(
        f"None of the first {checked} lines of {name!r} is a JSON object. Expected one object per "
        f"line, each key once, with the text in {source.text_column!r}. {advice}"
    )
