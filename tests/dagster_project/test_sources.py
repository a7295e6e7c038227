"""`toolformer sources`, and what ingesting and building do where sources are missing or left."""

import itertools
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from dagster_project.cli import main
from dagster_project.commands import build
from dagster_project.commands.stats import show_statistics
from dagster_project.runs.run_job import dagster_instance
from tests.processes import imported_once
from tests.warehouse.rows import frame
from toolformer.home.home import Home
from toolformer.home.partitions import SHARDS, SHARDS_OF_TEXTS
from toolformer.settings.settings_file import listed_sources, write_settings_file
from toolformer.settings.source_file import sources_file
from toolformer.sources.errors import ShardNotFoundError
from toolformer.sources.manifest import Manifest, manifest_path
from warehouse.catalogue import Catalogue, shards_in
from warehouse.publishing import Publisher
from warehouse.warehouse import Warehouse

# The tables that hold what was read of a source.
OF_TEXTS = ("documents", "rejected_records", "reading_losses", "text_marks")

pytestmark = pytest.mark.slow


def active(home: Home) -> list[str]:
    return [entry.key for entry in Manifest.load(home.sources).active_shards]


def registered(home: Home) -> set[str]:
    with dagster_instance(home) as instance:
        return set(instance.get_dynamic_partitions(SHARDS_OF_TEXTS.name))


def store_call(home: Home, shard: str) -> bytes:
    """What a stage has computed from a shard, as the bytes of its partition."""
    rows = frame("candidate_calls", {"shard": shard, "call_id": shard})
    warehouse(home).replace_partition("candidate_calls", shard, "Calculator", rows, metadata={})
    return call_file(home, shard).read_bytes()


def call_file(home: Home, shard: str) -> Path:
    folder = home.warehouse / "candidate_calls" / f"shard={shard}"
    return next(folder.glob("Calculator-*.parquet"), folder / "none")


def warehouse(home: Home) -> Warehouse:
    return Warehouse(home.warehouse, home.database)


def test_a_removed_source_comes_back_with_what_was_computed_from_it(run, ingest, home: Home, write):
    a, b = write("a.jsonl", 4), write("b.jsonl", 2)
    ingest(a, b)
    file = home.settings_file
    written = file.read_bytes()
    stored = {key: store_call(home, key) for key in active(home)}
    assert len(stored) == 3
    code, out, _ = run("sources", "remove", a)
    assert (code, f"Removed {a} from the corpus. Its 2 shards" in out) == (0, True)
    assert file.read_bytes() == written
    assert listed_sources(file) == {str(b)}
    (left,) = active(home)
    assert registered(home) == {left}
    assert warehouse(home).query("select shard from candidate_calls")["shard"].to_list() == [left]

    out = ingest(a)
    assert "New shards: 0 " in out
    assert "2 shards were restored" in out
    assert registered(home) == set(stored)
    assert {key: call_file(home, key).read_bytes() for key in active(home)} == stored
    assert run("sources", "remove", "nowhere")[0] == 1


