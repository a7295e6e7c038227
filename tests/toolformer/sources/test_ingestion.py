import json
from pathlib import Path

import pytest
import zstandard

from tests.toolformer.sources.kept_texts import (
    stored_keys,
    stored_texts,
    text_file,
    texts_of,
    update,
)
from toolformer.sources import cutting
from toolformer.sources.errors import (
    CorpusWriteError,
    ManifestError,
    ShardNotFoundError,
    SourceError,
    SourceNotFoundError,
)
from toolformer.sources.ingestion import (
    STAGED,
    ManifestUpdate,
    StoredTexts,
    retire_source,
    stale_sources,
)
from toolformer.sources.manifest import Manifest, manifest_path
from toolformer.sources.records import ParsedDocument
from toolformer.sources.source import Source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "sources"


def texts(count: int, word: str = "Text") -> list[dict[str, str]]:
    return [{"text": f"{word} {number}."} for number in range(count)]


def keys(entries) -> list[str]:
    return [entry.key for entry in entries]


def kept(folder: Path, result: ManifestUpdate) -> list[str]:
    """Keys of the active shards that were there before."""
    return [
        key for key in keys(Manifest.load(folder).active_shards) if key not in keys(result.added)
    ]


def contents(folder: Path) -> list[str]:
    return [
        item.text if isinstance(item, ParsedDocument) else item.reason
        for entry in Manifest.load(folder).active_shards
        for item in texts_of(folder, entry)
    ]


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_records_are_cut_into_shards_in_order(folder, source_of, write_jsonl):
    records = [*texts(7), "{broken", *texts(1, "Last")]
    result = update(folder, source_of(write_jsonl("a.jsonl", records), shard_size=4))
    assert [(e.key, e.first_record, e.records) for e in result.added] == [
        ("shard-00000", 0, 4),
        ("shard-00001", 4, 4),
        ("shard-00002", 8, 1),
    ]
    expected = [f"Text {number}." for number in range(7)]
    assert contents(folder) == [*expected, "invalid_json", "Last 0."]


def test_the_same_ingest_twice_registers_and_reads_nothing(
    folder, source_of, write_jsonl, monkeypatch
):
    source = source_of(write_jsonl("a.jsonl", texts(7)))
    first = update(folder, source)
    before = manifest_path(folder).read_bytes()
    monkeypatch.setattr(cutting, "read_raw_records", lambda *_: pytest.fail("read again"))
    second = update(folder, source, source)
    assert (second.added, second.retired, second.rejected_sources) == ([], [], {})
    assert kept(folder, second) == keys(first.added)
    assert manifest_path(folder).read_bytes() == before


def test_a_changed_record_retires_its_shard_and_a_change_undone_restores_it(
    folder, source_of, write_jsonl
):
    path = write_jsonl("a.jsonl", texts(6))
    (_, first) = update(folder, source_of(path)).added
    write_jsonl("a.jsonl", [*texts(3), *texts(3, "Nova")])  # same size
    result = update(folder, source_of(path))
    assert (keys(result.retired), keys(result.added)) == (["shard-00001"], ["shard-00002"])
    write_jsonl("a.jsonl", texts(6))
    result = update(folder, source_of(path))
    assert (keys(result.retired), result.added) == (["shard-00002"], [])
    assert result.restored == [first]
    assert contents(folder) == [f"Text {number}." for number in range(6)]
    write_jsonl("a.jsonl", texts(7))
    assert keys(update(folder, source_of(path)).added) == ["shard-00003"]


BODIES = [{"text": f"t{n}", "body": f"b{n}"} for n in range(6)]


