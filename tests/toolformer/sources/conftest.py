import json
from collections.abc import Callable, Iterable

import pytest

from toolformer.sources.files import list_files
from toolformer.sources.readers import read_raw_records
from toolformer.sources.records import ParsedDocument, RawRecord, Rejection, parse_record
from toolformer.sources.source import Source


@pytest.fixture
def jsonl(written) -> Callable[..., Source]:
    """Writes records, or lines as they are; the source that they are."""

    def write(name: str, records: Iterable[object], **settings) -> Source:
        lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
        return written(name, "".join(line + "\n" for line in lines), **settings)

    return write


@pytest.fixture
def source_of() -> Callable[..., Source]:
    def make(path: object, **settings) -> Source:
        return Source(str(path), **({"shard_size": 3} | settings))

    return make


@pytest.fixture
def written(tmp_path, source_of) -> Callable[..., Source]:
    """Writes a file below the test's folder; the source that it is."""

    def write(name: str, content: bytes | str, **settings) -> Source:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return source_of(path, **settings)

    return write


def raw_records(source: Source) -> list[RawRecord]:
    files = list_files(source)
    return list(read_raw_records(source.with_format(files[0].format), files))


def parsed(source: Source) -> list[ParsedDocument | Rejection]:
    files = list_files(source)
    source = source.with_format(files[0].format)
    return [item for raw in read_raw_records(source, files) for item in parse_record(raw, source)]


def documents(source: Source) -> list[ParsedDocument]:
    """What is parsed, where all records are sound."""
    items = parsed(source)
    assert all(isinstance(item, ParsedDocument) for item in items), items
    return items


def outcomes(source: Source) -> list[str]:
    """The text of each document, the reason of each rejection."""
    return [item.reason if isinstance(item, Rejection) else item.text for item in parsed(source)]


DUMP_HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" xml:lang="fr">
<siteinfo><base>https://fr.wikipedia.org/wiki/Accueil</base><namespaces>
<namespace key="0" /><namespace key="6">Fichier</namespace><namespace key="14">Catégorie</namespace>
</namespaces></siteinfo>
"""


def page_xml(title: str, text: str, *, namespace: int = 0, redirect: str | None = None) -> str:
    mark = f'<redirect title="{redirect}" />' if redirect else ""
    return (
        f"<page><title>{title}</title><ns>{namespace}</ns><id>{len(title)}</id>{mark}"
        f"<revision><id>1</id><model>wikitext</model><text>{text}</text></revision></page>\n"
    )