def test_a_removal_that_was_killed_half_way_goes_on(run, ingest, home: Home, write, monkeypatch):
    a, b = write("a.jsonl", 1), write("b.jsonl", 1)
    ingest(a, b)
    with monkeypatch.context() as patch:
        patch.setattr("assets.corpus.sync_shards", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run("sources", "remove", a)
    assert len(active(home)) == 1
    assert len(registered(home)) == 2
    code, out, _ = run("sources", "remove", a)
    assert (code, f"Removed {a} from the corpus. Its 1 shards" in out) == (0, True)
    assert registered(home) == set(active(home))


def test_shards_that_a_kill_left_half_retired_or_restored_are_moved_by_the_next_command(
    run, ingest, home: Home, write, monkeypatch
):
    a, b = write("a.jsonl", 6), write("b.jsonl", 1)
    ingest(a, b)
    keys = active(home)
    genuine = Publisher._move
    commands = (("sources", "remove", a), ("ingest", a, "--shard-size", 2))
    for moved, command in itertools.product((0, 1, 2), commands):
        done: list[str] = []

        def killed(publisher: Publisher, shard: str, *, is_retired: bool) -> None:
            if len(done) == moved:  # noqa: B023
                raise KeyboardInterrupt
            done.append(shard)  # noqa: B023
            genuine(publisher, shard, is_retired=is_retired)

        with monkeypatch.context() as patch:
            patch.setattr(Publisher, "_move", killed)
            assert run(*command).code != 0
        assert len(done) == moved
        assert run(*command).code == 0
        assert {info.shard for info in warehouse(home).partitions("documents")} == set(active(home))
        assert registered(home) == set(active(home))
        assert (active(home) == keys) == (command[0] == "ingest")


def test_rows_of_a_source_that_is_removed_while_they_are_made_are_not_stored(
    run, ingest, home: Home, write
):
    from assets.outputs import publish

    a = write("a.jsonl", 1)
    ingest(a)
    (shard,) = active(home)
    making = SimpleNamespace(home=home, force=False, warehouse=warehouse(home))
    rows = frame("candidate_calls", {"shard": shard})
    assert run("sources", "remove", str(a))[0] == 0
    with pytest.raises(ShardNotFoundError, match="is retired"):
        publish(making, {("candidate_calls", "Calculator"): (rows, {shard: {}})})
    assert warehouse(home).partitions() == []
    assert warehouse(home).query("from candidate_calls").is_empty()


def test_a_source_with_a_relative_path_is_the_same_from_every_folder(
    run, home: Home, write, monkeypatch
):
    a, b = write("a.jsonl", 4), write("b.jsonl", 2)
    home.root.mkdir()
    home.settings_file.write_text("corpus: {sources: [{path: ../a.jsonl}]}")
    monkeypatch.chdir(a.parent)
    assert run("ingest", "b.jsonl")[0] == 0
    manifest = manifest_path(home.sources).read_bytes()
    assert {entry.source for entry in Manifest.load(home.sources).shards} == {str(a), str(b)}
    monkeypatch.chdir(home.root)
    assert run("ingest", "../a.jsonl")[0] == 0
    assert manifest_path(home.sources).read_bytes() == manifest
    assert run("sources", "remove", "../a.jsonl").is_one_paragraph_naming("corpus.sources there")
    home.settings_file.write_text("# All of the preset.\n")
    assert run("sources", "remove", "../a.jsonl")[0] == 0
    assert listed_sources(home.settings_file) == {str(b)}


@pytest.mark.parametrize("preset", ["laptop", "demo"])
def test_a_home_whose_list_is_lost_gets_no_texts_that_come_with_the_program(
    run, ingest, home: Home, write, asked: list[list[str]], preset: str
):
    write_settings_file(home.settings_file, preset=preset)
    a, b = write("a.jsonl", 2), write("b.jsonl", 2)
    ingest(a, b)
    sources_file(home.settings_file).unlink()
    states = json.loads(run("sources", "list", "--json").out)
    assert {row["source"] for row in states} == {str(a), str(b)}
    build = ("build", "--tools", "Calendar")
    assert "would be cut" not in run(*build, "--dry-run").out
    out = run(*build).out
    assert (
        f"The source '{a}' is not listed in the settings of this run; its 1 shards are kept." in out
    )
    assert asked == [active(home)]
    assert {entry.source for entry in Manifest.load(home.sources).shards} == {str(a), str(b)}
    assert "embedded" not in run("sources", "remove", a).out
    assert ("uses the embedded corpus" in run("sources", "remove", b).out) == (preset == "laptop")


def texts_on_disk(home: Home) -> dict[str, int]:
    """The versions of all stored texts and rejected records, with when each was written."""
    return {
        str(path): path.stat().st_mtime_ns
        for table in OF_TEXTS
        for path in home.warehouse.glob(f"{table}/shard=shard-*/*.parquet")
    }


def test_a_lost_manifest_is_refused_until_it_is_put_back(run, ingest, home: Home, write):
    a = write("a.jsonl", 4)
    ingest(a)
    stored = {key: store_call(home, key) for key in active(home)}
    aside = manifest_path(home.sources).rename(home.root / "manifest.json")
    for arguments in (("build", "--dry-run"), ("ingest", str(a)), ("sources", "list")):
        assert run(*arguments).is_one_paragraph_naming("is missing", "Restore it from a backup")
    assert not manifest_path(home.sources).exists()
    aside.rename(manifest_path(home.sources))
    ingest(a)
    assert {key: call_file(home, key).read_bytes() for key in active(home)} == stored


def test_lost_texts_are_stored_again_alone(ingest, home: Home, write):
    a = write("a.jsonl", 4)
    ingest(a)
    before = texts_on_disk(home)
    (lost,) = home.warehouse.glob("documents/shard=shard-00001/*.parquet")
    lost.unlink()
    assert "New shards: 0 " in ingest(a)
    kept = {path: time for path, time in texts_on_disk(home).items() if "shard-00000" in path}
    assert kept.items() < before.items()
    texts = warehouse(home).read_partition("documents", "shard-00001", "all")
    assert texts["text"].to_list() == ["Text 2 of a.jsonl.", "Text 3 of a.jsonl."]
    assert len(texts_on_disk(home)) == len(before)


def test_texts_are_whole_again_once_a_damaged_line_of_theirs_was_written_anew(
    ingest, home: Home, write
):
    a = write("a.jsonl", 4)
    ingest(a)
    file = home.warehouse / "catalogue" / "shard-00001.json"
    for table in OF_TEXTS:
        content, name = file.read_bytes(), b'"table":"%b"' % table.encode()
        [line] = [line for line in content.split(b"\n") if name in line]
        file.write_bytes(content.replace(line, line.replace(b'"made_at"', b'"made_by"')))
        assert warehouse(home).partition_metadata(table, "shard-00001", "all") is None
        ingest(a)
        for stored in OF_TEXTS:
            assert warehouse(home).partition_metadata(stored, "shard-00001", "all") is not None


def test_a_kill_while_texts_are_stored_costs_nothing(run, ingest, home: Home, write, monkeypatch):
    a = write("a.jsonl", 6)
    monkeypatch.setattr("assets.documents._RECORDS_AT_ONCE", 3)
    genuine = Publisher._write

    def killed(publisher: Publisher, path: Path, catalogue: Catalogue) -> None:
        if catalogue.shard == "shard-00001":
            raise KeyboardInterrupt
        genuine(publisher, path, catalogue)

    with monkeypatch.context() as patch:
        # Two shards are stored together: one is published by then.
        patch.setattr(Publisher, "_write", killed)
        assert run("ingest", a, "--shard-size", 2).code != 0
    assert active(home) == ["shard-00000", "shard-00001", "shard-00002"]
    assert len(texts_on_disk(home)) == 2
    assert shards_in(home.warehouse) == ["shard-00000"]
    first = {file: at for file, at in texts_on_disk(home).items() if "shard-00000" in file}
    ingest(a)
    assert active(home) == ["shard-00000", "shard-00001", "shard-00002"]
    assert registered(home) == set(active(home))
    assert first.items() < texts_on_disk(home).items()
    assert {info.shard for info in warehouse(home).partitions("documents")} == set(active(home))
    with dagster_instance(home) as instance:
        reported = instance.get_materialized_partitions(dg.AssetKey("documents"))
    assert reported == set(active(home))


def ingest_alone(root: str, file: str) -> None:
    """What a process does."""
    os.environ["TOOLFORMER_HOME"] = root
    main(["ingest", file])


def test_ingests_at_once_lose_nothing(home: Home, write):
    write_settings_file(home.settings_file, preset="laptop")
    empty = write("empty.jsonl", 1)
    empty.write_text("\n")
    files = [*(write(f"{n}.jsonl", 4) for n in range(2)), empty]
    with imported_once(__name__, "dagster_project.definitions") as context:
        given = [(str(home.root), str(file)) for file in files]
        processes = [context.Process(target=ingest_alone, args=each) for each in given]
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout=300)
    assert [process.exitcode for process in processes] == [0, 0, 1]
    assert listed_sources(home.settings_file) == set(map(str, files[:2]))
    assert len(active(home)) == 2
    assert registered(home) == set(active(home))