@pytest.mark.parametrize(
    ("records", "settings", "then", "changed", "kept_keys", "retired", "added"),
    [
        # Appended records cost only the last shard.
        (texts(7), {}, texts(10), {}, "01", "2", "34"),
        # A raised limit keeps the full shards.
        (texts(9), {"limit": 3}, texts(9), {"limit": 6}, "0", "", "1"),
        # Other settings cut anew.
        (BODIES, {}, BODIES, {"text_column": "body"}, "", "01", "23"),
        (BODIES, {}, BODIES, {"context_column": "body"}, "", "01", "23"),
        (BODIES, {}, BODIES, {"shard_size": 2}, "", "01", "234"),
    ],
)
def test_of_a_source_that_changed_only_other_shards_are_cut(
    folder, source_of, write_jsonl, records, settings, then, changed, kept_keys, retired, added
):
    path = write_jsonl("a.jsonl", records)
    update(folder, source_of(path, **settings))
    write_jsonl("a.jsonl", then)
    result = update(folder, source_of(path, **changed))
    found = (kept(folder, result), keys(result.retired), keys(result.added))
    assert found == tuple(
        [f"shard-0000{n}" for n in names] for names in (kept_keys, retired, added)
    )


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_source_that_is_missing_or_not_listed_keeps_its_shards(
    folder, source_of, write_jsonl, is_listed
):
    a, b = write_jsonl("a.jsonl", texts(6)), write_jsonl("b.jsonl", texts(3))
    update(folder, source_of(a), source_of(b))
    before = Manifest.load(folder)
    if is_listed:
        a.rename(a.with_suffix(".away"))
    result = update(folder, *([source_of(a)] if is_listed else []), source_of(b))
    assert (result.added, result.retired) == ([], [])
    assert [type(error) for error in result.rejected_sources.values()] == (
        [SourceNotFoundError] if is_listed else []
    )
    assert result.unlisted == ([] if is_listed else [str(a)])
    assert len(contents(folder)) == 9
    if is_listed:
        a.with_suffix(".away").rename(a)
    result = update(folder, source_of(a), source_of(b))
    assert (result.added, result.restored, result.unlisted) == ([], [], [])
    assert Manifest.load(folder) == before


def test_a_removed_source_retires_and_its_records_come_back_under_their_keys(
    folder, source_of, write_jsonl, tmp_path
):
    a, b = write_jsonl("a.jsonl", texts(6)), write_jsonl("b.jsonl", texts(3))
    update(folder, source_of(a), source_of(b))
    before = Manifest.load(folder).active_shards
    assert keys(retire_source(folder, str(a), stored_texts(folder))) == [
        "shard-00000",
        "shard-00001",
    ]
    with pytest.raises(ShardNotFoundError, match="is retired"):
        Manifest.load(folder).entry("shard-00001")
    # By another name, and cut beside others.
    result = update(folder, source_of(tmp_path / "a.json*"), source_of(b))
    assert (result.added, keys(result.restored)) == ([], ["shard-00000", "shard-00001"])
    assert keys(Manifest.load(folder).active_shards) == keys(before)
    assert {entry.source for entry in result.restored} == {str(tmp_path / "a.json*")}
    assert len(contents(folder)) == 9


def test_an_unlisted_source_gives_its_shards_to_the_one_that_has_its_records(
    folder, source_of, write_jsonl, tmp_path
):
    a = write_jsonl("a.jsonl", texts(6))
    update(folder, source_of(a))
    result = update(folder, source_of(tmp_path / "*.jsonl"))
    assert (result.added, result.retired, result.unlisted) == ([], [], [])
    assert keys(Manifest.load(folder).active_shards) == ["shard-00000", "shard-00001"]
    # And back: what the first one was cut from is not taken for what it has.
    result = update(folder, source_of(a))
    assert (result.added, result.unlisted) == ([], [])
    assert len(contents(folder)) == 6


def test_an_unusable_source_stops_no_other_and_loses_nothing(folder, source_of, write_jsonl):
    a, b = write_jsonl("a.jsonl", texts(3)), write_jsonl("b.jsonl", texts(3))
    update(folder, source_of(a))
    a.write_text("")
    result = update(folder, source_of(a), source_of(b))
    assert "is empty" in str(result.rejected_sources[str(a)])
    assert (kept(folder, result), keys(result.added)) == (["shard-00000"], ["shard-00001"])


