"""Wiki markup to plain text, section by section.

Templates are dropped, apart from a few that stand for a word or a quantity inside a sentence.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

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

_DROPPED_TAGS = frozenset(
    {
        *("ce", "chem", "code", "gallery", "graph", "hiero", "imagemap", "math", "ref"),
        *("references", "score", "source", "syntaxhighlight", "table", "templatedata", "timeline"),
    }
)
# Template name to the positional parameter that is the shown text.
_SHOWN_PARAMETER = {
    **dict.fromkeys(("abbr", "angbr", "nobr", "nowrap", "small"), 1),
    "lang": 2,
    **dict.fromkeys(("transl", "transliteration"), -1),
}
_SHOWN_TEXT = {
    "'": "'",
    "'s": "'s",
    "endash": "–",
    "emdash": "—",
    "mdash": "—",
    "nbsp": " ",
    "ndash": "–",
    "snd": " – ",
    "spaced ndash": " – ",
}
_RANGE_WORDS = frozenset({"-", "–", "and", "by", "or", "to", "x", "×"})
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
_SURROGATE = re.compile("[\ud800-\udfff]")  # `&#xd800;` is half a character
_CLEANING = (
    # Runs of white space go first, so that no later pattern meets a long one.
    (re.compile(r"[ \t\r\f\v\u00a0]+"), " "),
    (re.compile(r"\n{3,}"), "\n\n"),
    (re.compile(r"\(\s*(?:[;,]\s*)+"), "("),
    # Bounded: an unbounded run would be tried again from each of its characters.
    (re.compile(r"(?:\s{0,2}[;,]){1,8}\s{0,2}\)"), ")"),
    (re.compile(r" ?\(\s*\)"), ""),
    (re.compile(r" +([,.;:!?])(?=\s|$)"), r"\1"),
    (re.compile(r"__[A-Z]+__"), ""),
    (re.compile(r"(?m)^(?:- ?)+$"), ""),
    (re.compile(r"(?m)^ +| +$"), ""),
    (re.compile(r"\n{3,}"), "\n\n"),
)


@dataclass(frozen=True, slots=True)
class ArticleSection:
    """Plain text of an article under one heading, which is empty for the lead."""

    heading: str
    text: str


def sections_of(
    markup: str, *, media_namespaces: frozenset[str] = MEDIA_NAMESPACES
) -> list[ArticleSection]:
    """Removes wiki markup and splits an article into its sections that have text, in order.

    Pictures, categories, tables, templates, footnotes, galleries and formulas are dropped, and
    so are sections of links and literature (`APPARATUS_HEADINGS`) with their subsections.

    Args:
        markup: the page's wikitext.
        media_namespaces: lower-case names of namespaces whose links show no text.

    Example:
        >>> sections_of("A '''cat''' is an [[animal]].<ref>x</ref>")
        [ArticleSection(heading='', text='A cat is an animal.')]
    """
    import mwparserfromhell
    from mwparserfromhell.nodes import Heading

    sections: list[ArticleSection] = []
    heading, pieces = "", []
    dropped_level: int | None = None

    def close() -> None:
        text = _clean("".join(pieces))
        if text and dropped_level is None:
            sections.append(ArticleSection(heading, text))

    # Style tags are removed below by pattern; parsing them costs time and fails on odd quotes.
    for node in mwparserfromhell.parse(markup, skip_style_tags=True).nodes:
        if not isinstance(node, Heading):
            pieces.extend(_shown(node, media_namespaces))
            continue
        close()
        heading, pieces = _clean("".join(_shown_all(node.title.nodes, media_namespaces))), []
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
    text = _QUOTES.sub("", _TITLE_POSSESSIVE.sub("'", text))
    for pattern, replacement in _CLEANING:
        text = pattern.sub(replacement, text)
    return text.strip()


def _shown_all(nodes: Iterable[Any], media_namespaces: frozenset[str]) -> Iterator[str]:
    for node in nodes:
        yield from _shown(node, media_namespaces)


def _shown(node: Any, media_namespaces: frozenset[str]) -> Iterator[str]:
    """Yields the text that a reader of the page would see in place of `node`."""
    from mwparserfromhell import nodes

    if isinstance(node, nodes.Text):
        yield str(node.value)
    elif isinstance(node, nodes.Wikilink):
        yield from _shown_link(node, media_namespaces)
    elif isinstance(node, nodes.Template):
        yield from _shown_template(node, media_namespaces)
    elif isinstance(node, nodes.Tag):
        yield from _shown_tag(node, media_namespaces)
    elif isinstance(node, nodes.HTMLEntity):
        yield _SURROGATE.sub("", node.normalize())
    elif isinstance(node, nodes.ExternalLink):
        if node.title is not None:
            yield from _shown_all(node.title.nodes, media_namespaces)
        elif not node.brackets:
            yield str(node.url)
    elif isinstance(node, nodes.Heading):  # a heading inside a tag is shown as a line
        yield from _shown_all(node.title.nodes, media_namespaces)


def _shown_link(node: Any, media_namespaces: frozenset[str]) -> Iterator[str]:
    title = str(node.title).strip()
    prefix, colon, _ = title.partition(":")
    prefix = prefix.strip().lower()
    if colon and prefix in media_namespaces:
        return
    if node.text is not None:
        yield from _shown_all(node.text.nodes, media_namespaces)
    elif not (colon and _LANGUAGE_LINK.match(prefix)):  # [[fr:Titre]] is shown in the margin
        yield title.removeprefix(":")


def _shown_tag(node: Any, media_namespaces: frozenset[str]) -> Iterator[str]:
    name = str(node.tag).strip().lower()
    if name in _DROPPED_TAGS:
        return
    if name == "br":
        yield "\n"
    elif node.wiki_markup is not None and node.self_closing:
        yield "- " if name == "li" else ""
    elif node.contents is not None:
        yield from _shown_all(node.contents.nodes, media_namespaces)


def _shown_template(node: "Template", media_namespaces: frozenset[str]) -> Iterator[str]:
    name = str(node.name).strip().lower().replace("_", " ")
    if name in _SHOWN_TEXT:
        yield _SHOWN_TEXT[name]
        return
    is_quantity = name in {"convert", "cvt"}
    shown = 1 if name.startswith("lang-") else _SHOWN_PARAMETER.get(name)
    if not is_quantity and shown is None:
        return
    positional = [
        "".join(_shown_all(parameter.value.nodes, media_namespaces)).strip()
        for parameter in node.params
        if not parameter.showkey
    ]
    if is_quantity:
        is_range = len(positional) >= 4 and positional[1] in _RANGE_WORDS
        yield " ".join(positional[: 4 if is_range else 2])
    elif shown is not None and positional and shown <= len(positional):
        yield positional[shown - 1 if shown > 0 else -1]
