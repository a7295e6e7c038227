"""One raw record of a source to documents or to the reason why there is none."""

import datetime
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, chain, pairwise
from typing import Any, Literal

from toolformer.base.digests import hex_digest
from toolformer.marks import Calculation, count_markup, count_unread, strip_marks, stripped_of_marks
from toolformer.sources.articles import Article, article_of
from toolformer.sources.columns import MISSING, has_too_many_values, value_at
from toolformer.sources.dates import parse_publication_date
from toolformer.sources.errors import DamageError, SourceError
from toolformer.sources.losses import LossKind
from toolformer.sources.reasons import Reason
from toolformer.sources.source import Source

EXCERPT_CHARACTERS = 200
_SHOWN_COLUMNS = 20
# A line holds more than its text: other columns, and up to six bytes for an escaped character.
LINE_BYTES_PER_TEXT_BYTE = 8
# A shorter section gives the language model nothing to ask about.
MINIMUM_SECTION_WORDS = 40

_LONGEST_LABEL = 10_000

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNDECODABLE = re.compile(f"{_CONTROL.pattern}|{_SURROGATE.pattern}|\ufffd")


@dataclass(frozen=True, slots=True)
class RawRecord:
    """One record as a source holds it.

    Attributes:
        source: the file it comes from, as the user named it.
        offset: number of the record in that file, from 0: line, row, page, record of a web archive;
            0 for a text file.
        raw: a JSON line or a text (bytes that are not UTF-8 kept as surrogate escapes), or the
            columns of a row, or the fields of a page, or text, url and date of an archived text.
        reason: why the reader could not give the whole record; then `raw` is an excerpt.
        unread: columns of the file that were not read.
    """

    source: str
    offset: int
    raw: str | dict[str, Any]
    reason: Reason | None = None
    losses: Mapping[LossKind, int] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A text with what is known about it.

    Attributes:
        document_id: 32 hexadecimal digits, a digest of source, offset and section.
        text: the text as written, without control characters.
        context: what stands in front of the text in training and is not annotated, likewise.
        title: title, file name, or title of the encyclopaedia article.
        source, source_offset: as of `RawRecord`.
        losses: what of the record is not in the text, or should not be, by kind.
        damaged_spans: start and end of sentences that lost something, in characters of `text`; no
            call may stand there.
        calculations: calculations and calls that the text marked, where marks were taken out; none
            of a dump's pages.
    """

    document_id: str
    text: str
    context: str | None
    title: str | None
    url: str | None
    published_on: datetime.date | None
    source: str
    source_offset: int
    losses: Mapping[LossKind, int] = field(default_factory=dict)
    damaged_spans: tuple[tuple[int, int], ...] = ()
    calculations: tuple[Calculation, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that gave no document, with its `reasons.Reason` and an `excerpt_of` it.

    Of its losses only those of its reader are known: bytes that were passed over.
    """

    source: str
    source_offset: int
    reason: str
    excerpt: str
    losses: Mapping[LossKind, int] = field(default_factory=dict)


def document_id(source: str, offset: int, section: int | None = None) -> str:
    """The digest that names a document; with a section for records that give several documents."""
    key = [source, offset] if section is None else [source, offset, section]
    return hex_digest(json.dumps(key))


def excerpt_of(raw: object) -> str:
    """At most 200 printable characters on one line."""
    # Four times the length is enough to look at, whatever the white space does.
    text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False, default=str)
    line = " ".join(text[: EXCERPT_CHARACTERS * 4].split())[:EXCERPT_CHARACTERS]
    if line.isprintable():
        return line
    return "".join(character if character.isprintable() else "�" for character in line)


def damaged_record(name: str, offset: int, error: DamageError) -> RawRecord:
    """What stands for the records that a damaged place costs; its excerpt says what is wrong."""
    explanation = f"{error.skipped:,} bytes were passed over: {error} ({name})."
    losses: dict[LossKind, int] = {"damaged_bytes": error.skipped}
    return RawRecord(name, offset, excerpt_of(explanation), "damaged_source", losses)


