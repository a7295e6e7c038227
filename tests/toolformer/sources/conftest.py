import json
from collections.abc import Callable, Iterable

import pytest

from toolformer.sources.files import list_files
from toolformer.sources.readers import read_documents, read_records
from toolformer.sources.records import ParsedDocument, Record, Rejection
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


def records(source: Source) -> list[Record]:
    return list(read_records(source, list_files(source)))


def parsed(source: Source) -> list[ParsedDocument | Rejection]:
    return list(read_documents(source, list_files(source)))


def documents(source: Source) -> list[ParsedDocument]:
    """What is parsed, where all records are sound."""
    items = parsed(source)
    assert all(isinstance(item, ParsedDocument) for item in items), items
    return items


def outcomes(source: Source) -> list[str]:
    """The text of each document, the reason of each rejection."""
    return [item.reason if isinstance(item, Rejection) else item.text for item in parsed(source)]
