"""Wikipedia articles: of the pages of a dump, or written as JSON lines.

    {"wikipedia_title": "Otter", "text": ["Otter", "Otters swim.", "Section::::Diet.", …]}
    {"title": "Otter", "text": "Otters swim.", "url": "https://…"}

The first is KILT's knowledge source.
"""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from urllib.parse import quote

from toolformer.sources.compression import ByteStream, decompressed
from toolformer.sources.errors import DamageError, LongPageError, SourceError
from toolformer.sources.files import SourceFile, open_stored
from toolformer.sources.reasons import Reason, Tally
from toolformer.sources.source import MAXIMUM_TEXT_BYTES
from toolformer.sources.wiki_markup import ArticleSection, is_costly, sections_of
from toolformer.sources.wikipedia_dump import read_pages

# What MediaWiki itself leaves unescaped in addresses.
_URL_SAFE = ";@$!*(),/~:"
_ENGLISH = re.compile(r"https?://(?:en|simple)\.")
# How KILT writes headings and list items among the paragraphs.
_HEADING, _ITEM = "Section::::", "BULLET::::"


@dataclass(frozen=True, slots=True)
class Article:
    """One article; its sections are plain text by heading, the lead first."""

    title: str
    url: str
    sections: tuple[ArticleSection, ...]


def article_url(title: str, base: str = "https://en.wikipedia.org/wiki/") -> str:
    """The address of an article."""
    return base + quote(title.replace(" ", "_"), safe=_URL_SAFE)


def article_of(page: dict[str, Any], maximum_text_bytes: int) -> Article | Reason:
    """Removes the markup of a page (see `read_pages`), or says why it gives no article."""
    from mwparserfromhell.parser import ParserError

    if page["redirect"]:
        return "redirect"
    if page["namespace"] != 0 or not page["is_wikitext"]:
        return "not_an_article"
    if len(page["text"].encode()) > maximum_text_bytes:
        return "too_long"
    if is_costly(page["text"]):
        return "unparsable_markup"
    try:
        sections = sections_of(
            page["text"],
            media_namespaces=frozenset(page["media"]),
            is_english=_ENGLISH.match(page["base"]) is not None,
        )
    except (ParserError, RecursionError):
        return "unparsable_markup"
    if not sections:
        return "no_text_after_markup"
    url = article_url(page["title"], page["base"])
    return Article(page["title"], url, tuple(sections))


def read_articles(file: SourceFile, tally: Tally | None = None) -> Iterator[Article]:
    """Yields the articles of a file: no redirects, no other namespaces, none without text.

    Args:
        file: a dump or JSON lines, plain or compressed (`.bz2`, `.gz`, `.zst`), wherever it lies.
        tally: counts all pages of a dump, those that are left out with the reason.

    Raises:
        SourceError: the file is neither, or is gone or damaged; articles before the damage came.
    """
    try:
        with open_stored(file) as stored:
            content = decompressed(stored, file.path)
            if file.format == "wikipedia-dump":
                yield from _articles_of_dump(content, tally)
            else:
                yield from _articles_of_lines(content)
    except (EOFError, OSError, ValueError) as error:
        raise SourceError(
            f"The articles of {file.name!r} cannot be read to their end: {error}. Expected a "
            "complete XML dump (pages-articles), or JSON lines with 'wikipedia_title' and 'text', "
            "a list of paragraphs (KILT), or with 'title' and 'text', a string. Fetch the file "
            "again."
        ) from error


def _articles_of_dump(content: ByteStream, tally: Tally | None) -> Iterator[Article]:
    for page in read_pages(content, maximum_text_bytes=MAXIMUM_TEXT_BYTES):
        if isinstance(page, LongPageError):
            article, pages = "too_long", page.pages
        elif isinstance(page, DamageError):
            raise page
        else:
            article, pages = article_of(page, MAXIMUM_TEXT_BYTES), 1
        for _ in range(pages):
            if tally is not None:
                tally.count(None if isinstance(article, Article) else article)
        if isinstance(article, Article):
            yield article


def _articles_of_lines(content: ByteStream) -> Iterator[Article]:
    lines = io.TextIOWrapper(io.BufferedReader(content), encoding="utf-8")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            article = _article_of_line(json.loads(line))
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise ValueError(f"line {number} is no article ({problem})") from error
        yield article


def _article_of_line(record: dict[str, Any]) -> Article:
    if isinstance(record["text"], str):
        title, sections = str(record["title"]), [ArticleSection("", record["text"])]
    else:
        title = str(record["wikipedia_title"])
        sections = list(_sections(title, record["text"]))
    # KILT names the revision; passages want the article.
    url = str(record.get("url") or article_url(title))
    return Article(title, url, tuple(section for section in sections if section.text))


def _sections(title: str, paragraphs: list[str]) -> Iterator[ArticleSection]:
    heading = ""
    for is_heading, group in groupby(paragraphs, lambda paragraph: paragraph.startswith(_HEADING)):
        if is_heading:
            heading = list(group)[-1].removeprefix(_HEADING).strip().rstrip(".")
            # Below another heading it is written "Parent:Child".
            heading = heading.rpartition(":")[2]
        else:
            texts = [paragraph.strip().removeprefix(_ITEM).strip() for paragraph in group]
            # The first paragraph repeats the title.
            yield ArticleSection(heading, "\n\n".join(t for t in texts if t and t != title))
