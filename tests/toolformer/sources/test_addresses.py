"""Addresses: every broken one is a `SourceError` of one paragraph, and soon."""

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import ClassVar

import fsspec
import pytest
from fsspec.implementations.http import HTTPFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from toolformer.sources import addresses
from toolformer.sources.errors import SourceError, SourceNotFoundError
from toolformer.sources.files import file_identity, list_files
from toolformer.sources.readers import read_raw_records
from toolformer.sources.source import Source


class DriverError(Exception):
    """What no caller can know: no `OSError`, with a long story."""


class BrokenFileSystem(MemoryFileSystem):
    """Remote files of which one step fails."""

    protocol = "gs"
    cachable = False
    store: ClassVar = {}
    pseudo_dirs: ClassVar = [""]
    fails_at = ""
    error: BaseException = DriverError("first line\n\nsecond line " + "x" * 5000)

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + path.removeprefix("gs://").strip("/")

    def _fail(self, step: str) -> None:
        if step == self.fails_at:
            raise self.error

    def _open(self, path, *arguments, **settings):
        self._fail("open")
        stream = super()._open(path, *arguments, **settings)
        if self.fails_at == "read":
            stream.read = lambda *_: self._fail("read")
        return stream

    def __getattribute__(self, name):
        if name in ("info", "glob", "find"):
            self._fail(name)
        return super().__getattribute__(name)


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[BrokenFileSystem]]:
    """`gs://corpus/a.jsonl` with two records."""
    monkeypatch.setitem(_registry, "gs", BrokenFileSystem)
    with fsspec.open("gs://corpus/a.jsonl", "wb") as file:
        file.write(b'{"text": "One."}\n{"text": "Two."}\n')
    yield BrokenFileSystem
    BrokenFileSystem.fails_at = ""
    BrokenFileSystem.store.clear()


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
        ("open", "gs://corpus/a.jsonl"),
        ("read", "gs://corpus/a.jsonl"),
    ],
)
@pytest.mark.parametrize("error", [BrokenFileSystem.error, IndexError()])
def test_whatever_a_driver_raises_is_a_source_error(remote, step, path, error, monkeypatch):
    monkeypatch.setattr(remote, "error", error)
    remote.fails_at = step
    with pytest.raises(SourceError, match=r"cannot be read.*network") as raised:
        list(read_raw_records(source(path)))
    assert is_one_paragraph(raised.value)
    assert not isinstance(raised.value, SourceNotFoundError)


@pytest.mark.parametrize("step", ["info", "open", "read"])
def test_a_file_that_fails_while_it_is_looked_at_is_a_source_error(remote, step):
    (file,) = list_files(source("gs://corpus/a.jsonl"))
    remote.fails_at = step
    with pytest.raises(SourceError, match="cannot be read"):
        file_identity(file)


def test_a_remote_file_that_is_not_there_is_told_from_a_network_that_fails(remote):
    with pytest.raises(SourceNotFoundError, match=r"gs://corpus/b\.jsonl"):
        list_files(source("gs://corpus/b.jsonl"))


def test_a_driver_that_does_not_answer_is_not_waited_for(monkeypatch):
    async def wait(*_, **__) -> None:
        await asyncio.sleep(20)

    monkeypatch.setattr(addresses, "_ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(HTTPFileSystem, "_info", wait)
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
    with pytest.raises(SourceError, match=f"pip install '{package}") as raised:
        list_files(source(address))
    assert is_one_paragraph(raised.value)
