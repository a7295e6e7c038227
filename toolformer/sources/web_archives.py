"""Texts of web archives: WARC files, and the WET files that Common Crawl makes of them.

Text is not extracted from HTML, and contents that are compressed by themselves are not read.
"""

import re
import sys
from collections.abc import Iterator
from email.message import Message
from typing import TYPE_CHECKING, Any

from toolformer.sources.compression import CHUNK_BYTES, ByteStream
from toolformer.sources.errors import DamageError
from toolformer.sources.reasons import Reason
from toolformer.sources.records import RawRecord, damaged_record, excerpt_of
from toolformer.sources.source import Source

if TYPE_CHECKING:
    from warcio.bufferedreaders import BufferedReader
    from warcio.recordloader import ArcWarcRecord, ArcWarcRecordLoader

_WITH_CONTENT = frozenset({"response", "resource", "conversion"})
# What was asked for, with which program, and what was there before.
_OF_CRAWL = frozenset({"warcinfo", "request", "metadata", "revisit"})
_HTML = frozenset({"text/html", "application/xhtml+xml"})
# Far above what crawlers write; warcio holds the head of a record in memory.
_LONGEST_HEAD = 1 << 20
# What follows the content of a record. Where it is inside of it, the content is not all there.
_NEXT_HEAD = re.compile(rb"(?:\r?\n){2}(?P<head>WARC/\d)")
_BEGUN_HEAD = re.compile(rb"\n\r?\nW(?:A(?:R(?:C/?)?)?)?\Z")
_HEAD_BYTES = len(b"\r\n\r\nWARC/")


def read_web_archive(name: str, stream: ByteStream, source: Source) -> Iterator[RawRecord]:
    """Yields the records of an archive that have content, in order.

    Texts are those of conversion records (WET), and plain text that a server or a file gave. Bytes
    that are not of its character set are kept as surrogate escapes. The offsets count records
    without content, too. Where no record stands, or one that cannot be read, or in which another
    begins, a damaged record is given, and reading goes on at the next line that begins one.

    Raises:
        EOFError: the last record is not complete; those before it came.
        OSError, ExpansionError: the stream says so.
    """
    from warcio.bufferedreaders import BufferedReader
    from warcio.exceptions import ArchiveLoadFailed
    from warcio.recordloader import ArcWarcRecordLoader

    checked = _CheckedStream(stream)
    reader = BufferedReader(checked)
    loader = ArcWarcRecordLoader(verify_http=False)
    line, number = b"", 0
    try:
        while True:
            begin = _position(reader) - len(line)
            try:
                line = line or _next_line(reader)
                if not line:
                    return
                begin = _position(reader) - len(line)
                record = loader.parse_record_stream(reader, line, "warc", no_record_parse=True)
                line = b""
                if record.length is None or not 0 <= record.length <= sys.maxsize:
                    raise _NoRecordError("it does not say how long it is (Content-Length)")
                stored = record.raw_stream = _Content(record.raw_stream)
                content = _content(record, loader, checked, source.maximum_text_bytes)
                _read(stored, checked)
                line = stored.next_line(reader)
                if isinstance(content, dict):
                    yield RawRecord(name, number, content)
                elif content is not None:
                    url = record.rec_headers.get_header("WARC-Target-URI")
                    yield RawRecord(name, number, excerpt_of(url), content)
            except DamageError as error:
                line = b""
                yield damaged_record(name, number, error)
            except _OverlapError as error:
                line, rest = b"", error.args[0] + reader.read(reader.rem_length())
                checked.unread(rest)
                message = f"in record {number} another begins before its Content-Length is reached"
                skipped = _position(reader) - len(rest) - begin
                yield damaged_record(name, number, DamageError(message, skipped))
            except (ArchiveLoadFailed, _NoRecordError) as error:
                line, skipped = _sought(reader, checked)
                skipped += _position(reader) - len(line) - begin
                message = f"where record {number} should begin follows no WARC record: {error}"
                yield damaged_record(name, number, DamageError(message, skipped))
            checked.begin_head()
            number += 1
    except _StreamEndedError as ended:
        raise EOFError(f"record {number}: {ended}") from ended


class _NoRecordError(Exception):
    """What stands here cannot be read as a record."""


class _OverlapError(Exception):
    """In the content of a record begins another; has what was read of that."""


class _StreamEndedError(Exception):
    """The stream stops in the middle; warcio takes an EOFError for an end."""


