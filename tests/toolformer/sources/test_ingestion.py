import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.toolformer.sources.kept_texts import TEXTS, stored_texts, update
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
from toolformer.sources.manifest import Manifest, ShardEntry, manifest_path
from toolformer.sources.records import ParsedDocument
from toolformer.sources.source import Source


@pytest.fixture
def folder(tmp_path) -> Path:
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
        for item in TEXTS[folder][entry.key]
    ]


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_records_are_cut_into_shards_in_order(folder, jsonl):
    records = [*texts(7), "{broken", *texts(1, "Last")]
    result = update(folder, jsonl("a.jsonl", records, shard_size=4))
    assert [(e.key, e.first_record, e.records) for e in result.added] == [
        ("shard-00000", 0, 4),
        ("shard-00001", 4, 4),
        ("shard-00002", 8, 1),
    ]
    expected = [f"Text {number}." for number in range(7)]
    assert contents(folder) == [*expected, "invalid_json", "Last 0."]


def test_the_same_ingest_twice_registers_and_reads_nothing(folder, jsonl, monkeypatch):
    source = jsonl("a.jsonl", texts(7))
    first = update(folder, source)
    before = manifest_path(folder).read_bytes()
    monkeypatch.setattr(cutting, "read_records", lambda *_: pytest.fail("read again"))
    second = update(folder, source, source)
    assert (second.added, second.retired, second.rejected_sources) == ([], [], {})
    assert kept(folder, second) == keys(first.added)
    assert manifest_path(folder).read_bytes() == before


def test_a_changed_record_retires_its_shard_and_a_change_undone_restores_it(folder, jsonl):
    (_, first) = update(folder, jsonl("a.jsonl", texts(6))).added
    result = update(folder, jsonl("a.jsonl", [*texts(3), *texts(3, "Nova")]))  # same size
    assert (keys(result.retired), keys(result.added)) == (["shard-00001"], ["shard-00002"])
    result = update(folder, jsonl("a.jsonl", texts(6)))
    assert (keys(result.retired), result.added) == (["shard-00002"], [])
    assert result.restored == [first]
    assert contents(folder) == [f"Text {number}." for number in range(6)]
    assert keys(update(folder, jsonl("a.jsonl", texts(7))).added) == ["shard-00003"]


def test_a_change_in_the_middle_of_a_file_is_seen_with_size_and_time_set_back(folder, jsonl):
    source = jsonl("a.jsonl", [{"text": letter * 100_000} for letter in "abc"])
    os.utime(source.path, ns=(0, 0))
    update(folder, source)
    assert stale_sources(folder, [source], stored_texts(folder)) == ([], {})
    jsonl("a.jsonl", [{"text": letter * 100_000} for letter in "aBc"])
    os.utime(source.path, ns=(0, 0))
    assert stale_sources(folder, [source], stored_texts(folder)) == ([source], {})


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
    folder, jsonl, records, settings, then, changed, kept_keys, retired, added
):
    update(folder, jsonl("a.jsonl", records, **settings))
    result = update(folder, jsonl("a.jsonl", then, **changed))
    found = (kept(folder, result), keys(result.retired), keys(result.added))
    assert found == tuple(
        [f"shard-0000{n}" for n in names] for names in (kept_keys, retired, added)
    )


@pytest.mark.parametrize("change", ["missing", "empty", "not listed"])
def test_a_source_that_cannot_be_used_keeps_its_shards_and_stops_no_other(folder, jsonl, change):
    a = jsonl("a.jsonl", texts(6))
    update(folder, a)
    before = Manifest.load(folder).shards
    if change == "missing":
        Path(a.path).unlink()
    elif change == "empty":
        jsonl("a.jsonl", [])
    b = jsonl("b.jsonl", texts(3))
    result = update(folder, b) if change == "not listed" else update(folder, a, b)
    assert (keys(result.added), result.retired) == (["shard-00002"], [])
    error = {"missing": SourceNotFoundError, "empty": SourceError, "not listed": None}[change]
    assert [type(found) for found in result.rejected_sources.values()] == [error][: bool(error)]
    assert result.unlisted == ([a.path] if change == "not listed" else [])
    assert len(contents(folder)) == 9
    jsonl("a.jsonl", texts(6))
    result = update(folder, a, b)
    assert (result.added, result.restored, result.unlisted) == ([], [], [])
    assert Manifest.load(folder).shards[:2] == before


