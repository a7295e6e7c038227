"""Texts with their calls, as JSON for the script of the report."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from toolformer.home.plots.style import colour_of

_Row = Mapping[str, Any]
_TEXT = ("document_id", "window_index", "round")


class ShownTexts(NamedTuple):
    """Texts for the page.

    `content` is JSON that is safe inside an HTML element. It contains `texts` texts of a sample of
    `of_texts`, which has at most `max_per_tool` texts per tool and round.
    """

    content: str
    texts: int
    kept_calls: int
    of_texts: int
    max_per_tool: int


def shown_texts(rows: pl.DataFrame, *, max_per_tool: int, max_bytes: int) -> ShownTexts:
    """Return the first texts whose JSON fits into `max_bytes`, from rows of `annotated_texts`."""
    shown: list[str] = []
    bytes_left, num_kept = max_bytes, 0
    texts = rows.partition_by(*_TEXT, maintain_order=True)
    for rows_of_text in texts:
        calls = list(rows_of_text.iter_rows(named=True))
        content = _for_html(_text(calls))
        bytes_left -= len(content.encode()) + 1
        if bytes_left < 0:
            break
        shown.append(content)
        num_kept += sum(call["is_kept"] for call in calls)
    return ShownTexts(f"[{','.join(shown)}]", len(shown), num_kept, len(texts), max_per_tool)


def _text(calls: Sequence[_Row]) -> dict[str, Any]:
    first = calls[0]
    return {
        "title": first["title"],
        "url": first["url"] if _is_web_address(first["url"]) else None,
        "date": first["published_on"],
        "document": first["document_id"],
        "window": first["window_index"],
        "round": first["round"],
        "shard": first["shard"],
        "parts": list(_parts(first["text"], first["window_offset"], calls)),
    }


def _is_web_address(url: str | None) -> bool:
    """Return whether an address may become a link: `javascript:` must not."""
    return url is not None and url.lower().startswith(("http://", "https://"))


def _parts(text: str, start: int, calls: Iterable[_Row]) -> Iterable[str | dict[str, Any]]:
    """Yield text and calls in order. A browser would split wrongly: it counts UTF-16 units."""
    done = 0
    for call in calls:
        offset = min(max(call["character_offset"] - start, done), len(text))
        if offset > done:
            yield text[done:offset]
        done = offset
        yield _call(call)
    yield text[done:]


def _call(row: _Row) -> dict[str, Any]:
    return {
        "id": row["call_id"],
        "tool": row["tool"],
        "colour": colour_of(row["tool"]),
        "arguments": row["arguments"],
        "result": row["result"],
        "gain": _rounded(row["loss_reduction"], 3),
        "probability": _rounded(row["call_probability"], 4),
        "proposed": row["proposed"],
        "kept": row["is_kept"],
        "reason": row["reason"],
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _for_html(value: object) -> str:
    """Return JSON in which no text can close the HTML element around it."""
    from jinja2.utils import htmlsafe_json_dumps

    return str(htmlsafe_json_dumps(value, ensure_ascii=False, separators=(",", ":")))
