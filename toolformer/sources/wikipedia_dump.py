"""Pages of a Wikipedia XML dump, one at a time; no more than a page of the XML in memory."""

import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

from toolformer.sources.compression import ByteStream
from toolformer.sources.errors import DamageError, ExpansionError, LongPageError
from toolformer.sources.wiki_markup import MEDIA_NAMESPACES

_MEDIA_NAMESPACE_KEYS = frozenset({"-2", "6", "14"})
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z]+)*$")
_KEPT_OF_OTHER_PAGES = 200
_XML_BYTES = 1 << 16
# No text holds these: its `<` are escaped.
_START, _END, _LAST_LINE = b"<page>", b"</page>", b"</mediawiki>"
# A page is longer than its text by further revisions, and by escaped characters.
_PAGE_BYTES_PER_TEXT_BYTE = 8
_EXPECTED = "Expected a Wikipedia dump (pages-articles)"
# Of a dump that does not say.
_SITE = {"base": "https://en.wikipedia.org/wiki/", "media": sorted(MEDIA_NAMESPACES)}


def read_pages(
    stream: ByteStream, *, maximum_text_bytes: int
) -> Iterator[dict[str, Any] | DamageError]:
    """Yields the pages of a dump in order, of all namespaces.

    Where the XML is malformed, a page far too long or the stream damaged, the error is given, and
    reading goes on at the next page.

    Of a text longer than `maximum_text_bytes`, so many characters are kept and one more.

    Yields:
        `title`, `namespace` (0 = article), `redirect` (bool), `is_wikitext`, `text`
        (markup of the last revision; only its beginning for redirects and other namespaces),
        `base` (address before the title), `media` (names of media namespaces).

    Raises:
        EOFError: the XML is cut; pages before it came. Or the stream says so.
        OSError: without a number, the encoding cannot be read, or there is no page; or the stream
            says so.
        ExpansionError: the stream says so.
    """
    damage: DamageError | None = None
    pages = 0
    try:
        for page in _pages(stream, maximum_text_bytes):
            if isinstance(page, DamageError):
                damage = _sum(damage, page)
                continue
            if damage is not None:
                yield damage
            damage, pages = None, pages + 1
            yield page
    except (EOFError, OSError, ExpansionError):
        if damage is not None:
            yield damage
        raise
    if damage is not None:
        yield damage
    elif not pages:
        raise OSError(f"the XML has no page. {_EXPECTED}")


def _sum(first: DamageError | None, second: DamageError) -> DamageError:
    if first is None:
        return second
    message, skipped = str(first), first.skipped + second.skipped
    if isinstance(first, LongPageError) and isinstance(second, LongPageError):
        return LongPageError(message, skipped, first.pages + second.pages)
    return DamageError(message, skipped)


def _pages(stream: ByteStream, maximum_text_bytes: int) -> Iterator[dict[str, Any] | DamageError]:
    site: dict[str, Any] | None = None
    for piece in _pieces(stream, maximum_text_bytes * _PAGE_BYTES_PER_TEXT_BYTE):
        if isinstance(piece, DamageError):
            yield piece
            continue
        if not piece.endswith(_END):
            if not piece.rstrip().endswith(_LAST_LINE):
                raise EOFError(f"the XML ends in front of its last line. {_EXPECTED}")
            return
        before, start, content = piece.rpartition(_START)
        try:
            if site is None:
                head, site = piece.partition(_START)[0], _SITE
                site, before = _site(head), before.removeprefix(head)
            if before.strip() or not start:
                yield DamageError("what stands there is no page", len(before or content))
            if start:
                yield _page(start + content, maximum_text_bytes + 1) | site
        except ElementTree.ParseError as error:
            yield DamageError(f"malformed XML: {error}", len(piece))


def _pieces(stream: ByteStream, longest: int) -> Iterator[bytes | DamageError]:
    """The content in pieces that end with a page each; the last one does not."""
    too_long = f"a page of over {longest:,} bytes"
    piece, skipped = bytearray(), 0
    while True:
        looked_at = max(0, len(piece) - len(_END))
        try:
            chunk = stream.read(_XML_BYTES)
        except DamageError as error:
            if skipped:
                yield LongPageError(too_long, skipped)
            # The page that was begun is lost with it.
            yield DamageError(str(error), error.skipped + len(piece))
            piece.clear()
            skipped = 0
            continue
        if not chunk:
            break
        piece += chunk
        while (end := piece.find(_END, looked_at)) >= 0:
            end += len(_END)
            yield LongPageError(too_long, skipped + end) if skipped else bytes(piece[:end])
            del piece[:end]
            looked_at = skipped = 0
        if len(piece) > longest:
            skipped += len(piece) - len(_END)
            del piece[: -len(_END)]
    if skipped:
        yield LongPageError(too_long, skipped)
    yield bytes(piece)


def _site(head: bytes) -> dict[str, Any]:
    """What stands in front of the pages."""
    if not head.strip():
        return _SITE
    try:
        root = ElementTree.fromstring(head + _LAST_LINE)
    except (LookupError, ValueError) as error:
        raise OSError(
            "its first line names an encoding that cannot be read (MediaWiki writes UTF-8)"
        ) from error
    base, media = _SITE["base"], set(MEDIA_NAMESPACES)
    language = root.get("{http://www.w3.org/XML/1998/namespace}lang", "")
    if _LANGUAGE.match(language):
        base = f"https://{language}.wikipedia.org/wiki/"
    main_page = root.findtext("{*}siteinfo/{*}base", "").strip()
    if main_page.startswith("http"):
        base = main_page.rpartition("/")[0] + "/"
    for namespace in root.iterfind("{*}siteinfo/{*}namespaces/{*}namespace"):
        if namespace.get("key") in _MEDIA_NAMESPACE_KEYS:
            media.add((namespace.text or "").lower())
    return {"base": base, "media": sorted(media)}


def _page(xml: bytes, longest_text: int) -> dict[str, Any]:
    page = ElementTree.fromstring(xml)
    # The last one counts.
    revision = ([*page.iterfind("revision")] or [page])[-1]
    namespace = _number(page.findtext("ns"))
    is_redirect = page.find("redirect") is not None
    is_article = namespace == 0 and not is_redirect
    text = revision.findtext("text", "")
    return {
        "title": page.findtext("title", "").strip(),
        "namespace": namespace,
        "redirect": is_redirect,
        "is_wikitext": revision.findtext("model") in (None, "wikitext"),
        "text": text[: longest_text if is_article else _KEPT_OF_OTHER_PAGES],
    }


def _number(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0