@pytest.fixture
def asked(monkeypatch) -> list[list[str]]:
    """The shards of each build, whose stages are not run."""
    asked: list[list[str]] = []

    def execute_runs(*given: Any, **_: object) -> list[Exception]:
        asked.append(sorted({key for planned in given[2] for key in planned.partitions}))
        return []

    monkeypatch.setattr(build, "execute_runs", execute_runs)
    monkeypatch.setattr(build, "show_statistics", lambda *_, **__: None)
    annotator = SimpleNamespace(identity="m", location=None)
    monkeypatch.setattr(build.Annotator, "of", lambda *_: annotator)
    monkeypatch.setattr(build, "check_can_annotate", lambda *_, **__: None)
    return asked


def test_a_held_out_shard_is_told_and_not_annotated(
    run, ingest, home: Home, write, asked: list[list[str]]
):
    # Which holds out every fourth.
    write_settings_file(home.settings_file, preset="laptop")
    ingest(write("a.jsonl", 8))
    *annotated, held_out = active(home)
    with dagster_instance(home) as instance:
        assert instance.get_dynamic_partitions(SHARDS.name) == annotated
    assert registered(home) == {*annotated, held_out}
    build = ("build", "--tools", "Calendar")
    assert "and therefore not annotated: 1." in run(*build, "--dry-run").out
    assert run(*build).code == 0
    assert asked == [annotated]
    for arguments in ((), ("--dry-run",)):
        refused = run(*build, "--shards", held_out, *arguments)
        assert refused.is_one_paragraph_naming(f"not annotated: {held_out}.", "Leave these out")


