"""Wiki markup to plain text, section by section.

A template that stands for a word or a number in a sentence is shown as a reader of the page sees it
(`wiki_templates`). Where that is not certain, and for formulas, the loss is counted and the
sentence is marked as damaged (`damage`).
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate, islice
from itertools import count as count_from
from typing import TYPE_CHECKING, Any

from toolformer.sources.damage import (
    LOST_BLOCK,
    LOST_FORMULA,
    LOST_TEMPLATE,
    MARK,
    RAISED_LINK,
    settled,
    spans_at,
)
from toolformer.sources.losses import LossKind
from toolformer.sources.scripts import BLANKS, plain_fractions, subscript, superscript
from toolformer.sources.wiki_templates import shown_by

if TYPE_CHECKING:
    from mwparserfromhell.nodes import Template

# The namespaces of pictures and categories in the English wiki; a dump's own names are added.
MEDIA_NAMESPACES = frozenset({"file", "image", "media", "category"})

# Sections that hold lists of links and literature instead of sentences.
APPARATUS_HEADINGS = frozenset(
    {
        *("bibliography", "citations", "external links", "footnotes", "further reading", "gallery"),
        *("notes", "notes and references", "references", "see also", "sources", "works cited"),
    }
)

# What they hold is no part of a sentence.
_DROPPED_TAGS = frozenset(
    {
        *("gallery", "graph", "imagemap", "ref", "references", "table", "templatedata"),
        *("templatestyles", "timeline"),
    }
)
_FORMULA_TAGS = frozenset({"ce", "chem", "math"})
_LOST_TAGS = frozenset({"hiero", "score", "source", "syntaxhighlight"})
_FORMULA_TEMPLATES = frozenset(
    {"bigmath", "chem", "chem2", "intmath", "math", "nuclide", "nuclide2", "su", "tmath"}
)
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_LANGUAGE_LINK = re.compile(r"[a-z]{2,3}(-[a-z]+)*$")

# What the markup parser looks for the end of, and the end.
_OPENING_OR_CLOSING = re.compile(
    r"(?P<open>\{\{|\[\[|\{\||<!--|\[(?=\w*:?//)|<[a-z]+)"
    r"|(?P<close>\}\}|\]\]|\|\}(?!\})|-->|\]|</[a-z]+|/>)",
    re.IGNORECASE,
)
_END_OF = {"{{": "}}", "[[": "]]", "{|": "|}", "<!--": "-->", "[": "]"}
_WITHOUT_END = frozenset({"<br", "<dd", "<dt", "<hr", "<li", "<td", "<th", "<tr", "<wbr"})
_MARK = re.compile(r"[][{}<>|&;:*#=]")
# The parser's time grows with the square of unclosed ones: 0.3 to 2 s for 1,000, minutes for
# 20,000. Each mark costs up to 50 µs and 1 KB; large articles have 100,000.
_MAX_UNCLOSED, _MAX_MARKS = 1_000, 500_000

_TITLE_POSSESSIVE = re.compile(r"(?<=\w)'''(?=s\b)")
_QUOTES = re.compile(r"'{2,}")
# Also what an entity stands for, such as `&#xd800;`, half a character.
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_CLEANING = (
    # Runs of white space go first, so that no later pattern meets a long one.
    (re.compile(rf"{MARK}*[ \t\r\f\v\u00a0]+[ \t\r\f\v\u00a0{MARK}]*"), " "),
    (re.compile(r"\n{3,}"), "\n\n"),
    (re.compile(r"\(\s*(?:[;,]\s*)+"), "("),
    # Bounded: an unbounded run would be tried again from each of its characters.
    (re.compile(r"(?:\s{0,2}[;,]){1,8}\s{0,2}\)"), ")"),
    (re.compile(r" ?\(\s*\)"), ""),
    (re.compile(r" +([,.;:!?])(?=\s|$)"), r"\1"),
    (re.compile(r"__[A-Z]+__"), ""),
    (re.compile(r"(?m)^(?:- ?)+$"), ""),
    (re.compile(rf"(?m)^[ {MARK}]+|[ {MARK}]+$"), ""),
    (re.compile(r"\n{3,}"), "\n\n"),
)


@dataclass(frozen=True, slots=True)
class ArticleSection:
    """Plain text of an article under one heading, which is empty for the lead.

    Attributes:
        losses: what of the markup is not in the text, by kind.
        damaged_spans: start and end of the sentences that lost something, in characters of `text`.
    """

    heading: str
    text: str
    losses: Mapping[LossKind, int] = field(default_factory=dict)
    damaged_spans: tuple[tuple[int, int], ...] = ()


def sections_of(
    markup: str, *, media_namespaces: frozenset[str] = MEDIA_NAMESPACES, is_english: bool = True
) -> list[ArticleSection]:
    """Removes wiki markup and splits an article into its sections that have text, in order.

    Pictures, categories, tables, boxes, footnotes, galleries and formulas are dropped, and
    so are sections of links and literature (`APPARATUS_HEADINGS`) with their subsections. Control
    characters are in no text.

    Args:
        media_namespaces: lower-case names of namespaces whose links show no text.
        is_english: whether numbers are grouped as English does it.

    Example:
        >>> [section] = sections_of("A '''cat''' has [[leg|legs]].<ref>x</ref> It has {{legs|4}}.")
        >>> section.text, section.losses, section.damaged_spans
        ('A cat has legs. It has.', {'templates': 1}, ((15, 23),))
    """
    import mwparserfromhell
    from mwparserfromhell.nodes import Heading

    sections: list[ArticleSection] = []
    heading, pieces = "", []
    dropped_level: int | None = None

    def close() -> None:
        marked, losses = settled("".join(pieces))
        *parts, last = _clean(marked).split(MARK)
        text = "".join((*parts, last))
        if text and dropped_level is None:
            places = accumulate(map(len, parts))
            sections.append(ArticleSection(heading, text, losses, spans_at(text, places)))

    show = _Shown(media_namespaces, is_english=is_english)
    # Style tags are removed below by pattern; parsing them costs time and fails on odd quotes.
    for node in mwparserfromhell.parse(_NO_TEXT.sub("", markup), skip_style_tags=True).nodes:
        if not isinstance(node, Heading):
            pieces.append(show.node(node))
            continue
        close()
        heading, pieces = _clean(_NO_TEXT.sub("", show.all(node.title.nodes))), []
        if dropped_level is None or node.level <= dropped_level:
            dropped_level = node.level if heading.casefold() in APPARATUS_HEADINGS else None
    close()
    return sections


def is_costly(markup: str) -> bool:
    """Whether parsing would take minutes or gigabytes, as no article of an encyclopaedia does."""
    open_ones: Counter[str] = Counter()
    latest_tag = ""
    for bracket in _OPENING_OR_CLOSING.finditer(markup):
        mark = bracket[0].lower()
        if bracket["open"]:
            end = _END_OF.get(mark) or f"</{mark[1:]}"
            latest_tag = end if mark not in _END_OF else latest_tag
            open_ones[end] += mark not in _WITHOUT_END
        else:
            end = latest_tag if mark == "/>" else mark
            open_ones[end] = max(0, open_ones[end] - 1)
    if open_ones.total() > _MAX_UNCLOSED:
        return True
    return sum(1 for _ in islice(_MARK.finditer(markup), _MAX_MARKS + 1)) > _MAX_MARKS


def _clean(text: str) -> str:
    """Puts blanks and brackets in order around what is gone; no mark of damage is lost."""
    text = plain_fractions(_QUOTES.sub("", _TITLE_POSSESSIVE.sub("'", text)))
    for pattern, replacement in _CLEANING:
        if MARK not in text:
            text = pattern.sub(replacement, text)
            continue
        text = pattern.sub(
            lambda match, shown=replacement: MARK * match[0].count(MARK) + match.expand(shown), text
        )
    bare = text.strip()
    start = text.find(bare)
    before, after = text[:start], text[start + len(bare) :]
    return MARK * before.count(MARK) + bare + MARK * after.count(MARK)


class _Shown:
    """The text that a reader of a page sees in place of its nodes, with marks of what is lost."""

    def __init__(self, media_namespaces: frozenset[str], *, is_english: bool) -> None:
        self._media_namespaces = media_namespaces
        self._is_english = is_english

    def all(self, nodes: Iterable[Any]) -> str:
        return "".join(map(self.node, nodes))

    def node(self, node: Any) -> str:
        from mwparserfromhell import nodes

        match node:
            case nodes.Text():
                return str(node.value)
            case nodes.Wikilink():
                return self._link(node)
            case nodes.Template():
                return self._template(node)
            case nodes.Tag():
                return self._tag(node)
            case nodes.HTMLEntity():
                return _NO_TEXT.sub("", node.normalize())
            case nodes.ExternalLink() if node.title is not None:
                return self.all(node.title.nodes)
            case nodes.ExternalLink():
                return "" if node.brackets else str(node.url)
            case nodes.Heading():  # a heading inside a tag is shown as a line
                return self.all(node.title.nodes)
            case _:
                return ""

    def _value(self, value: Any) -> str:
        return _QUOTES.sub("", self.all(value.nodes)).strip(BLANKS)

    def _link(self, node: Any) -> str:
        title = str(node.title).strip()
        prefix, colon, _ = title.partition(":")
        prefix = prefix.strip().lower()
        if colon and prefix in self._media_namespaces:
            return ""
        if node.text is not None:
            return self.all(node.text.nodes)
        # [[fr:Titre]] is shown in the margin.
        return "" if colon and _LANGUAGE_LINK.match(prefix) else title.removeprefix(":")

    def _tag(self, node: Any) -> str:
        name = str(node.tag).strip().lower()
        if name in _DROPPED_TAGS or _HIDDEN.search("".join(map(str, node.attributes))):
            return ""
        if name in _FORMULA_TAGS:
            return LOST_FORMULA
        if name in _LOST_TAGS:
            return LOST_BLOCK if "\n" in str(node) else LOST_TEMPLATE
        if name == "br":
            return "\n"
        if node.wiki_markup is not None and node.self_closing:
            return "- " if name == "li" else ""
        if node.contents is None:
            return ""
        if name not in {"sub", "sup"}:
            return self.all(node.contents.nodes)
        content = self._value(node.contents)
        if name == "sub":
            return subscript(content)
        shown = superscript(content)
        return RAISED_LINK if shown and _leads_to_footnote(node.contents) else shown

    def _template(self, node: "Template") -> str:
        name = " ".join(self.all(node.name.nodes).replace("_", " ").split(" "))
        name, colon, argument = name.partition(":")
        values = {
            str(parameter.name).strip(): self._value(parameter.value) for parameter in node.params
        }
        count = next(number for number in count_from(1) if str(number) not in values) - 1
        positional = [values.pop(str(number)) for number in range(1, count + 1)]
        named = {key.lower(): value for key, value in values.items() if value}
        shown = shown_by(
            name.strip().lower() + colon + argument, positional, named, is_english=self._is_english
        )
        if shown is not None:
            return shown
        if name.strip().lower() in _FORMULA_TEMPLATES:
            return LOST_FORMULA
        return LOST_BLOCK if "\n" in str(node) else LOST_TEMPLATE


def _leads_to_footnote(superscript: Any) -> bool:
    links = superscript.filter_wikilinks()
    return bool(superscript.filter_external_links()) or any(
        str(link.title).startswith("#") for link in links
    )
