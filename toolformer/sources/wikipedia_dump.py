"""Pages and articles of a Wikipedia XML dump, one at a time.

Does not hold more than one page in memory, and does not read dumps of other projects' formats.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from toolformer.sources.compression import ByteStream, decompressed
from toolformer.sources.errors import SourceError, SourceNotFoundError
from toolformer.sources.wiki_markup import MEDIA_NAMESPACES, ArticleSection, sections_of

# A shorter section gives the language model nothing to ask about.
MINIMUM_SECTION_WORDS = 40

_MEDIA_NAMESPACE_KEYS = frozenset({"-2", "6", "14"})
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]+)*$")
# What MediaWiki itself leaves unescaped in addresses.
_URL_SAFE = ";@$!*(),/~:"
_KEPT_OF_OTHER_PAGES = 200
# The markup parser's time grows with the square of these: 0.3 s for 1,000, minutes for 20,000.
_BRACKETS = (("{{", "}}"), ("[[", "]]"))
_MOST_UNCLOSED = 1_000


@dataclass(frozen=True, slots=True)
class Article:
    """One article.

    Attributes:
        page_id: the wiki's number of the page.
        title: as shown above the article.
        url: its address.
        sections: plain text by heading, the lead first.
    """

    page_id: int
    title: str
    url: str
    sections: tuple[ArticleSection, ...]


def article_url(title: str, base: str = "https://en.wikipedia.org/wiki/") -> str:
    """The address of an article.

    Example:
        >>> article_url("Café au lait")
        'https://en.wikipedia.org/wiki/Caf%C3%A9_au_lait'
    """
    return base + quote(title.replace(" ", "_"), safe=_URL_SAFE)


def read_pages(stream: ByteStream) -> Iterator[dict[str, Any]]:
    """Yields the pages of a dump in order, of all namespaces.

    Args:
        stream: the XML, decompressed.

    Yields:
        `page_id`, `title`, `namespace` (0 = article), `redirect` (bool), `is_wikitext`, `text`
        (markup of the last revision; only its beginning for redirects and other namespaces),
        `base` (address before the title), `media` (names of media namespaces).

    Raises:
        xml.etree.ElementTree.ParseError: the XML is malformed or cut; pages before it came.
        EOFError, OSError: the stream says so.
    """
    base, media = "https://en.wikipedia.org/wiki/", MEDIA_NAMESPACES
    events = ElementTree.iterparse(stream, events=("start", "end"))
    _, root = next(events)
    language = root.get("{http://www.w3.org/XML/1998/namespace}lang", "en")
    if _LANGUAGE.match(language):
        base = f"https://{language}.wikipedia.org/wiki/"
    for event, element in events:
        if event == "start":
            continue
        name = _local_name(element)
        if name == "siteinfo":
            base = _base_address(element) or base
            media |= frozenset(
                (namespace.text or "").lower()
                for namespace in element.iterfind("{*}namespaces/{*}namespace")
                if namespace.get("key") in _MEDIA_NAMESPACE_KEYS
            )
        elif name == "page":
            yield _page(element) | {"base": base, "media": sorted(media)}
            # The root would otherwise keep an empty element for every page of the dump.
            root.clear()


def article_of(page: dict[str, Any]) -> Article | None:
    """Removes the markup of a page; None where the markup parser gives up on it."""
    from mwparserfromhell.parser import ParserError

    unclosed = (page["text"].count(a) - page["text"].count(b) for a, b in _BRACKETS)
    if max(unclosed) > _MOST_UNCLOSED:
        return None
    try:
        sections = sections_of(page["text"], media_namespaces=frozenset(page["media"]))
    except (ParserError, RecursionError):
        return None
    url = article_url(page["title"], page["base"])
    return Article(page["page_id"], page["title"], url, tuple(sections))


def read_articles(path: str | PathLike[str]) -> Iterator[Article]:
    """Yields the articles of a dump: no redirects, no other namespaces, none without text.

    Args:
        path: the dump, plain or compressed (`.bz2`, `.gz`, `.zst`).

    Raises:
        SourceNotFoundError: there is no such file.
        SourceError: the file is not a dump, or is damaged; articles before the damage came.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            for page in read_pages(decompressed(stream, path.name)):
                if page["namespace"] != 0 or page["redirect"] or not page["is_wikitext"]:
                    continue
                article = article_of(page)
                if article is not None and article.sections:
                    yield article
    except FileNotFoundError as error:
        raise SourceNotFoundError(
            f"There is no Wikipedia dump {str(path)!r}. Expected a file such as "
            "enwiki-latest-pages-articles.xml.bz2. Check the path."
        ) from error
    except (ElementTree.ParseError, EOFError, OSError, zlib.error) as error:
        raise SourceError(
            f"The Wikipedia dump {str(path)!r} cannot be read to its end: {error}. Expected a "
            "complete XML dump (pages-articles). Fetch the file again."
        ) from error


def _local_name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _base_address(siteinfo: ElementTree.Element) -> str | None:
    main_page = (siteinfo.findtext("{*}base") or "").strip()
    return main_page.rpartition("/")[0] + "/" if main_page.startswith("http") else None


def _page(element: ElementTree.Element) -> dict[str, Any]:
    revisions = element.findall("{*}revision")
    revision = revisions[-1] if revisions else None
    text = "" if revision is None else revision.findtext("{*}text") or ""
    model = None if revision is None else revision.findtext("{*}model")
    namespace = _number(element.findtext("{*}ns"))
    is_redirect = element.find("{*}redirect") is not None
    is_article = namespace == 0 and not is_redirect
    return {
        "page_id": _number(element.findtext("{*}id")),
        "title": (element.findtext("{*}title") or "").strip(),
        "namespace": namespace,
        "redirect": is_redirect,
        "is_wikitext": model in (None, "wikitext"),
        "text": text if is_article else text[:_KEPT_OF_OTHER_PAGES],
    }


def _number(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0