def test_statistics_of_named_shards_are_told_to_be_of_these(
    run, ingest, home: Home, write, asked: list[list[str]], monkeypatch
):
    monkeypatch.setattr(build, "show_statistics", show_statistics)
    ingest(write("a.jsonl", 4))
    first, *others = active(home)
    for shards in ([first], [first, *others], []):
        named = ("--shards", ",".join(shards)) if shards else ()
        out = run("build", "--tools", "Calendar", *named).out
        assert ("Counts of the named shards only." in out) == bool(named)
    assert asked == [[first], [first, *others], [first, *others]]


def test_a_missing_source_costs_nothing_and_is_told_until_its_texts_are_gone_too(
    run, ingest, home: Home, write, asked: list[list[str]]
):
    a, b = write("a.jsonl", 2), write("b.jsonl", 2)
    ingest(a, b)
    stored = {key: store_call(home, key) for key in active(home)}
    a.unlink()
    listed = json.loads(run("sources", "list", "--json").out)
    assert {row["source"]: row["state"] for row in listed} == {str(a): "missing", str(b): "listed"}
    code, out, err = run("build", "--tools", "Calendar")
    assert (code, err) == (0, "")
    assert f"There is no source '{a}'" in out
    out = run("build", "--tools", "Calendar", "--set", f"corpus.sources=[{{path: {b}}}]").out
    assert f"sources remove {a}" in out
    assert asked == [["shard-00000", "shard-00001"]] * 2

    out = ingest(write("c.jsonl", 2))
    assert f"There is no source '{a}'" in out
    assert "Its 1 existing shards are kept." in out
    assert set(stored) < set(active(home)) == registered(home)
    assert {key: call_file(home, key).read_bytes() for key in stored} == stored

    for path in home.warehouse.glob("documents/shard=shard-00000/*.parquet"):
        path.unlink()
    refused = run("build", "--tools", "Calendar")
    assert refused.is_one_paragraph_naming(
        f"There are no texts of shard-00000 of the source '{a}'", "toolformer sources remove"
    )
    assert asked[2] == ["shard-00001", "shard-00002"]
