"""One raw record of a source to documents or to the reason why there is none.

Does not read files, and never raises for what a record contains.
"""

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from toolformer.ground.digests import hex_digest
from toolformer.sources.dates import parse_publication_date
from toolformer.sources.reasons import NO_TEXT_AFTER_MARKUP, TOO_LONG, UNPARSABLE_MARKUP
from toolformer.sources.source import RecordLayout
from toolformer.sources.wikipedia_dump import MINIMUM_SECTION_WORDS, article_of, reason_of_page

EXCERPT_CHARACTERS = 200

# A value takes up to 72 bytes of memory, however short it is written.
_MOST_VALUES = 3_000_000
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
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A text with what is known about it.

    Attributes:
        document_id: 32 hexadecimal digits, a digest of source, offset and section.
        text: the text as written, without control characters.
        context: what stands in front of the text in training and is not annotated, likewise; None
            where there is none.
        title: title, file name, or title of the encyclopaedia article.
        url: the address.
        published_on: the day of publication.
        source: the file it comes from, as the user named it.
        source_offset: number of the raw record in that file, from 0.
    """

    document_id: str
    text: str
    context: str | None
    title: str | None
    url: str | None
    published_on: datetime.date | None
    source: str
    source_offset: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that gave no document.

    Attributes:
        source: the file it comes from, as the user named it.
        source_offset: number of the raw record in that file, from 0.
        reason: short snake_case word.
        excerpt: at most 200 printable characters of the record.
    """

    source: str
    source_offset: int
    reason: str
    excerpt: str


def document_id(source: str, offset: int, section: int | None = None) -> str:
    """The digest that names a document.

    Args:
        source: file name as the user gave it, normalised.
        offset: number of the raw record in the file.
        section: number of the section for records that give several documents.

    Example:
        >>> document_id("texts.jsonl", 0) == document_id("texts.jsonl", 0)
        True
    """
    key = [source, offset] if section is None else [source, offset, section]
    return hex_digest(json.dumps(key))


def excerpt_of(raw: object) -> str:
    r"""At most 200 printable characters on one line.

    Example:
        >>> excerpt_of("a\tb\x00c")
        'a b�c'
    """
    # Four times the length is enough to look at, whatever the white space does.
    text = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False, default=str)
    line = " ".join(text[: EXCERPT_CHARACTERS * 4].split())[:EXCERPT_CHARACTERS]
    return "".join(character if character.isprintable() else "�" for character in line)


def has_too_many_values(line: str) -> bool:
    """Whether a line of JSON may hold more values than memory should; no text has as many."""
    return sum(map(line.count, "{[,")) > _MOST_VALUES


def parse_record(record: RawRecord, layout: RecordLayout) -> list[ParsedDocument | Rejection]:
    """Parses one raw record.

    Args:
        record: as read from a source.
        layout: the source's format and column names.

    Returns:
        One document or one rejection; for a page of a Wikipedia dump one document per section of
        at least 40 words, or one rejection. Reasons: `invalid_json`, `not_an_object`,
        `missing_text`, `text_not_a_string`, `empty_text`, `missing_context`,
        `context_not_a_string`, `invalid_utf8`, `too_long`, `redirect`, `not_an_article`,
        `no_text_after_markup`, `unparsable_markup`, `truncated_source`, `damaged_source`,
        `decompression_limit`, `xml_without_pages`; of web archives `html_not_extracted`,
        `http_error`, `encoded_response`, `not_text`.
    """
    if record.reason is not None:
        return [_rejection(record, record.reason)]
    if layout.format == "wikipedia-dump":
        return _parse_page(record, layout)
    if layout.format == "text":
        file_name = record.source.rpartition("/")[2]
        return [_parse_fields(record, layout, text=record.raw, title=file_name)]
    row = record.raw
    if layout.format == "warc" and isinstance(row, dict):
        # Fetched on that day, so it was written no later.
        fields = {"text": row["text"], "url": row["url"], "date": row["date"]}
        return [_parse_fields(record, layout, title=None, **fields)]
    if isinstance(row, str):
        if _SURROGATE.search(row):
            return [_rejection(record, "invalid_utf8")]
        if has_too_many_values(row):
            return [_rejection(record, TOO_LONG)]
        try:
            row = json.loads(row)
        except (ValueError, RecursionError):
            return [_rejection(record, "invalid_json")]
    if not isinstance(row, Mapping):
        return [_rejection(record, "not_an_object")]
    return [
        _parse_fields(
            record,
            layout,
            text=row.get(layout.text_column),
            context=_column(row, layout.context_column),
            title=_column(row, layout.title_column),
            url=_column(row, layout.url_column),
            date=_column(row, layout.date_column),
        )
    ]


def _column(row: Mapping[str, object], name: str | None) -> object:
    return None if name is None else row.get(name)


def _rejection(record: RawRecord, reason: str, excerpt: object = None) -> Rejection:
    shown = record.raw if excerpt is None else excerpt
    return Rejection(record.source, record.offset, reason, excerpt_of(shown))


def _parse_fields(
    record: RawRecord,
    layout: RecordLayout,
    *,
    text: object,
    context: object = None,
    title: object,
    url: object = None,
    date: object = None,
) -> ParsedDocument | Rejection:
    text = _parse_text(record, layout, "text", text)
    if isinstance(text, Rejection):
        return text
    if not text.strip():
        return _rejection(record, "empty_text")
    is_named = layout.context_column is not None
    context = _parse_text(record, layout, "context", context) if is_named else ""
    if isinstance(context, Rejection):
        return context
    return ParsedDocument(
        document_id=document_id(record.source, record.offset),
        text=text,
        # A record without a context says so with an empty one.
        context=context if context.strip() else None,
        title=_label(title),
        url=_label(url),
        published_on=parse_publication_date(date),
        source=record.source,
        source_offset=record.offset,
    )


def _parse_text(
    record: RawRecord, layout: RecordLayout, name: str, value: object
) -> str | Rejection:
    if value is None:
        return _rejection(record, f"missing_{name}")
    if not isinstance(value, str):
        return _rejection(record, f"{name}_not_a_string")
    if _SURROGATE.search(value):
        return _rejection(record, "invalid_utf8", value)
    if len(value.encode()) > layout.maximum_text_bytes:
        return _rejection(record, TOO_LONG, value)
    return _CONTROL.sub("", value)


def _label(value: object) -> str | None:
    """A title or address on one line; None where there is none, or no end."""
    if not isinstance(value, str) or len(value) > _LONGEST_LABEL:
        return None
    return " ".join(_SURROGATE.sub("�", _CONTROL.sub("", value)).split()) or None


def _parse_page(record: RawRecord, layout: RecordLayout) -> list[ParsedDocument | Rejection]:
    page = record.raw
    if not isinstance(page, dict):
        return [_rejection(record, "not_an_object")]
    if (reason := _reason_of_page(page, layout)) is not None:
        return [_rejection(record, reason, page["title"])]
    article = article_of(page)
    if article is None:
        return [_rejection(record, UNPARSABLE_MARKUP, page["title"])]
    documents: list[ParsedDocument | Rejection] = [
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
        )
        for number, section in enumerate(article.sections)
        if len((text := _CONTROL.sub("", section.text)).split()) >= MINIMUM_SECTION_WORDS
    ]
    return documents or [_rejection(record, NO_TEXT_AFTER_MARKUP, page["title"])]


def _reason_of_page(page: dict[str, Any], layout: RecordLayout) -> str | None:
    is_long = len(page["text"].encode()) > layout.maximum_text_bytes
    return reason_of_page(page) or (TOO_LONG if is_long else None)
