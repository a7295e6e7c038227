"""What `toolformer ingest` lists, reads and reports."""

import pytest

from dagster_project.runs.run_job import dagster_instance
from tests.s3 import running_store
from toolformer.home.home import Home
from toolformer.home.partitions import SHARDS_OF_TEXTS
from toolformer.settings.settings_file import listed_sources
from toolformer.sources.manifest import Manifest

pytestmark = pytest.mark.slow


def test_a_source_is_the_same_by_its_address(run, ingest, home: Home, write):
    a = write("a.jsonl", 2)
    ingest(a)
    assert "is already listed" in ingest(a.as_uri())
    assert listed_sources(home.settings_file) == {str(a)}


def test_files_of_a_folder_that_are_not_read_are_told(ingest, write, tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    write("texts/a.jsonl", 2)
    (folder / "b.jsonl.lz4").write_bytes(b"compressed")
    assert f"1 file(s) of {folder} were skipped, because their names" in ingest(folder)


def test_a_source_without_a_usable_record_is_refused_and_leaves_nothing(
    run, home: Home, write, tmp_path
):
    a = write("a.jsonl", 2)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": ""}\n{"text": 3}\n')
    for _ in range(2):
        refused = run("ingest", bad, a)
        assert refused.is_one_paragraph_naming(f"'{bad}'", "empty_text 1", "text_not_a_string 1")
        assert listed_sources(home.settings_file) == {str(a)}
        (shard,) = Manifest.load(home.sources).shards
        with dagster_instance(home) as instance:
            assert instance.get_dynamic_partitions(SHARDS_OF_TEXTS.name) == [shard.key]
    assert shard.source == str(a)


def test_a_source_in_s3_is_ingested_once_and_keeps_its_shards_when_it_goes(
    home, run, ingest, monkeypatch
):
    with running_store() as store:
        store.lead_to(monkeypatch)
        store.make_bucket("corpus")
        store.put("corpus", "web/a.jsonl", b'{"text": "Text one."}\n{"text": "Text two."}\n')
        assert "New shards: 1 (records: 2)" in ingest("s3://corpus/web/*.jsonl")
        assert "New shards: 0 " in ingest("s3://corpus/web/*.jsonl")
        assert run("ingest", "s3://nosuch/a.jsonl").is_one_paragraph_naming("NoSuchBucket")
        assert listed_sources(home.settings_file) == {"s3://corpus/web/*.jsonl"}
        store.delete("corpus", "web/a.jsonl")
        assert "missing" in run("sources", "list").out
    (entry,) = Manifest.load(home.sources).active_shards
    assert (entry.source, entry.records) == ("s3://corpus/web/*.jsonl", 2)
