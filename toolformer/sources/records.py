"""One raw record of a source to documents or to the reason why there is none."""

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate, chain, pairwise
from typing import Any, Literal

from toolformer.files.digests import hex_digest
from toolformer.marks import strip_marks
from toolformer.sources.articles import Article, article_of
from toolformer.sources.dates import parse_publication_date
from toolformer.sources.errors import SourceError
from toolformer.sources.losses import LossKind
from toolformer.sources.reasons import Reason
from toolformer.sources.source import Source

EXCERPT_CHARACTERS = 200
# A line holds more than its text: other columns, and up to six bytes for an escaped character.
LINE_BYTES_PER_TEXT_BYTE = 8
# A shorter section gives the language model nothing to ask about.
MINIMUM_SECTION_WORDS = 40

# A value takes up to 72 bytes of memory, however short it is written.
_MAX_VALUES = 3_000_000
_LONGEST_LABEL = 10_000

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


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
    """

    source: str
    offset: int
    raw: str | dict[str, Any]
    reason: Reason | None = None


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


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that gave no document, with its `reasons.Reason` and an `excerpt_of` it."""

    source: str
    source_offset: int
    reason: str
    excerpt: str


def document_id(source: str, offset: int, section: int | None = None) -> str:
    """The digest that names a document; with a section for records that give several documents."""
    key = [source, offset] if section is None else [source, offset, section]
    return hex_digest(json.dumps(key))


def excerpt_of(raw: object) -> str:
    """At most 200 printable characters on one line."""
    # Four times the length is enough to look at, whatever the white space does.
    text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False, default=str)
    line = " ".join(text[: EXCERPT_CHARACTERS * 4].split())[:EXCERPT_CHARACTERS]
    return "".join(character if character.isprintable() else "�" for character in line)


def has_too_many_values(line: str) -> bool:
    """Whether a line of JSON may hold more values than memory should; no text has as many."""
    return sum(map(line.count, "{[,")) > _MAX_VALUES


def parse_record(record: RawRecord, source: Source) -> list[ParsedDocument | Rejection]:
    """Parses one raw record of a source, which has the format of its files.

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
        return [_parse_fields(record, source, fields)]
    row = record.raw
    if isinstance(row, str):
        if _SURROGATE.search(row):
            return [_rejection(record, "invalid_utf8")]
        if has_too_many_values(row):
            return [_rejection(record, "too_long")]
        try:
            row = json.loads(row)
        except (ValueError, RecursionError):
            return [_rejection(record, "invalid_json")]
    if not isinstance(row, Mapping):
        return [_rejection(record, "not_an_object")]
    if source.format == "warc":
        return [_parse_fields(record, source, row)]
    columns = {
        "text": source.text_column,
        "context": source.context_column,
        "title": source.title_column,
        "url": source.url_column,
        "date": source.date_column,
    }
    fields = {field: row.get(name) for field, name in columns.items() if name is not None}
    return [_parse_fields(record, source, fields)]


def _rejection(record: RawRecord, reason: str, excerpt: object = None) -> Rejection:
    shown = record.raw if excerpt is None else excerpt
    return Rejection(record.source, record.offset, reason, excerpt_of(shown))


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
    stripped, marks = strip_marks(text)
    stripped_context, context_marks = strip_marks(context)
    if source.strip_marks:
        text, context, marks, context_marks = stripped, stripped_context, 0, 0
        if not text.strip():
            return _rejection(record, "empty_text", fields["text"])
    return ParsedDocument(
        document_id=document_id(record.source, record.offset),
        text=text,
        # A record without a context says so with an empty one.
        context=context if context.strip() else None,
        title=_label(fields.get("title")),
        url=_label(fields.get("url")),
        published_on=parse_publication_date(fields.get("date")),
        source=record.source,
        source_offset=record.offset,
        losses={"marks": marks + context_marks} if marks + context_marks else {},
    )


def _parse_text(
    record: RawRecord, source: Source, name: Literal["text", "context"], value: object
) -> str | Rejection:
    if value is None:
        return _rejection(record, f"missing_{name}")
    if not isinstance(value, str):
        return _rejection(record, f"{name}_not_a_string")
    if _SURROGATE.search(value):
        return _rejection(record, "invalid_utf8", value)
    if len(value.encode()) > source.maximum_text_bytes:
        return _rejection(record, "too_long", value)
    return _CONTROL.sub("", value)


def _label(value: object) -> str | None:
    """A title or address on one line; None where there is none, or no end."""
    if not isinstance(value, str) or len(value) > _LONGEST_LABEL:
        return None
    return " ".join(_SURROGATE.sub("�", _CONTROL.sub("", value)).split()) or None


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
        losses = dict(section.losses)
        if not source.strip_marks:
            text, spans = section.text, section.damaged_spans
            losses |= {"marks": marks} if marks else {}
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
                    losses=losses,
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
    name: str, source: Source, present: list[str], checked: int
) -> SourceError:
    """The error for records without a column that the source requires.

    Args:
        name: name of the source or file.
        source: says which columns are required.
        present: the columns that there are; none where no record has columns.
        checked: records that were looked at.
    """
    if not present:
        return SourceError(
            f"None of the first {checked} lines of {name!r} is a JSON object. Expected one object "
            f"per line with the text in {source.text_column!r}. An array or a pretty-printed file "
            "must be rewritten so, one object on each line (jq -c '.[]' does it)."
        )
    shown = ", ".join(present[:20]) + (", …" if len(present) > 20 else "")
    content, column = next(
        (content, column)
        for content, column in source.required_columns.items()
        if column not in present
    )
    return SourceError(
        f"The source {name!r} has no column {column!r} in its first {checked} record(s). Its "
        f"columns are: {shown}. Set {content}_column to the one that holds the {content}."
    )