class _CheckedStream:
    """A stream whose reader holds no head of a record that does not end."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._head_bytes = 0
        self._unread = b""

    def unread(self, content: bytes) -> None:
        """Gives back what is to be read again."""
        self._unread = content + self._unread

    def begin_head(self) -> None:
        """What was read until now belongs to no head that is being read."""
        self._head_bytes = 0

    def read(self, size: int) -> bytes:
        try:
            chunk, self._unread = self._unread[:size], self._unread[size:]
            chunk = chunk or self._stream.read(size)
        except EOFError as error:
            raise _StreamEndedError(*error.args) from error
        self._head_bytes += len(chunk)
        if self._head_bytes > _LONGEST_HEAD:
            raise _NoRecordError(f"its head is over {_LONGEST_HEAD:,} bytes long")
        return chunk


class _Content:
    """The stored content of a record, in which no other record begins."""

    def __init__(self, stream: Any) -> None:
        self._stream, self.last = stream, b""

    def read(self, size: int | None = None) -> bytes:
        return self.looked_at(self._stream.read(size))

    def readline(self, size: int | None = None) -> bytes:
        return self.looked_at(self._stream.readline(size))

    def next_line(self, reader: "BufferedReader") -> bytes:
        """What was read of the line behind it, to see that the content does not end in it."""
        if self._stream.limit:
            raise _StreamEndedError("it ends too early")
        return self.looked_at(_next_line(reader)) if _BEGUN_HEAD.search(self.last) else b""

    def looked_at(self, piece: bytes) -> bytes:
        seen = self.last + piece
        if found := _NEXT_HEAD.search(seen):
            raise _OverlapError(seen[found.start("head") :])
        self.last = seen[-_HEAD_BYTES:]
        return piece


def _next_line(reader: "BufferedReader") -> bytes:
    while line := reader.readline():
        if line.strip():
            return line
    return b""


def _position(reader: "BufferedReader") -> int:
    return reader.tell() - reader.rem_length()


def _sought(reader: "BufferedReader", checked: _CheckedStream) -> tuple[bytes, int]:
    """The next line that begins a record, none at the end; and stored bytes that are damaged."""
    skipped, is_begun = 0, True
    while True:
        checked.begin_head()
        try:
            line = reader.readline(CHUNK_BYTES)
        except DamageError as error:
            skipped, is_begun = skipped + error.skipped, False
            continue
        if not line or (not is_begun and line.startswith(b"WARC/")):
            return line, skipped
        is_begun = not line.endswith(b"\n")


def _content(
    record: "ArcWarcRecord",
    loader: "ArcWarcRecordLoader",
    checked: _CheckedStream,
    maximum_text_bytes: int,
) -> dict[str, str | None] | Reason | None:
    """The text of a record with address and day; why it is not read; None without content."""
    kind = (record.rec_type or "").strip().lower()
    if kind in _OF_CRAWL:
        return None
    if kind not in _WITH_CONTENT:
        return "not_text"
    url = record.rec_headers.get_header("WARC-Target-URI")
    content_type, reason = record.content_type, None
    if kind == "response":
        content_type, reason = _answer(record, loader, url or "")
    reason = reason or _reason_of_type(content_type or "")
    if reason is not None:
        return reason
    content = _read(record.content_stream(), checked, maximum_text_bytes + 1)
    if len(content) > maximum_text_bytes:
        return "too_long"
    date = record.rec_headers.get_header("WARC-Date")
    # Fetched on that day, so it was written no later.
    return {**_decoded(content, content_type or ""), "url": url, "date": date}


def _answer(
    record: "ArcWarcRecord", loader: "ArcWarcRecordLoader", url: str
) -> tuple[str | None, Reason | None]:
    """What a server's answer says of its type, and why it is not read."""
    try:
        # Also for `content_stream`, which puts chunks together.
        record.http_headers = loader.load_http_headers(
            "response", url, record.raw_stream, record.length
        )
    except EOFError:
        return None, "http_error"
    headers = record.http_headers
    if headers is None:
        return None, "not_text"
    if headers.get_statuscode() != "200":
        return None, "http_error"
    encoding = (headers.get_header("Content-Encoding") or "identity").strip().lower()
    reason = None if encoding == "identity" else "encoded_response"
    return headers.get_header("Content-Type"), reason


def _reason_of_type(content_type: str) -> Reason | None:
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in _HTML:
        return "html_not_extracted"
    return None if media_type == "text/plain" else "not_text"


def _read(stream: Any, checked: _CheckedStream, max_bytes: int | None = None) -> bytes:
    """Reads content up to so many bytes; without a limit it is let go."""
    pieces, size = list[bytes](), 0
    while max_bytes is None or size < max_bytes:
        checked.begin_head()
        chunk = stream.read(
            CHUNK_BYTES if max_bytes is None else min(CHUNK_BYTES, max_bytes - size)
        )
        if not chunk:
            break
        size += len(chunk)
        if max_bytes is not None:
            pieces.append(chunk)
    return b"".join(pieces)


def _decoded(content: bytes, content_type: str) -> dict[str, str | None]:
    """The text; and that its encoding is unknown, where a name is given that nobody knows."""
    message = Message()
    message["Content-Type"] = content_type
    try:
        return {"text": content.decode(message.get_content_charset("utf-8"), "surrogateescape")}
    except (LookupError, ValueError):
        text = content.decode("utf-8", "surrogateescape")
        return {"text": text, "encoding": "unknown"}
