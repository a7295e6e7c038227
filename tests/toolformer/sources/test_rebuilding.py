"""A lost manifest, made anew from the raw slices."""

import json
from pathlib import Path

import pytest

from toolformer.sources.errors import SourceError
from toolformer.sources.ingestion import retire_source, update_manifest
from toolformer.sources.manifest import (
    Manifest,
    manifest_path,
    read_shard,
    retired_slice_path,
    slice_path,
)
from toolformer.sources.rebuilding import rebuild_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "sources"


def texts(count: int, word: str = "Text") -> list[dict[str, str]]:
    return [{"text": f"{word} {number}."} for number in range(count)]


def update(folder: Path, *sources):
    return update_manifest(folder, sources, held_out_every=2)


@pytest.fixture
def sources(folder: Path, source_of, write_jsonl, tmp_path: Path):
    """A folder with two files, and a file that was removed again."""
    write_jsonl("texts/a.jsonl", texts(4))
    write_jsonl("texts/b.jsonl", texts(3, "Nova"))
    removed = source_of(write_jsonl("removed.jsonl", texts(2)))
    kept = source_of(tmp_path / "texts")
    update(folder, kept, removed)
    retire_source(folder, removed.name)
    return kept, removed


def test_the_next_update_finds_every_shard_again(folder: Path, sources):
    before = Manifest.load(folder)
    manifest_path(folder).unlink()
    rebuilt = rebuild_manifest(folder, held_out_every=2)
    assert (len(rebuilt.active), len(rebuilt.retired), rebuilt.damaged) == (3, 1, {})
    facts = ["key", "records", "digest", "is_held_out", "status"]
    for old, new in zip(before.shards, Manifest.load(folder).shards, strict=True):
        assert [getattr(new, fact) for fact in facts] == [getattr(old, fact) for fact in facts]
    result = update(folder, *sources)
    assert (result.added, result.retired, result.unlisted) == ([], [], [])
    assert [entry.key for entry in result.restored] == ["shard-00003"]
    after = Manifest.load(folder)
    assert after.next_number == before.next_number
    assert [(each.source, each.first_record) for each in after.active_shards] == [
        (each.source, each.first_record) for each in before.shards
    ]


def test_a_damaged_slice_is_named_left_out_and_stays(folder: Path, sources):
    manifest_path(folder).write_text("{")
    damaged = slice_path(folder, "shard-00002")
    content = damaged.read_bytes()[:-5]
    damaged.write_bytes(content)
    half = slice_path(folder, "shard-00009")
    half.write_bytes(b"half")
    rebuilt = rebuild_manifest(folder, held_out_every=2)
    assert set(rebuilt.damaged) == {damaged, half}
    assert [path.suffix for path in folder.glob("manifest.json.*")] == [".old"]
    (added,) = update(folder, *sources).added
    assert added.key == "shard-00010"
    assert damaged.read_bytes() == content
    assert half.exists()
    assert (
        len([item for e in Manifest.load(folder).active_shards for item in read_shard(folder, e)])
        == 9
    )


def test_a_slice_that_a_kill_left_is_no_second_shard(folder: Path, sources):
    manifest_path(folder).unlink()
    copy = slice_path(folder, "shard-00004")
    copy.write_bytes(slice_path(folder, "shard-00000").read_bytes())
    rebuilt = rebuild_manifest(folder, held_out_every=2)
    assert [entry.key for entry in rebuilt.active] == ["shard-00001", "shard-00002", "shard-00004"]
    update(folder, sources[0])
    assert retired_slice_path(folder, "shard-00000").exists()


def test_an_older_manifest_still_says_what_is_held_out(folder: Path, sources, write_jsonl):
    older = manifest_path(folder).read_text()
    write_jsonl("texts/c.jsonl", texts(3, "Luna"))
    update(folder, sources[0])
    manifest_path(folder).write_text(older)
    held_out = [entry.is_held_out for entry in Manifest.load(folder).shards]
    rebuilt = rebuild_manifest(folder, held_out_every=0)
    assert [entry.is_held_out for entry in Manifest.load(folder).shards[:4]] == held_out
    assert any(held_out)
    assert len(rebuilt.active) == 4


def test_a_manifest_that_fits_is_left_alone(folder: Path, sources):
    before = manifest_path(folder).read_bytes()
    with pytest.raises(SourceError, match="nothing to rebuild"):
        rebuild_manifest(folder, held_out_every=2)
    assert manifest_path(folder).read_bytes() == before
    assert json.loads(before)["next_number"] == 4


def test_without_slices_there_is_nothing_to_rebuild_from(folder: Path):
    with pytest.raises(SourceError, match="no raw slices"):
        rebuild_manifest(folder, held_out_every=2)