def parse_record(
    record: RawRecord, source: Source, unread: Counter[str] | None = None
) -> list[ParsedDocument | Rejection]:
    """Parses one raw record of a source, which has the format of its files.

    Args:
        unread: counts the columns of the record that are not read.

    Returns:
        One document or one rejection; for a page of a Wikipedia dump one document per section of
        at least 40 words, or one rejection.
    """
    if record.reason is not None:
        return [_rejection(record, record.reason)]
    if source.format == "wikipedia-dump":
        return _parse_page(record, source)
    if source.format == "text":
        fields = {"text": record.raw, "title": record.source.rpartition("/")[2]}
        given = record.raw if isinstance(record.raw, dict) else fields
        return [_parse_fields(record, source, given)]
    row = row_of(record)
    if not isinstance(row, Mapping):
        return [_rejection(record, row)]
    if source.format == "warc":
        return [_parse_fields(record, source, row)]
    if unread is not None:
        unread.update(record.unread or source.unread_columns(row))
    fields = {content: value_at(row, name) for content, name in source.columns_of.items()}
    return [_parse_fields(record, source, fields)]


class _RepeatedKeyError(ValueError):
    """An object has two values for one key."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise _RepeatedKeyError
    return row


def row_of(record: RawRecord) -> Mapping[str, Any] | Reason:
    """The columns of a row, or the object that a line of JSON holds, or why there is none."""
    line = record.raw
    if not isinstance(line, str):
        return line
    if _SURROGATE.search(line):
        return "invalid_utf8"
    if has_too_many_values(line):
        return "too_long"
    try:
        row = json.loads(line, object_pairs_hook=_object)
    except _RepeatedKeyError:
        return "repeated_key"
    except (ValueError, RecursionError):
        return "invalid_json"
    return row if isinstance(row, Mapping) else "not_an_object"


def _rejection(record: RawRecord, reason: str, excerpt: object = None) -> Rejection:
    shown = record.raw if excerpt is None else excerpt
    return Rejection(record.source, record.offset, reason, excerpt_of(shown), record.losses)


def _parse_fields(
    record: RawRecord, source: Source, fields: Mapping[str, object]
) -> ParsedDocument | Rejection:
    text = _parse_text(record, source, "text", fields["text"])
    if isinstance(text, Rejection):
        return text
    if not text.strip():
        return _rejection(record, "empty_text")
    context = _parse_text(record, source, "context", fields.get("context", ""))
    if isinstance(context, Rejection):
        return context
    title, url, date = (fields.get(name) for name in ("title", "url", "date"))
    published_on = parse_publication_date(date)
    named = source.named_columns
    losses = Counter[LossKind](record.losses)
    losses["dates"] += published_on is None and _is_given(date)
    losses["addresses"] += sum(_is_given(label) and _label(label) is None for label in (title, url))
    losses["columns"] += sum(fields[content] is MISSING for content in named if content in fields)
    written = (fields["text"], fields.get("context"), title, url)
    losses["encodings"] += fields.get("encoding") == "unknown" or has_undecodable(written)
    losses["markup"] += count_markup(text) + count_markup(context)
    stripped, marks, calculations = stripped_of_marks(text)
    stripped_context, context_marks, of_context = stripped_of_marks(context)
    if source.strip_marks:
        text, context = stripped, stripped_context
        losses["unread_marks"] += count_unread(text)
        if not text.strip():
            return _rejection(record, "empty_text", fields["text"])
    else:
        calls = sum(each.tool is not None for each in (*calculations, *of_context))
        losses["calls"] += calls
        losses["marks"] += marks + context_marks - calls
        calculations = ()
    return ParsedDocument(
        document_id=document_id(record.source, record.offset),
        text=text,
        # A record without a context says so with an empty one.
        context=context if context.strip() else None,
        title=_label(title),
        url=_label(url),
        published_on=published_on,
        source=record.source,
        source_offset=record.offset,
        losses=dict(+losses),
        calculations=tuple(calculations),
    )


def _is_given(value: object) -> bool:
    """Whether an optional column has a value; pandas writes NaN where there is none."""
    if value is None or value is MISSING or value != value:
        return False
    return not isinstance(value, str) or bool(value.strip())


def has_undecodable(texts: Iterable[object]) -> bool:
    """Whether a text holds what no text has: control characters, U+FFFD, halves of characters."""
    return any(isinstance(text, str) and bool(_UNDECODABLE.search(text)) for text in texts)


def _parse_text(
    record: RawRecord, source: Source, name: Literal["text", "context"], value: object
) -> str | Rejection:
    if value is None or value is MISSING:
        return _rejection(record, f"missing_{name}")
    if not isinstance(value, str):
        return _rejection(record, f"{name}_not_a_string")
    if _SURROGATE.search(value):
        return _rejection(record, "invalid_utf8", value)
    if len(value.encode()) > source.maximum_text_bytes:
        return _rejection(record, "too_long", value)
    return _without_controls(value)


def _without_controls(text: str) -> str:
    # Those that are blanks, such as a form feed, keep words and numbers apart.
    return _CONTROL.sub(lambda control: " " if control[0].isspace() else "", text)


def _label(value: object) -> str | None:
    """A title or address on one line; None where there is none, or no end."""
    if not isinstance(value, str) or len(value) > _LONGEST_LABEL:
        return None
    return " ".join(_SURROGATE.sub("�", _without_controls(value)).split()) or None


def _parse_page(record: RawRecord, source: Source) -> list[ParsedDocument | Rejection]:
    page = record.raw
    if not isinstance(page, dict):
        return [_rejection(record, "not_an_object")]
    article = article_of(page, source.maximum_text_bytes)
    if not isinstance(article, Article):
        return [_rejection(record, article, page["title"])]
    documents: list[ParsedDocument | Rejection] = []
    for number, section in enumerate(article.sections):
        text, spans, marks = _without_marks(section.text, section.damaged_spans)
        losses = Counter[LossKind](section.losses)
        losses["encodings"] += has_undecodable([section.text])
        losses["markup"] += count_markup(section.text)
        if not source.strip_marks:
            text, spans = section.text, section.damaged_spans
            losses["marks"] += marks
        if len(text.split()) >= MINIMUM_SECTION_WORDS:
            documents.append(
                ParsedDocument(
                    document_id=document_id(record.source, record.offset, number),
                    text=text,
                    context=None,
                    title=article.title,
                    url=article.url,
                    # The time of the last edit says nothing about when the text is set.
                    published_on=None,
                    source=record.source,
                    source_offset=record.offset,
                    losses=dict(+losses),
                    damaged_spans=spans,
                )
            )
    return documents or [_rejection(record, "no_text_after_markup", page["title"])]


def _without_marks(
    text: str, spans: tuple[tuple[int, int], ...]
) -> tuple[str, tuple[tuple[int, int], ...], int]:
    """A text without marks, its spans moved with it, and how many marks there were."""
    edges = [0, *chain.from_iterable(spans), len(text)]
    pieces = [strip_marks(text[start:stop]) for start, stop in pairwise(edges)]
    ends = list(accumulate(len(piece) for piece, _ in pieces))
    # Between the edges lie in turn what is whole and what is damaged.
    moved = tuple(zip(ends[:-1:2], ends[1::2], strict=True))
    return "".join(piece for piece, _ in pieces), moved, sum(count for _, count in pieces)


def missing_column_error(
    name: str,
    source: Source,
    content: str,
    present: Iterable[str],
    checked: int,
    first: object = None,
) -> SourceError:
    """The error for records without a column that the source names.

    Args:
        source: says which columns are named.
        content: what the column should hold, of `Source.named_columns`.
        present: the columns that there are; none where no record has columns.
        first: the first of them, as it was read.
    """
    present = list(present)
    if not present:
        advice = "An array or a pretty-printed file must be rewritten so (jq -c '.[]' does it)."
        if isinstance(first, str) and first.startswith("\x1f\udc8b"):
            advice = (
                "The first line is gzip: decompress the file (once more, if it was compressed)."
            )
        elif isinstance(first, str) and (_SURROGATE.search(first) or "\0" in first):
            advice = (
                "The first line is not UTF-8: rewrite the file (iconv -t UTF-8), or fetch it again."
            )
        return SourceError(
            f"None of the first {checked} lines of {name!r} is a JSON object. Expected one object "
            f"per line, each key once, with the text in {source.text_column!r}. {advice}"
        )
    shown = ", ".join(present[:_SHOWN_COLUMNS]) + (", …" if len(present) > _SHOWN_COLUMNS else "")
    return SourceError(
        f"The source {name!r} has no column {source.columns_of[content]!r} in its first {checked} "
        f"record(s). Its columns are: {shown}. Set {content}_column to the one that holds the "
        f"{content}."
    )
