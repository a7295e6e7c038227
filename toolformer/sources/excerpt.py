"""Reads the built-in Wikipedia excerpt: a dump that gensim ships for its tests."""

import bz2
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any
from urllib.parse import quote

_LISTS = "see also|notes|references|citations|sources|bibliography|further reading|external links"
# Applied before gensim's filter, which would otherwise keep parts of tables and captions, and drop
# quantities and quotations.
_BEFORE = (
    (r"<(?![a-z/!])|&lt;", "&amp;lt;"),
    (r"(?s)<ref\b[^>]*/>|<ref\b.*?</ref>|<(gallery|timeline)\b.*?</\1>", ""),
    (rf"(?s)^==\s*({_LISTS})\s*==.*?(?=^==[^=]|\Z)", ""),
    (r"\[\[(file|image):([^][]|\[\[[^][]*\]\]|\[[^][]*\])*\]\]", ""),
    (r"(?s)^[:* ]*\{\|((?!^[:* ]*\{\|).)*?^\s*\|\}", ""),
    (r"\[\[(?!category:)(?:[^][|]*\|)?([^][|]*)\]\]", r"\1"),
    (r"<sup>([\d+−-]+)</sup>", r"^\1"),
    # Move the visible text of a template in front of the template, which gensim removes.
    (r"\{\{convert\|([^|{}]+)\|(?:(to|and|by|-|–|x)\|([^|{}]+)\|)?([^|{}]+)", r"\1 \2 \3 \4{{"),
    (r"\{\{\|(\d+)\|(in|lb|oz)\b", r" \1 \2{{"),
    (r"\{\{(?:lang|transl)[^{}]*\|([^|{}]+)\}\}", r"\1"),
    (r"\{\{(as of)\|(\d+)", r"\1 \2{{"),
    (r"\{\{(?:nowrap|c?quote|nihongo|ipa|angbr|small|smaller|sc)\|(?:\w+=)?([^|{}]+)", r"\1{{"),
)
_AFTER = (
    (r"'{2,}|__[A-Z]+__|^[*#:;]+\s*$|\s*\([,;:\s]*\)|^[:;]+(?![*#])[ \t]*", ""),
    (r"&lt;", "<"),
    (r"^[:;*#]*[*#][ \t]*", "- "),
    (r"^\s*=+ *(.*?) *=+\s*$", r"\n\1\n"),
    (r"\([,;:\s]+", "("),
    (r"[ \t\xa0]+", " "),
    (r" ([,.;:)]?(?:\s|$))", r"\1"),
    (r"\n{3,}", "\n\n"),
)


def read_wikipedia_excerpt(stream: IO[bytes]) -> Iterator[dict[str, str]]:
    """Yield title, text and url of each article in a bzip2 dump; skip redirects."""
    from gensim.corpora.wikicorpus import extract_pages, filter_wiki

    only_articles: Any = ("0",)
    for title, markup, _ in extract_pages(bz2.BZ2File(stream), only_articles):
        if markup and not markup.lower().startswith("#redirect"):
            text = filter_wiki(_replaced(markup, _BEFORE), promote_remaining=False)
            page = quote(title.replace(" ", "_"), safe=";@$!*(),/~:")
            text, url = _replaced(text, _AFTER).strip(), f"https://en.wikipedia.org/wiki/{page}"
            yield {"title": title, "text": text, "url": url}


def _replaced(text: str, patterns: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in patterns:
        text = re.sub(pattern, replacement, text, flags=re.IGNORECASE | re.MULTILINE)
    return text
