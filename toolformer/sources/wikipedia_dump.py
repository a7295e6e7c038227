"""Pages of a Wikipedia XML dump, one at a time; no more than a chunk and its pages in memory."""

import io
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from toolformer.sources.compression import ByteStream
from toolformer.sources.wiki_markup import MEDIA_NAMESPACES

_MEDIA_NAMESPACE_KEYS = frozenset({"-2", "6", "14"})
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]+)*$")
_KEPT_OF_OTHER_PAGES = 200
# Of other elements no text is kept.
_FIELDS = {"title": "page", "ns": "page", "id": "page", "model": "revision", "text": "revision"}
_WITH_TEXT = frozenset({*_FIELDS, "base", "namespace"})
_XML_BYTES = 1 << 16
# Far above what MediaWiki writes.
_LONGEST_TAG, _LONGEST_FIELD = 4 << 20, 1_000
_MAX_DEPTH, _MAX_NAMESPACES = 100, 100


def read_pages(stream: ByteStream, *, maximum_text_bytes: int) -> Iterator[dict[str, Any]]:
    """Yields the pages of a dump in order, of all namespaces.

    Memory does not grow with a page, a tag or the distance between pages.

    Of a text longer than `maximum_text_bytes`, so many characters are kept and one more.

    Yields:
        `page_id`, `title`, `namespace` (0 = article), `redirect` (bool), `is_wikitext`, `text`
        (markup of the last revision; only its beginning for redirects and other namespaces),
        `base` (address before the title), `media` (names of media namespaces).

    Raises:
        xml.etree.ElementTree.ParseError: the XML is malformed or cut; pages before it came.
        OSError: without a number, a tag or comment does not end, the encoding cannot be read, or
            there is no page; or the stream says so.
        EOFError, ExpansionError: the stream says so.
    """
    target = _Pages(maximum_text_bytes)
    parser = ElementTree.XMLParser(target=target)
    chunk, pages = b"<", 0
    while chunk:
        chunk = stream.read(_XML_BYTES)
        try:
            if chunk:
                target.feed(parser, chunk)
            else:
                parser.close()
        except (ElementTree.ParseError, OSError):
            yield from target.pages
            raise
        pages += len(target.pages)
        yield from target.pages
        target.pages.clear()
    if not pages:
        raise OSError("the XML has no page. Expected a Wikipedia dump (pages-articles)")


class _Pages:
    """Gathers pages from the events of an XML parser; what belongs to no page is let go."""

    def __init__(self, maximum_text_bytes: int) -> None:
        self.pages: list[dict[str, Any]] = []
        self._unseen_bytes = 0
        self._longest_text = maximum_text_bytes + 1
        self._base, self._media = "https://en.wikipedia.org/wiki/", MEDIA_NAMESPACES
        self._path: list[str] = []
        self._key: str | None = None
        self._fields: dict[str, str] = {}
        self._content = io.StringIO()
        self._room = 0

    def feed(self, parser: ElementTree.XMLParser, chunk: bytes) -> None:
        """Lets the parser, whose target this is, read on."""
        self._unseen_bytes += len(chunk)
        try:
            parser.feed(chunk)
        except (LookupError, ValueError) as error:
            raise OSError(
                "its first line names an encoding that cannot be read (MediaWiki writes UTF-8)"
            ) from error
        # The parser holds a tag or comment whole until it ends.
        if self._unseen_bytes > _LONGEST_TAG:
            raise OSError(f"a tag or comment of over {_LONGEST_TAG:,} bytes, which no dump has")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        self._unseen_bytes = 0
        name = tag.rpartition("}")[2]
        self._path.append(name)
        if len(self._path) > _MAX_DEPTH:
            raise OSError(f"elements nested more than {_MAX_DEPTH} deep, which no dump has")
        if len(self._path) == 1:
            language = attributes.get("{http://www.w3.org/XML/1998/namespace}lang", "en")
            if _LANGUAGE.match(language):
                self._base = f"https://{language}.wikipedia.org/wiki/"
        elif name == "page":
            self._fields = {}
        elif name == "redirect":
            self._fields["redirect"] = ""
        elif name == "revision":
            # The last one counts.
            self._fields.pop("model", None)
            self._fields.pop("text", None)
        self._room = 0
        if name in _WITH_TEXT:
            self._room = self._longest_text if name == "text" else _LONGEST_FIELD
            self._content = io.StringIO()
            self._key = attributes.get("key")

    def data(self, content: str) -> None:
        """A piece of text; however many there are, only the beginning is kept."""
        self._unseen_bytes = 0
        if self._room:
            self._room -= self._content.write(content[: self._room])

    def end(self, _tag: str) -> None:
        """An element ends."""
        self._unseen_bytes = 0
        name = self._path.pop()
        parent = self._path[-1] if self._path else ""
        self._room = 0
        if name in _FIELDS and parent == _FIELDS[name]:
            self._fields[name] = self._content.getvalue()
        elif (parent, name) == ("siteinfo", "base"):
            self._base = _base_address(self._content.getvalue()) or self._base
        elif (parent, name) == ("namespaces", "namespace"):
            if self._key in _MEDIA_NAMESPACE_KEYS and len(self._media) < _MAX_NAMESPACES:
                self._media |= {self._content.getvalue().lower()}
        elif name == "page":
            self.pages.append(
                _page(self._fields) | {"base": self._base, "media": sorted(self._media)}
            )


def _base_address(main_page: str) -> str | None:
    main_page = main_page.strip()
    return main_page.rpartition("/")[0] + "/" if main_page.startswith("http") else None


def _page(fields: dict[str, str]) -> dict[str, Any]:
    text = fields.get("text", "")
    namespace = _number(fields.get("ns"))
    is_redirect = "redirect" in fields
    is_article = namespace == 0 and not is_redirect
    return {
        "page_id": _number(fields.get("id")),
        "title": fields.get("title", "").strip(),
        "namespace": namespace,
        "redirect": is_redirect,
        "is_wikitext": fields.get("model") in (None, "wikitext"),
        "text": text if is_article else text[:_KEPT_OF_OTHER_PAGES],
    }


def _number(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0
