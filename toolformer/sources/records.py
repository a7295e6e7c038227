"""Parses the records of a source into documents."""

import datetime
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from toolformer.base.digests import hex_digest
from toolformer.markup import Calculation, count_html, count_unreadable, strip_markup
from toolformer.sources.columns import MISSING, value_at
from toolformer.sources.dates import parse_publication_date
from toolformer.sources.losses import LossKind
from toolformer.sources.reasons import Reason
from toolformer.sources.source import Source

EXCERPT_CHARACTERS = 200
_MAX_LABEL_CHARACTERS = 10_000

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_UNDECODABLE = re.compile(f"{_CONTROL.pattern}|{_SURROGATE.pattern}|\ufffd")


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file.

    Attributes:
        source: name of the file, as the user wrote it.
        offset: index of the line, row or article in the file, from 0; 0 for a text file.
        columns: values by column; bytes that are not UTF-8 become surrogate escapes.
        raw: the stored line; None for records of other formats.
        reason: why the reader rejects the record; None if it does not.
        unread: names of the columns that are not read.
    """

    source: str
    offset: int
    columns: Mapping[str, Any]
    raw: bytes | None = None
    reason: Reason | None = None
    unread: tuple[str, ...] = ()

    @property
    def content(self) -> bytes:
        return json.dumps(self.columns, default=str).encode() if self.raw is None else self.raw


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A text with its metadata; text and context have no control characters.

    Attributes:
        document_id: digest of source and offset, 32 hexadecimal digits.
        context: text that precedes the document in training and is not annotated.
        title: the title; for a text file, its name.
        losses: number of losses by kind; see `losses`.
        calculations: calculations and calls whose marks `strip_marks` removed from the text.
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
    calculations: tuple[Calculation, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that yields no document; `excerpt` is its beginning, from `excerpt_of`."""

    source: str
    source_offset: int
    reason: str
    excerpt: str


def fields_of(content: Source | ParsedDocument | Rejection, but: Iterable[str]) -> dict[str, Any]:
    """Return fields by name. Unlike `dataclasses.asdict`, this does not copy the values."""
    return {name: getattr(content, name) for name in content.__slots__ if name not in but}


def document_id(source: str, offset: int) -> str:
    return hex_digest(json.dumps([source, offset]))


def excerpt_of(content: object) -> str:
    """Return at most 200 printable characters on one line."""
    # Reading only four times the length bounds the work on huge values, and usually suffices
    # despite repeated white space.
    max_read = EXCERPT_CHARACTERS * 4
    if isinstance(content, bytes):
        content = content[: 4 * max_read].decode("utf-8", "replace")
    text = (
        content
        if isinstance(content, str)
        else json.dumps(content, ensure_ascii=False, default=str)
    )
    line = " ".join(text[:max_read].split())[:EXCERPT_CHARACTERS]
    if line.isprintable():
        return line
    return "".join(character if character.isprintable() else "�" for character in line)


def parse_record(record: Record, source: Source) -> ParsedDocument | Rejection:
    """Return the document of a record, or its rejection."""
    if record.reason is not None:
        return _rejection(record, record.reason)
    fields = {
        name: value_at(record.columns, column) for name, column in source.columns_by_role.items()
    }
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
    losses = Counter[LossKind]()
    losses["dates"] += published_on is None and _is_given(date)
    losses["addresses"] += sum(_is_given(label) and _label(label) is None for label in (title, url))
    losses["columns"] += sum(fields[role] is MISSING for role in source.named_columns)
    written = (fields["text"], fields.get("context"), title, url)
    losses["encodings"] += any(isinstance(t, str) and bool(_UNDECODABLE.search(t)) for t in written)
    losses["markup"] += count_html(text) + count_html(context)
    stripped, marks, calculations = strip_markup(text)
    # Skip the call without a context, since most records have none.
    stripped_context, context_marks, context_calculations = (
        strip_markup(context) if context else ("", 0, ())
    )
    if source.strip_marks:
        text, context = stripped, stripped_context
        losses["unread_marks"] += count_unreadable(text)
        if not text.strip():
            return _rejection(record, "empty_text", fields["text"])
    else:
        calls = sum(
            calculation.tool is not None for calculation in (*calculations, *context_calculations)
        )
        losses["calls"] += calls
        losses["marks"] += marks + context_marks - calls
        calculations = ()
    return ParsedDocument(
        document_id=document_id(record.source, record.offset),
        text=text,
        # The context is an empty text here if no context column is set.
        context=context if context.strip() else None,
        title=_label(title),
        url=_label(url),
        published_on=published_on,
        source=record.source,
        source_offset=record.offset,
        losses=dict(+losses),
        calculations=tuple(calculations),
    )


def _rejection(record: Record, reason: Reason, shown: object = None) -> Rejection:
    if shown is None:
        shown = record.columns if record.raw is None else record.raw
    return Rejection(record.source, record.offset, reason, excerpt_of(shown))


def _is_given(value: object) -> bool:
    """Return whether an optional column has a value; pandas writes NaN for a missing one."""
    if value is None or value is MISSING or value != value:
        return False
    return not isinstance(value, str) or bool(value.strip())


def _parse_text(
    record: Record, source: Source, name: Literal["text", "context"], value: object
) -> str | Rejection:
    if value is None or value is MISSING:
        return _rejection(record, "missing_text" if name == "text" else "missing_context")
    if not isinstance(value, str):
        is_text = name == "text"
        return _rejection(record, "text_not_a_string" if is_text else "context_not_a_string")
    has_odd_characters = bool(_UNDECODABLE.search(value))
    if has_odd_characters and _SURROGATE.search(value):
        return _rejection(record, "invalid_utf8", value)
    if len(value.encode()) > source.maximum_text_bytes:
        return _rejection(record, "too_long", value)
    return _without_controls(value) if has_odd_characters else value


def _without_controls(text: str) -> str:
    # White space such as a form feed becomes a space, so that adjacent words are not joined.
    return _CONTROL.sub(lambda control: " " if control[0].isspace() else "", text)


def _label(value: object) -> str | None:
    """Return a title or address on one line; None if empty, not a text, or too long."""
    if not isinstance(value, str) or len(value) > _MAX_LABEL_CHARACTERS:
        return None
    return " ".join(_SURROGATE.sub("�", _without_controls(value)).split()) or None
