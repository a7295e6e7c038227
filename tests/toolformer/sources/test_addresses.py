"""Addresses: every broken one is a `SourceError` of one paragraph, and soon."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFile, MemoryFileSystem
from fsspec.registry import _registry

from tests.toolformer.sources.conftest import raw_records
from toolformer.sources import addresses
from toolformer.sources.errors import SourceError, SourceNotFoundError
from toolformer.sources.files import file_identity, list_files
from toolformer.sources.source import Source


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
        raw_records(source(path))
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


def test_a_driver_that_does_not_answer_is_not_waited_for(monkeypatch):
    async def wait(*_, **__) -> None:
        await asyncio.sleep(20)

    monkeypatch.setattr(addresses, "_ANSWER_SECONDS", 0.1)
    http = pytest.importorskip("fsspec.implementations.http", reason="needs aiohttp")
    monkeypatch.setattr(http.HTTPFileSystem, "_info", wait)
    began = time.monotonic()
    with pytest.raises(SourceError, match="no answer within"):
        list_files(source("https://example.org/a.jsonl"))
    assert time.monotonic() - began < 10


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
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "toolformer.sources.s3_files", raising=False)
    with pytest.raises(SourceError, match=f"pip install -c .*'{package}") as raised:
        list_files(source(address))
    assert is_one_paragraph(raised.value)
