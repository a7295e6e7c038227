"""Addresses: every broken one is a `SourceError` of one paragraph, and soon."""

import io
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import ClassVar

import fsspec
import pyarrow
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from fsspec.registry import _registry
from pyarrow import parquet

from tests.s3 import Store, running_store
from tests.toolformer.sources.conftest import documents, records
from tests.toolformer.sources.kept_texts import TEXTS, update
from toolformer.sources.errors import SourceError, SourceNotFoundError
from toolformer.sources.files import SourceFile, file_identity, list_files
from toolformer.sources.ingestion import STAGED
from toolformer.sources.manifest import Manifest
from toolformer.sources.readers import read_records
from toolformer.sources.source import Source

LINES = b'{"text": "One."}\n{"text": "Two."}\n'


class DriverError(Exception):
    """What no caller can know: no `OSError`, with a long story."""


class RemoteFileSystem(MemoryFileSystem):
    """Files that are not of this machine."""

    protocol = "gs"
    cachable = False
    store: ClassVar = {}
    pseudo_dirs: ClassVar = [""]

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.removeprefix("gs://").strip("/")


@pytest.fixture
def fail(monkeypatch) -> Iterator[Callable[[str, Exception], None]]:
    """`gs://corpus/a.jsonl` with two records; called, it lets one step of its driver fail."""
    monkeypatch.setitem(_registry, "gs", RemoteFileSystem)
    with fsspec.open("gs://corpus/a.jsonl", "wb") as file:
        file.write(b'{"text": "One."}\n{"text": "Two."}\n')

    def fail(step: str, error: Exception) -> None:
        def failing(*_arguments, **_settings):
            raise error

        monkeypatch.setattr(MemoryFile if step == "read" else RemoteFileSystem, step, failing)

    yield fail
    RemoteFileSystem.store.clear()


def source(path: str) -> Source:
    return Source(path, shard_size=3)


def is_one_paragraph(error: SourceError) -> bool:
    return "\n" not in str(error) and len(str(error)) < 800


@pytest.mark.parametrize(
    ("step", "path"),
    [
        ("info", "gs://corpus/a.jsonl"),
        ("glob", "gs://corpus/*.jsonl"),
        ("find", "gs://corpus"),
        ("_open", "gs://corpus/a.jsonl"),
        ("read", "gs://corpus/a.jsonl"),
    ],
)
@pytest.mark.parametrize("error", [DriverError("first\n\nsecond " + "x" * 5000), IndexError()])
def test_whatever_a_driver_raises_is_a_source_error(fail, step, path, error):
    files = list_files(source("gs://corpus/a.jsonl"))
    fail(step, error)
    with pytest.raises(SourceError, match=r"cannot be read.*network") as raised:
        records(source(path))
    assert is_one_paragraph(raised.value)
    assert not isinstance(raised.value, SourceNotFoundError)
    # The same while a file is looked at.
    if path == "gs://corpus/a.jsonl":
        with pytest.raises(SourceError, match="cannot be read"):
            file_identity(*files)


@pytest.mark.usefixtures("fail")
def test_a_remote_file_that_is_not_there_is_told_from_a_network_that_fails():
    with pytest.raises(SourceNotFoundError, match=r"gs://corpus/b\.jsonl"):
        list_files(source("gs://corpus/b.jsonl"))


@pytest.mark.parametrize(
    "address",
    [
        *(
            "reference://x",
            "arrow_hdfs://x",
            "nosuch://bucket/a.jsonl",
            "HTTP://example.org/a.jsonl",
        ),
        *("zip://a.txt::/tmp/x.zip", "simplecache::s3://corpus/a.jsonl"),
        *("s3://corpus/a.jsonl::file:///x", "github://owner:repository@main/x.jsonl"),
    ],
)
def test_an_address_of_another_kind_is_refused_with_those_there_are(address):
    with pytest.raises(SourceError, match=r"not supported.*https://.*s3://.*hf://") as raised:
        list_files(source(address))
    assert is_one_paragraph(raised.value)


@pytest.mark.parametrize("name", ["data:text,abc", "data:", "a::b", "x:y"])
def test_an_odd_file_name_is_a_file_name(name, tmp_path):
    for missing in (str(tmp_path / name), name, "~nobody-of-this-name/a.txt"):
        with pytest.raises(SourceNotFoundError, match="no source"):
            list_files(source(missing))
    (tmp_path / f"{name}.txt").write_text("x")
    (file,) = list_files(source(str(tmp_path / f"{name}.txt")))
    assert file.path == str(tmp_path / f"{name}.txt")