def test_a_file_may_belong_to_one_source_only(folder, source_of, write_jsonl, tmp_path):
    path = write_jsonl("a.jsonl", texts(3))
    result = update(folder, source_of(path), source_of(tmp_path / "*.jsonl"))
    assert "also belongs to source" in str(result.rejected_sources[str(tmp_path / "*.jsonl")])
    result = update(folder, source_of(path), source_of(path, limit=1))
    assert "listed twice" in str(result.rejected_sources[str(path)])
    assert len(Manifest.load(folder).active_shards) == 1


def test_every_nth_shard_is_held_out_for_good(folder, source_of, write_jsonl):
    path = write_jsonl("a.jsonl", texts(15))
    update(folder, source_of(path), held_out_every=2)
    update(folder, source_of(path), held_out_every=5)
    held_out = [entry.is_held_out for entry in Manifest.load(folder).shards]
    assert held_out == [False, True, False, True, False]


def test_an_interrupted_update_registers_nothing_half_done(
    folder, source_of, write_jsonl, monkeypatch
):
    a, b = write_jsonl("a.jsonl", texts(6)), write_jsonl("b.jsonl", texts(9))
    genuine = cutting.read_raw_records

    def interrupted(source, files):
        for count, record in enumerate(genuine(source, files)):
            if source.path == str(b) and count == 4:
                raise KeyboardInterrupt
            yield record

    monkeypatch.setattr(cutting, "read_raw_records", interrupted)
    with pytest.raises(KeyboardInterrupt):
        update(folder, source_of(a), source_of(b))
    assert keys(Manifest.load(folder).shards) == ["shard-00000", "shard-00001"]
    assert files_in(folder) == {"manifest.json"}

    monkeypatch.undo()
    result = update(folder, source_of(a), source_of(b))
    assert keys(result.added) == ["shard-00002", "shard-00003", "shard-00004"]
    assert len(contents(folder)) == 15


@pytest.mark.parametrize("fails_at", ["shard-00001", "shard-00002"])
def test_a_kill_between_manifest_and_texts_loses_no_shard_and_gives_no_key_twice(
    folder, source_of, write_jsonl, fails_at
):
    a, b = source_of(write_jsonl("a.jsonl", texts(3))), source_of(write_jsonl("b.jsonl", texts(6)))
    update(folder, a)
    with pytest.raises(KeyboardInterrupt):
        update(folder, a, b, store_fails_at=fails_at)
    registered = Manifest.load(folder).shards
    assert keys(registered) == ["shard-00000", "shard-00001", "shard-00002"]
    assert fails_at not in stored_keys(folder)
    assert files_in(folder) == {"manifest.json"}
    assert stale_sources(folder, [a, b], stored_texts(folder)) == ([b], {})
    result = update(folder, a, b)
    assert (result.added, result.retired, result.restored) == ([], [], [])
    assert Manifest.load(folder).shards == registered
    assert len(contents(folder)) == 9
    assert stale_sources(folder, [a, b], stored_texts(folder)) == ([], {})


def test_a_kill_while_all_texts_are_there_cuts_again_and_stores_nothing_twice(
    folder, source_of, write_jsonl, monkeypatch
):
    source = source_of(write_jsonl("a.jsonl", texts(6)))
    update(folder, source)
    manifest = Manifest.load(folder)
    manifest.identities.clear()
    manifest.save(folder)
    before = {key: text_file(folder, key).stat().st_mtime_ns for key in stored_keys(folder)}
    assert update(folder, source).added == []
    assert {key: text_file(folder, key).stat().st_mtime_ns for key in before} == before
    assert stale_sources(folder, [source], stored_texts(folder)) == ([], {})


def test_what_a_killed_update_staged_is_removed_by_the_next(folder, source_of, write_jsonl):
    (folder / STAGED).mkdir(parents=True)
    (folder / STAGED / "0.jsonl.zst").write_bytes(b"half")
    update(folder, source_of(write_jsonl("a.jsonl", texts(2))))
    assert files_in(folder) == {"manifest.json"}
    assert contents(folder) == ["Text 0.", "Text 1."]