def test_a_removed_source_retires_and_its_records_come_back_under_their_keys(
    folder, jsonl, source_of, tmp_path
):
    a, b = jsonl("a.jsonl", texts(6)), jsonl("b.jsonl", texts(3))
    update(folder, a, b)
    before = Manifest.load(folder).active_shards
    retired = retire_source(folder, a.path, stored_texts(folder))
    assert keys(retired) == ["shard-00000", "shard-00001"]
    with pytest.raises(ShardNotFoundError, match="is retired"):
        Manifest.load(folder).entry("shard-00001")
    # By another name, and cut beside others.
    result = update(folder, source_of(tmp_path / "a.json*"), b)
    assert (result.added, keys(result.restored)) == ([], ["shard-00000", "shard-00001"])
    assert keys(Manifest.load(folder).active_shards) == keys(before)
    assert {entry.source for entry in result.restored} == {str(tmp_path / "a.json*")}
    assert len(contents(folder)) == 9


def test_an_unlisted_source_gives_its_shards_to_the_one_that_has_its_records(
    folder, jsonl, source_of, tmp_path
):
    a = jsonl("a.jsonl", texts(6))
    update(folder, a)
    result = update(folder, source_of(tmp_path / "*.jsonl"))
    assert (result.added, result.retired, result.unlisted) == ([], [], [])
    assert keys(Manifest.load(folder).active_shards) == ["shard-00000", "shard-00001"]
    # And back: what the first one was cut from is not taken for what it has.
    result = update(folder, a)
    assert (result.added, result.unlisted) == ([], [])
    assert len(contents(folder)) == 6


def test_a_file_may_belong_to_one_source_only(folder, jsonl, source_of, tmp_path):
    a, pattern = jsonl("a.jsonl", texts(3)), source_of(tmp_path / "*.jsonl")
    result = update(folder, a, pattern)
    assert "also belongs to source" in str(result.rejected_sources[pattern.path])
    result = update(folder, a, replace(a, limit=1))
    assert "listed twice" in str(result.rejected_sources[a.path])
    assert len(Manifest.load(folder).active_shards) == 1


def test_every_nth_shard_is_held_out_for_good(folder, jsonl):
    source = jsonl("a.jsonl", texts(15))
    update(folder, source, held_out_every=2)
    update(folder, source, held_out_every=5)
    held_out = [entry.is_held_out for entry in Manifest.load(folder).shards]
    assert held_out == [False, True, False, True, False]


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "No space left on device"), CorpusWriteError),
        (SourceError("The disk is gone."), None),
    ],
)
def test_a_source_that_fails_in_the_middle_registers_nothing_half_done(
    folder, jsonl, monkeypatch, error, raised
):
    a, b = jsonl("a.jsonl", texts(6)), jsonl("b.jsonl", texts(3))
    update(folder, b)
    b = jsonl("b.jsonl", texts(9, "Other"))
    genuine = cutting.read_records

    def failing(source, files):
        for count, record in enumerate(genuine(source, files)):
            if source.path == b.path and count == 4:
                raise error
            yield record

    with monkeypatch.context() as patch:
        patch.setattr(cutting, "read_records", failing)
        if raised:
            with pytest.raises(raised, match=r"No space left on device.*Free some space|^$"):
                update(folder, a, b)
        else:
            assert update(folder, a, b).rejected_sources == {b.path: error}
    assert keys(Manifest.load(folder).active_shards) == [f"shard-0000{n}" for n in range(3)]
    assert TEXTS[folder].keys() == {f"shard-0000{n}" for n in range(3)}
    assert files_in(folder) == {"manifest.json"}

    assert keys(update(folder, a, b).added) == [f"shard-0000{n}" for n in range(3, 6)]
    assert len(contents(folder)) == 15


@pytest.mark.parametrize("fails_at", ["shard-00001", "shard-00002"])
def test_a_kill_between_manifest_and_texts_loses_no_shard_and_gives_no_key_twice(
    folder, jsonl, fails_at
):
    a, b = jsonl("a.jsonl", texts(3)), jsonl("b.jsonl", texts(6))
    update(folder, a)
    with pytest.raises(KeyboardInterrupt):
        update(folder, a, b, store_fails_at=fails_at)
    registered = Manifest.load(folder).shards
    assert keys(registered) == ["shard-00000", "shard-00001", "shard-00002"]
    assert fails_at not in TEXTS[folder]
    assert files_in(folder) == {"manifest.json"}
    assert stale_sources(folder, [a, b], stored_texts(folder)) == ([b], {})
    result = update(folder, a, b)
    assert (result.added, result.retired, result.restored) == ([], [], [])
    assert Manifest.load(folder).shards == registered
    assert len(contents(folder)) == 9
    assert stale_sources(folder, [a, b], stored_texts(folder)) == ([], {})


