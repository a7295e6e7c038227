"""Problems of ASDiv's XML, one at a time.

A document type is refused, since entities that it declares can grow to gigabytes.
"""

from collections.abc import Iterable, Iterator
from xml.etree import ElementTree

_LONGEST_FIELD = 100_000


def read_problems(chunks: Iterable[bytes]) -> Iterator[dict[str, object]]:
    """Yields the columns of each problem: its attributes and the texts of its elements.

    Args:
        chunks: The document in pieces.

    Raises:
        xml.etree.ElementTree.ParseError: The XML is malformed or cut; problems before came.
        ValueError: It declares a document type.
    """
    target = _Problems()
    parser = ElementTree.XMLParser(target=target)
    for chunk in chunks:
        parser.feed(chunk)
        yield from target.done
        target.done.clear()
    parser.close()


class _Problems:
    """Gathers problems from the events of an XML parser; all else is let go."""

    def __init__(self) -> None:
        self.done: list[dict[str, object]] = []
        self._problem: dict[str, object] | None = None
        self._text = ""

    def doctype(self, name: str, _public: str | None, _system: str | None) -> None:
        """A document type begins."""
        raise ValueError(f"it declares a document type ({name!r}), which ASDiv does not")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        if tag == "Problem":
            self._problem = dict(attributes)
        self._text = ""

    def data(self, text: str) -> None:
        """A piece of text."""
        if self._problem is not None and len(self._text) < _LONGEST_FIELD:
            self._text += text

    def end(self, tag: str) -> None:
        """An element ends."""
        if self._problem is None:
            return
        if tag == "Problem":
            self.done.append(self._problem)
            self._problem = None
        else:
            self._problem[tag] = self._text