def test_a_source_that_fails_in_the_middle_changes_nothing(
    folder, source_of, write_jsonl, monkeypatch
):
    path = write_jsonl("a.jsonl", texts(6))
    update(folder, source_of(path))
    before = manifest_path(folder).read_bytes()
    write_jsonl("a.jsonl", texts(9, "Other"))
    genuine = cutting.read_raw_records

    def failing(source, files):
        for count, record in enumerate(genuine(source, files)):
            if count == 7:
                raise SourceError("The disk is gone.")
            yield record

    with monkeypatch.context() as patch:
        patch.setattr(cutting, "read_raw_records", failing)
        result = update(folder, source_of(path))
    assert list(map(str, result.rejected_sources.values())) == ["The disk is gone."]
    assert (result.added, result.retired) == ([], [])
    assert manifest_path(folder).read_bytes() == before
    assert stored_keys(folder) == {"shard-00000", "shard-00001"}
    assert files_in(folder) == {"manifest.json"}
    assert keys(update(folder, source_of(path)).added)[0] == "shard-00002"


def test_texts_of_another_version_are_cut_again_under_their_keys(folder, source_of, write_jsonl):
    source = source_of(write_jsonl("a.jsonl", texts(6)))
    update(folder, source)
    assert stale_sources(folder, [source], stored_texts(folder, version="2"))[0] == [source]
    result = update(folder, source, version="2")
    assert (result.added, result.retired, result.restored) == ([], [], [])
    assert stale_sources(folder, [source], stored_texts(folder, version="2"))[0] == []


def test_texts_without_their_manifest_are_refused_and_stay(folder, source_of, write_jsonl):
    source = source_of(write_jsonl("a.jsonl", texts(6)))
    update(folder, source)
    newer = manifest_path(folder).read_bytes()
    manifest_path(folder).unlink()
    with pytest.raises(ManifestError, match=r"is missing, but texts of 2 others.*from a copy"):
        update(folder, source)
    with pytest.raises(ManifestError, match="is missing"):
        retire_source(folder, source.name, stored_texts(folder))
    older = {"version": 1, "next_number": 0, "identities": {}, "shards": []}
    manifest_path(folder).write_text(json.dumps(older))
    with pytest.raises(ManifestError, match=r"knows 0 shards.*shard-00000 to shard-00001"):
        update(folder, source)
    retired = StoredTexts("1", retired=["shard-00001"])
    with pytest.raises(ManifestError, match="shard-00001"):
        stale_sources(folder, [source], retired)
    assert stored_keys(folder) == {"shard-00000", "shard-00001"}
    manifest_path(folder).write_bytes(newer)
    assert update(folder, source).added == []


@pytest.mark.parametrize("content", ["", "[]", '{"version": 99}', json.dumps({"version": 1})])
def test_a_damaged_manifest_is_not_overwritten(folder, content):
    folder.mkdir(parents=True)
    manifest_path(folder).write_text(content)
    with pytest.raises(ManifestError, match="cannot be understood"):
        update(folder)
    assert manifest_path(folder).read_text() == content


def test_a_full_disk_leaves_what_was_registered(folder, source_of, write_jsonl, monkeypatch):
    a, b = write_jsonl("a.jsonl", texts(3)), write_jsonl("b.jsonl", texts(3))
    update(folder, source_of(a))

    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zstandard, "open", full)
    with pytest.raises(CorpusWriteError, match=r"No space left on device.*Make room"):
        update(folder, source_of(a), source_of(b))
    monkeypatch.undo()
    assert keys(Manifest.load(folder).active_shards) == ["shard-00000"]
    assert stored_keys(folder) == {"shard-00000"}
    assert files_in(folder) == {"manifest.json"}


def test_built_in_starter_texts_all_parse_with_a_date(folder):
    result = update(folder, Source("starter-texts", shard_size=50))
    found = [item for entry in result.added for item in texts_of(folder, entry)]
    assert all(isinstance(item, ParsedDocument) and item.published_on for item in found)
    assert found[0].source.startswith("starter-texts/")
