import dataclasses
from collections import Counter
from pathlib import Path

import pytest

from dagster_project.commands import doctor
from dagster_project.commands.doctor import Finding, examine
from tests.warehouse.rows import SHARD, put
from toolformer.home.home import Home
from toolformer.sources.manifest import Manifest, ShardEntry, manifest_path
from warehouse.warehouse import Warehouse


def finding(home: Home, name: str, *, is_full: bool = False) -> Finding:
    found = [each for each in examine(home, is_full=is_full) if each.name == name]
    assert len(found) == 1, found
    return found[0]


def works(home: Home, name: str, *, is_full: bool = False) -> bool:
    return name not in {each.name for each in examine(home, is_full=is_full)}


def filled_warehouse(home: Home) -> Path:
    """A warehouse with two partitions; the path of the first."""
    warehouse = Warehouse(home.warehouse, home.database)
    warehouse.prepare()
    put(warehouse, "documents", name="documents")
    put(warehouse, "candidate_calls")
    return warehouse.partitions("documents")[0].path


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def test_a_home_that_does_not_exist_is_examined_and_not_made(home):
    findings = examine(home)
    by_name = {each.name: each for each in findings}
    # Those that search lack an index.
    assert {name for name in by_name if name.startswith("tool ")} == {"tool QA", "tool WikiSearch"}
    assert max(Counter(each.name for each in findings).values()) == 1
    assert not by_name.keys() & {"partitions", "manifest", "settings", "language model"}
    assert not home.root.exists()
    for each in findings:
        assert each.detail
        assert each.remedy
        assert each.status != "ok"


def test_a_tool_that_is_switched_off_is_not_looked_at(home):
    # Without an index it cannot run.
    assert finding(home, "tool QA").status == "missing"
    home.root.mkdir()
    home.settings_file.write_text("tools: {QA: {is_enabled: false}}\n")
    assert works(home, "tool QA")


@pytest.mark.parametrize("text", ["preset: lptop", "corpus:\n  shard_sice: 3", "{", "\0"])
def test_settings_that_are_not_valid_are_a_finding_and_the_rest_is_examined(home, text):
    home.root.mkdir()
    home.settings_file.write_text(text)
    found = finding(home, "settings")
    assert found.status == "missing"
    assert str(home.settings_file) in found.remedy
    assert finding(home, "tool QA").status == "missing"


def test_a_manifest_that_cannot_be_read_and_shards_without_their_texts_are_findings(home):
    home.sources.mkdir(parents=True)
    manifest_path(home.sources).write_text("{")
    found = finding(home, "manifest")
    assert (found.status, "manifest.json" in found.detail) == ("missing", True)
    retired, active = (
        ShardEntry(f"shard-{number:05d}", "a.jsonl", number, 1, "d", False) for number in range(2)
    )
    shards = [dataclasses.replace(retired, status="retired"), active]
    Manifest(next_number=2, shards=shards).save(home.sources)
    found = finding(home, "manifest")
    assert found.status == "missing"
    assert found.detail == "the texts of 1 of 1 shards are missing: shard-00001"


def test_a_truncated_or_missing_partition_is_named_until_it_is_made_again(home):
    path = filled_warehouse(home)
    assert works(home, "partitions")
    truncate(path)
    found = finding(home, "partitions")
    assert found.status == "warning"
    assert f"documents/shard={SHARD}/{path.name}" in found.detail
    assert found.remedy.startswith("Remove these files in ")
    assert found.files == (str(path),)
    path.unlink()
    assert finding(home, "partitions").files == (str(path),)
    warehouse = Warehouse(home.warehouse, home.database)
    put(warehouse, "documents", name="documents")
    assert works(home, "partitions")


def test_a_file_where_a_folder_belongs_never_ends_the_examination(home):
    home.root.mkdir()
    for name in ("warehouse", "sources", "models", "indexes"):
        (home.root / name).write_text("not a folder")
        assert not works(home, "tool QA")
        (home.root / name).unlink()


@pytest.mark.parametrize("error", [OSError("broken"), ImportError("gone"), RuntimeError("odd")])
def test_a_look_that_fails_is_a_finding_and_the_others_go_on(home, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("tools.running.confinement.has_namespaces", fail)
    found = finding(home, "isolation of tools")
    assert (found.status, str(error) in found.detail) == ("warning", True)
    assert finding(home, "tool QA").status == "missing"


def test_the_locks_of_both_folders_of_a_cluster_are_tried(home, tmp_path, monkeypatch):
    home.root.mkdir()
    split = Home(home.root, tmp_path / "cache")
    split.machine.mkdir()
    assert works(split, "shared locks")
    assert works(split, "locks of the machine")
    assert list(home.root.iterdir()) == []
    monkeypatch.setattr(doctor, "why_locks_fail", lambda _: "it does not lock")
    found = finding(split, "shared locks")
    assert (found.status, "it does not lock" in found.detail) == ("missing", True)
    assert "Mount the shared folder" in found.remedy
    assert "TOOLFORMER_CACHE" in finding(split, "locks of the machine").remedy


def test_what_works_is_not_listed(run, monkeypatch):
    code, first, _ = run("doctor")
    assert code == 0
    assert "All other checks of" in first
    assert "tool Calculator" not in first
    monkeypatch.setattr(doctor, "_MIN_FREE_DISK", 10**18)
    code, out, _ = run("doctor")
    assert (code, "GiB free for" in out) == (0, True)


@pytest.mark.parametrize(("torch", "is_told"), [("2.9.0+cu130", False), ("2.9.0+cpu", True)])
def test_a_graphics_card_that_torch_cannot_use_is_a_finding(
    home, monkeypatch, tmp_path, torch, is_told
):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'Card X'\n")
    program.chmod(0o755)
    monkeypatch.setattr(doctor.shutil, "which", lambda _: str(program))
    real = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: torch if name == "torch" else real(name))
    cards = [each.detail for each in examine(home) if each.name == "GPU"]
    assert cards == (["Card X; the installed torch cannot use it"] if is_told else [])