def test_what_a_killed_update_staged_is_removed_by_the_next(folder, jsonl):
    (folder / STAGED).mkdir(parents=True)
    (folder / STAGED / "0.jsonl.zst").write_bytes(b"half")
    update(folder, jsonl("a.jsonl", texts(2)))
    assert files_in(folder) == {"manifest.json"}
    assert contents(folder) == ["Text 0.", "Text 1."]


def test_texts_of_another_version_are_cut_again_under_their_keys(folder, jsonl):
    source = jsonl("a.jsonl", texts(6))
    update(folder, source)
    assert stale_sources(folder, [source], stored_texts(folder, version="2"))[0] == [source]
    result = update(folder, source, version="2")
    assert (result.added, result.retired, result.restored) == ([], [], [])
    assert stale_sources(folder, [source], stored_texts(folder, version="2"))[0] == []


def test_texts_without_their_manifest_are_refused_and_stay(folder, jsonl):
    source = jsonl("a.jsonl", texts(6))
    update(folder, source)
    newer = manifest_path(folder).read_bytes()
    manifest_path(folder).unlink()
    with pytest.raises(ManifestError, match=r"but texts of 2 other shards.*from a backup"):
        update(folder, source)
    with pytest.raises(ManifestError, match="is missing"):
        retire_source(folder, source.name, stored_texts(folder))
    older = {"version": 1, "next_number": 0, "identities": {}, "shards": []}
    manifest_path(folder).write_text(json.dumps(older))
    with pytest.raises(ManifestError, match=r"lists 0 shards.*shard-00000 to shard-00001"):
        update(folder, source)
    retired = StoredTexts("1", retired=["shard-00001"])
    with pytest.raises(ManifestError, match="shard-00001"):
        stale_sources(folder, [source], retired)
    assert TEXTS[folder].keys() == {"shard-00000", "shard-00001"}
    manifest_path(folder).write_bytes(newer)
    assert update(folder, source).added == []


@pytest.mark.parametrize("number", [0, 1, 4, 5])
@pytest.mark.parametrize("is_retired", [False, True])
def test_a_new_source_never_gets_a_key_under_which_something_is_stored(
    folder, jsonl, number, is_retired
):
    first = jsonl("a.jsonl", texts(12))
    update(folder, first)
    before = dict(TEXTS[folder])
    if is_retired:
        retire_source(folder, first.name, stored_texts(folder))
    content = json.loads(manifest_path(folder).read_text())
    manifest_path(folder).write_text(json.dumps({**content, "next_number": number}))
    other = jsonl("b.jsonl", texts(6, "Other"))
    listed = [other] if is_retired else [first, other]
    added = keys(update(folder, *listed).added)
    assert added == [f"shard-0000{max(number, 4) + n}" for n in range(2)]
    assert TEXTS[folder].items() >= before.items()
    assert Manifest.load(folder).next_number == max(number, 4) + 2


@pytest.mark.parametrize("content", ["", "[]", '{"version": 99}', json.dumps({"version": 1})])
def test_a_damaged_manifest_is_not_overwritten(folder, content):
    folder.mkdir(parents=True)
    manifest_path(folder).write_text(content)
    with pytest.raises(ManifestError, match="is invalid"):
        update(folder)
    assert manifest_path(folder).read_text() == content


@pytest.mark.parametrize("name", ["starter-texts", "starter-articles"])
def test_built_in_starter_texts_all_parse_with_a_date(folder, name):
    result = update(folder, Source(name, shard_size=50))
    found = [item for entry in result.added for item in TEXTS[folder][entry.key]]
    assert all(isinstance(item, ParsedDocument) and item.published_on for item in found)
    assert found[0].source.startswith(f"{name}/")


def test_a_loaded_manifest_can_be_changed_and_the_next_one_is_as_the_file_is(folder: Path):
    folder.mkdir(parents=True)
    stored = Manifest(1, {"a": "1"}, [ShardEntry("shard-00000", "a", 0, 1, "digest", False)])
    stored.save(folder)
    changed = Manifest.load(folder)
    changed.identities["b"] = "2"
    changed.shards.append(replace(changed.shards[0], key="shard-00001"))
    assert next(changed.new_keys([], 0))[0] == "shard-00002"
    assert Manifest.load(folder) == stored
    changed.save(folder)
    assert Manifest.load(folder) == changed