@pytest.mark.parametrize(
    ("address", "package"), [("gs://bucket/a.jsonl", "gcsfs"), ("s3://b/a.jsonl", "obstore")]
)
def test_an_address_without_a_driver_says_how_to_get_it(address, package, monkeypatch):
    # Another test may have imported the second already.
    for module in (package, f"{package}.fsspec"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SourceError, match=f"{package}.*pip install -c") as raised:
        list_files(source(address))
    assert is_one_paragraph(raised.value)


@pytest.fixture
def store(s3: Store, monkeypatch) -> Store:
    """An S3 store with an empty bucket `corpus`, which the environment leads to."""
    s3.lead_to(monkeypatch)
    s3.reset()
    s3.make_bucket("corpus")
    return s3


@pytest.mark.parametrize(
    "path", ["/web/a.jsonl", "/web", "/web/", "", "/", "/web/*.jsonl", "/**/a.*"]
)
def test_a_file_in_s3_is_read_by_its_name_its_folder_or_a_pattern(store, path):
    store.put("corpus", "web/a.jsonl", LINES)
    store.put("corpus", "web/.hidden/a.jsonl", b"not this one")
    found = documents(source(f"s3://corpus{path}"))
    assert [item.text for item in found] == ["One.", "Two."]
    assert {item.source for item in found} == {"s3://corpus/web/a.jsonl"}


def test_parquet_and_large_files_are_read_from_s3(store):
    written = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": ["One.", "Two."]}), written)
    store.put("corpus", "a.parquet", written.getvalue())
    assert len(documents(source("s3://corpus/a.parquet"))) == 2
    lines = [b'{"text": "%07d %s"}' % (number, b"x" * 1000) for number in range(12_000)]
    store.put("corpus", "a.jsonl", b"\n".join(lines))
    assert [record.raw for record in records(source("s3://corpus/a.jsonl"))] == lines


def test_the_identity_of_a_file_in_s3_is_its_etag(store, monkeypatch):
    store.put("corpus", "a.jsonl", LINES)
    monkeypatch.setattr(SourceFile, "open", None)

    def identity() -> str:
        (file,) = list_files(source("s3://corpus/a.jsonl"))
        return file_identity(file)

    first = identity()
    assert identity() == first
    store.put("corpus", "a.jsonl", LINES.replace(b"Two", b"Ten"))
    assert identity() != first
    store.put("corpus", "a.jsonl", LINES)
    assert identity() == first


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("s3://nosuch/*.jsonl", SourceError),
        ("s3://corpus/a.jsonl", SourceNotFoundError),
        ("s3://corpus/*.jsonl", SourceNotFoundError),
    ],
)
def test_what_is_missing_in_s3_is_named(store, path, error):
    with pytest.raises(error) as raised:
        list_files(source(path))
    assert path in str(raised.value)
    assert is_one_paragraph(raised.value)


def test_a_file_in_s3_that_is_replaced_while_it_is_read_is_an_error(store):
    line = b'{"text": "%s"}\n' % (b"x" * 10_000)
    store.put("corpus", "a.jsonl", line * 2_000)
    items = read_records(source("s3://corpus/a.jsonl"), list_files(source("s3://corpus/a.jsonl")))
    next(items)
    store.put("corpus", "a.jsonl", line.replace(b"x", b"y") * 2_000)
    with pytest.raises(SourceError, match="while being read"):
        list(items)


@pytest.mark.parametrize("fault", ["deleted", "stopped"])
def test_a_store_that_disappears_in_the_middle_costs_nothing_stored(fault, tmp_path, monkeypatch):
    monkeypatch.setattr("toolformer.sources.addresses._RETRY_TIME", timedelta(seconds=0.1))
    with running_store() as fragile:
        fragile.lead_to(monkeypatch)
        fragile.make_bucket("corpus")
        fragile.put("corpus", "a.jsonl", LINES)
        folder = tmp_path / "sources"
        (first,) = update(folder, source("s3://corpus/a.jsonl")).added
        line = b'{"text": "%s"}\n' % (b"x" * 1000)
        fragile.put("corpus", "a.jsonl", LINES + line * 12_000)

        def break_it(_name: str, count: int) -> None:
            if count == 300:
                fragile.delete("corpus", "a.jsonl") if fault == "deleted" else fragile.stop()

        large = Source("s3://corpus/a.jsonl", shard_size=100)
        result = update(folder, large, progress=break_it)
    (rejected,) = result.rejected_sources.values()
    assert str(rejected).startswith("The source 's3://corpus/a.jsonl' cannot be read after record ")
    assert is_one_paragraph(rejected)
    assert Manifest.load(folder).active_shards == [first]
    assert TEXTS[folder].keys() == {first.key}
    assert not (folder / STAGED).exists()
