"""Sources in an S3 store: read as local ones are, and told apart by their ETags."""

import io

import pyarrow
import pytest
from pyarrow import parquet

from tests.s3 import CREDENTIALS, Store, running_store
from tests.toolformer.sources.conftest import raw_records
from tests.toolformer.sources.kept_texts import TEXTS, update
from toolformer.sources import files
from toolformer.sources.errors import SourceError, SourceNotFoundError
from toolformer.sources.files import file_identity, list_files, open_stored
from toolformer.sources.ingestion import STAGED
from toolformer.sources.manifest import Manifest
from toolformer.sources.source import Source

LINES = b'{"text": "One."}\n{"text": "Two."}\n'


@pytest.fixture
def store(s3: Store, monkeypatch) -> Store:
    """A store with an empty bucket `corpus`, which the environment leads to."""
    s3.lead_to(monkeypatch)
    s3.reset()
    s3.make_bucket("corpus")
    return s3


def source(path: str, shard_size: int = 3) -> Source:
    return Source(path, shard_size=shard_size)


def texts(path: str) -> list[object]:
    return [record.raw for record in raw_records(source(path))]


@pytest.mark.parametrize("scheme", ["s3", "s3a"])
@pytest.mark.parametrize(
    "path", ["/web/a.jsonl", "/web", "/web/", "", "/", "/web/*.jsonl", "/**/a.*"]
)
def test_a_file_is_read_by_its_name_its_folder_or_a_pattern(store, scheme, path):
    path = f"{scheme}://corpus{path}"
    store.put("corpus", "web/a.jsonl", LINES)
    store.put("corpus", "web/.hidden/a.jsonl", b"not this one")
    assert texts(path) == ['{"text": "One."}', '{"text": "Two."}']
    assert [file.name for file in list_files(source(path))] == ["s3://corpus/web/a.jsonl"]


def test_parquet_is_read_from_the_store(store):
    written = io.BytesIO()
    parquet.write_table(pyarrow.table({"text": ["One.", "Two."]}), written)
    store.put("corpus", "a.parquet", written.getvalue())
    assert texts("s3://corpus/a.parquet") == [{"text": "One."}, {"text": "Two."}]


def test_a_file_larger_than_one_request_is_whole(store):
    lines = [b'{"text": "%07d %s"}' % (number, b"x" * 1000) for number in range(12_000)]
    store.put("corpus", "a.jsonl", b"\n".join(lines))
    assert texts("s3://corpus/a.jsonl") == [line.decode() for line in lines]


def test_the_identity_is_the_etag_and_needs_no_byte_of_the_file(store, monkeypatch):
    store.put("corpus", "a.jsonl", LINES)
    monkeypatch.setattr(files, "open_stored", None)
    (file,) = list_files(source("s3://corpus/a.jsonl"))
    first = file_identity(file)
    assert file_identity(file) == first
    store.put("corpus", "a.jsonl", LINES.replace(b"Two", b"Ten"))
    assert file_identity(file) != first
    store.put("corpus", "a.jsonl", LINES)
    assert file_identity(file) == first


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("s3://nosuch/a.jsonl", SourceError, "the store has no bucket 'nosuch'"),
        ("s3://nosuch", SourceError, "the store has no bucket 'nosuch'"),
        ("s3://corpus/a.jsonl", SourceNotFoundError, r"There is no source 's3://corpus/a\.jsonl'"),
        ("s3://corpus/*.jsonl", SourceNotFoundError, "No file matches"),
        ("s3://corpus", SourceError, "'s3://corpus' is empty"),
    ],
)
def test_a_missing_bucket_key_and_an_empty_bucket_are_told_apart(store, path, error, message):
    with pytest.raises(error, match=message):
        list_files(source(path))


def test_missing_credentials_are_named(store, monkeypatch):
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    # Where a machine's role would be asked for: nobody answers here.
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9/169.254.169.254")
    monkeypatch.setattr("toolformer.sources.s3_files.RETRY_SECONDS", 0.1)
    with pytest.raises(SourceError, match=r"no credentials for the store.*AWS_ACCESS_KEY_ID"):
        list_files(source("s3://corpus/a.jsonl"))


def test_a_file_that_is_replaced_while_it_is_read_is_an_error_and_no_mixture(store):
    store.put("corpus", "a.txt", b"1" * (12 << 20))
    (file,) = list_files(source("s3://corpus/a.txt"))
    with open_stored(file) as stream:
        assert set(stream.read(1 << 20)) == {ord("1")}
        store.put("corpus", "a.txt", b"2" * (12 << 20))
        with pytest.raises(OSError, match="replaced while it was read"):
            stream.read()


@pytest.mark.parametrize("fault", ["deleted", "stopped"])
def test_a_store_that_goes_in_the_middle_costs_nothing_that_was_there(
    fault, tmp_path, monkeypatch, store
):
    monkeypatch.setattr("toolformer.sources.s3_files.RETRY_SECONDS", 0.1)
    with running_store() as fragile:
        fragile.lead_to(monkeypatch)
        fragile.make_bucket("corpus")
        fragile.put("corpus", "a.jsonl", LINES)
        folder = tmp_path / "sources"
        (first,) = update(folder, source("s3://corpus/a.jsonl")).added
        line = b'{"text": "%s"}\n' % (b"x" * 1000)
        fragile.put("corpus", "a.jsonl", LINES + line * 12_000)

        def break_it(_name: str, records: int) -> None:
            if records == 300:
                fragile.delete("corpus", "a.jsonl") if fault == "deleted" else fragile.stop()

        result = update(folder, source("s3://corpus/a.jsonl", shard_size=100), progress=break_it)
    (rejected,) = result.rejected_sources.values()
    assert str(rejected).startswith("The source 's3://corpus/a.jsonl' cannot be read: ")
    assert "\n" not in str(rejected)
    assert Manifest.load(folder).active_shards == [first]
    assert TEXTS[folder].keys() == {first.key}
    assert not (folder / STAGED).exists()
