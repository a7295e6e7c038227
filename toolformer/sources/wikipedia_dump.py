"""Pages of a Wikipedia XML dump, one at a time; no more than a chunk and its pages in memory."""

import io
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from toolformer.sources.compression import ByteStream
from toolformer.sources.errors import DamageError, ExpansionError
from toolformer.sources.wiki_markup import MEDIA_NAMESPACES

_MEDIA_NAMESPACE_KEYS = frozenset({"-2", "6", "14"})
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]+)*$")
_KEPT_OF_OTHER_PAGES = 200
# Of other elements no text is kept.
_FIELDS = {"title": "page", "ns": "page", "model": "revision", "text": "revision"}
_WITH_TEXT = frozenset({*_FIELDS, "base", "namespace"})
_XML_BYTES = 1 << 16
_PAGE = b"<page>"
# Far above what MediaWiki writes.
_LONGEST_TAG, _LONGEST_FIELD = 4 << 20, 1_000
_MAX_DEPTH, _MAX_NAMESPACES = 100, 100


def read_pages(
    stream: ByteStream, *, maximum_text_bytes: int
) -> Iterator[dict[str, Any] | DamageError]:
    """Yields the pages of a dump in order, of all namespaces.

    Memory does not grow with a page, a tag or the distance between pages. Where the XML is
    malformed or the stream is damaged, the error is given, and reading goes on at the next page.

    Of a text longer than `maximum_text_bytes`, so many characters are kept and one more.

    Yields:
        `title`, `namespace` (0 = article), `redirect` (bool), `is_wikitext`, `text`
        (markup of the last revision; only its beginning for redirects and other namespaces),
        `base` (address before the title), `media` (names of media namespaces).

    Raises:
        xml.etree.ElementTree.ParseError: the XML is cut; pages before it came.
        OSError: without a number, a tag or comment does not end, the encoding cannot be read, or
            there is no page; or the stream says so.
        EOFError, ExpansionError: the stream says so.
    """
    target = _Pages(maximum_text_bytes)
    parser: ElementTree.XMLParser | None = ElementTree.XMLParser(target=target)
    damage: DamageError | None = None
    pages = fed = 0
    try:
        for piece in _pieces(stream):
            if isinstance(piece, DamageError):
                parser, damage = None, _sum(damage, piece)
                continue
            if parser is None and piece.startswith(_PAGE):
                parser = target.new_parser()
            if parser is None:
                damage = _sum(damage, DamageError("", len(piece)))
                continue
            fed = len(piece) if piece.startswith(_PAGE) else fed + len(piece)
            found = target.feed_or_fail(parser, piece, fed)
            parser = None if found else parser
            if target.pages and damage is not None:
                yield damage
                damage = None
            pages += len(target.pages)
            yield from target.pages
            target.pages.clear()
            damage = damage if found is None else _sum(damage, found)
    except (EOFError, OSError, ExpansionError):
        yield from [*([] if damage is None else [damage]), *target.pages]
        raise
    if damage is not None:
        yield damage
    elif not pages:
        raise OSError("the XML has no page. Expected a Wikipedia dump (pages-articles)")
    if parser is not None:
        parser.close()


def _sum(first: DamageError | None, second: DamageError) -> DamageError:
    if first is None:
        return second
    return DamageError(str(first), first.skipped + second.skipped)


def _pieces(stream: ByteStream) -> Iterator[bytes | DamageError]:
    """The content in pieces; each page begins one, and may have several."""
    kept, is_at_end = b"", False
    while not is_at_end:
        try:
            chunk = stream.read(_XML_BYTES)
        except DamageError as error:
            yield from (kept, error)
            kept = b""
            continue
        is_at_end = not chunk
        before, *pages = (kept + chunk).split(_PAGE)
        pieces = [before, *(_PAGE + page for page in pages)]
        # A tag may lie across two chunks.
        end = pieces[-1].rfind(b"<")
        is_split = not is_at_end and end >= 0 and 0 < len(pieces[-1]) - end < len(_PAGE)
        kept = pieces[-1][end:] if is_split else b""
        yield from pieces[:-1]
        yield pieces[-1].removesuffix(kept)


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

    def new_parser(self) -> ElementTree.XMLParser:
        """A parser that begins between two pages of the dump."""
        self._path.clear()
        parser = ElementTree.XMLParser(target=self)
        self.feed(parser, b"<mediawiki>")
        return parser

    def feed_or_fail(
        self, parser: ElementTree.XMLParser, piece: bytes, fed: int
    ) -> DamageError | None:
        """As `feed`; the error where the XML is malformed, which costs so many bytes."""
        try:
            self.feed(parser, piece)
        except ElementTree.ParseError as error:
            return DamageError(f"malformed XML: {error}", fed)
        return None

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
            language = attributes.get("{http://www.w3.org/XML/1998/namespace}lang", "")
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
