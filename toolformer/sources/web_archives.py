"""Texts of web archives: WARC files, and the WET files that Common Crawl makes of them.

Text is not extracted from HTML, and contents that are compressed by themselves are not read.
"""

import io
import re
from collections.abc import Iterator
from email.message import Message
from typing import TYPE_CHECKING, NamedTuple

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
# Far above what crawlers write.
_LONGEST_HEAD = 1 << 20
# Blank lines stand between records. Where a record should go on behind them, it is not all there.
_NEXT_HEAD = re.compile(rb"WARC/(?:(?<=\n\nWARC/)|(?<=\n\r\nWARC/))\d")
_END_BYTES = len(b"\r\n\r\nWARC/1")
_LONGEST_END = len(b"\r\n\r\n")
_BLANK_LINES = re.compile(rb"[\r\n]*")
_LINE_OF_HEAD = re.compile(rb"^WARC/", re.MULTILINE)


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
    number = 0
    try:
        for piece in _pieces(stream, _LONGEST_HEAD + 2 * source.maximum_text_bytes):
            if isinstance(piece, DamageError):
                yield damaged_record(name, number, piece)
                number += 1
                continue
            for record in _records(piece, name, number, source.maximum_text_bytes):
                number += 1
                if record is not None:
                    yield record
    except EOFError as error:
        raise EOFError(f"record {number}: {error}") from error


class _Piece(NamedTuple):
    """What stands up to the next record, or to where the stream ends or is damaged.

    Attributes:
        kept: its beginning, which is all of it unless that is far too long.
        is_cut: whether the stream breaks off, so that what is not complete is told otherwise.
        is_last: whether it ends with the stream.
    """

    kept: bytes
    size: int
    is_cut: bool = False
    is_last: bool = False


def _pieces(stream: ByteStream, longest: int) -> Iterator[_Piece | DamageError]:
    kept, size, rest = b"", 0, b""
    while True:
        chunk, failure = b"", None
        try:
            chunk = stream.read(CHUNK_BYTES)
        except (DamageError, EOFError) as error:
            failure = error
        rest, start = rest + chunk, 0
        for end in [found.start() for found in _NEXT_HEAD.finditer(rest)]:
            kept += rest[start : min(end, start + longest - len(kept))]
            yield _Piece(kept, size + end - start)
            kept, size, start = b"", 0, end
        # The beginning of an end stays, until more of it is read.
        end = max(start, len(rest) - _END_BYTES) if chunk else len(rest)
        kept += rest[start : min(end, start + longest - len(kept))]
        size, rest = size + end - start, rest[end:]
        if not chunk:
            yield _Piece(kept, size, is_cut=failure is not None, is_last=failure is None)
            kept, size = b"", 0
            if not isinstance(failure, DamageError):
                break
            yield failure
    if failure is not None:
        raise failure


def _records(
    piece: _Piece, name: str, number: int, maximum_text_bytes: int
) -> Iterator[RawRecord | None]:
    """The record of a piece, None without content; and what stands behind it up to the next."""
    from warcio.bufferedreaders import BufferedReader
    from warcio.exceptions import ArchiveLoadFailed
    from warcio.recordloader import ArcWarcRecordLoader

    loader, stream = ArcWarcRecordLoader(verify_http=False), io.BytesIO(piece.kept)
    begin = _behind_lines(piece.kept, 0)
    while begin < len(piece.kept):
        stream.seek(begin)
        reader = BufferedReader(stream)
        try:
            record, wrong = _loaded(reader, loader), ""
        except ArchiveLoadFailed as error:
            record, wrong = None, str(error)
        # Where the head has no end, another may begin in it.
        end_of_head = begin + min(reader.tell() - reader.rem_length(), _LONGEST_HEAD)
        if record is None:
            next_head = _LINE_OF_HEAD.search(piece.kept, end_of_head)
            end = next_head.start() if next_head else piece.size
            wrong = f"where record {number} should begin follows no WARC record: {wrong}"
        elif (end := end_of_head + record.length) > piece.size:
            if piece.is_last:
                raise EOFError("it ends too early")
            end = piece.size
            wrong = f"in record {number} another begins before its Content-Length is reached"
        if wrong and piece.is_cut:
            return
        if record is None or wrong:
            yield damaged_record(name, number, DamageError(wrong, end - begin))
        else:
            most_bytes = maximum_text_bytes if end <= len(piece.kept) else 0
            content = _content(record, loader, most_bytes)
            if isinstance(content, str):
                url = record.rec_headers.get_header("WARC-Target-URI")
                yield RawRecord(name, number, excerpt_of(url), content)
            else:
                yield RawRecord(name, number, content) if content else None
        number, begin = number + 1, _behind_lines(piece.kept, end)
    # Of what is not kept, no more is known than how much there is.
    if (rest := piece.size - begin) > _LONGEST_END and not piece.is_cut:
        message = f"record {number - 1} is longer than it says"
        yield damaged_record(name, number, DamageError(message, rest))


def _behind_lines(content: bytes, place: int) -> int:
    """A place behind the blank lines that begin at another."""
    lines = _BLANK_LINES.match(content, place) if place < len(content) else None
    return lines.end() if lines else place


def _loaded(reader: "BufferedReader", loader: "ArcWarcRecordLoader") -> "ArcWarcRecord":
    """The record that begins here; ArchiveLoadFailed where there is none."""
    from warcio.exceptions import ArchiveLoadFailed

    record = loader.parse_record_stream(reader, None, "warc", no_record_parse=True)
    if record.length is None or record.length < 0:
        raise ArchiveLoadFailed("it does not say how long it is (Content-Length)")
    if reader.tell() - reader.rem_length() > _LONGEST_HEAD:
        raise ArchiveLoadFailed(f"its head is over {_LONGEST_HEAD:,} bytes long")
    return record


def _content(
    record: "ArcWarcRecord", loader: "ArcWarcRecordLoader", maximum_text_bytes: int
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
    stream, content = record.content_stream(), bytearray()
    while len(content) <= maximum_text_bytes and (chunk := stream.read(CHUNK_BYTES)):
        content += chunk
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


def _decoded(content: bytearray, content_type: str) -> dict[str, str | None]:
    """The text; and that its encoding is unknown, where a name is given that nobody knows."""
    message = Message()
    message["Content-Type"] = content_type
    try:
        return {"text": content.decode(message.get_content_charset("utf-8"), "surrogateescape")}
    except (LookupError, ValueError):
        text = content.decode("utf-8", "surrogateescape")
        return {"text": text, "encoding": "unknown"}
