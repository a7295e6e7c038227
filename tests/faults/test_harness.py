"""The harness itself: it strikes where it says, and sees what it is there to see."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.faults.comparison import (
    Damage,
    damage_of_leftovers,
    damage_of_rows,
    held_locks,
    partitions_of,
    processes_of,
)
from tests.faults.fingerprints import damage_of_fingerprints
from tests.faults.flips import damage_of_reading, rows_read
from tests.faults.home import Done, FaultyHome
from tests.faults.injection import Event, drawn, recorded, recording, striking
from tests.faults.report import Outcome
from tests.faults.tries import Try, told_plainly, try_all
from tests.warehouse.rows import SHARD, frame
from warehouse.warehouse import Warehouse

WRITE_TWO_FILES = """
import pathlib, shutil, sys
for name in ("a", "b"):
    file = pathlib.Path(sys.argv[1], "calibration", name)
    file.with_suffix(".tmp").write_text(name)
    file.with_suffix(".tmp").replace(file)
    file.with_suffix(".tmp").unlink(missing_ok=True)
shutil.rmtree(file.parent)
"""


def write_two_files(home: Path, extra: dict[str, str]) -> subprocess.CompletedProcess[str]:
    (home / "calibration").mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-c", WRITE_TWO_FILES, str(home)],
        env={**os.environ, **extra},
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )


def files(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "calibration").glob("*"))


@pytest.mark.parametrize(
    ("moment", "left"),
    [("open", ["a"]), ("before rename", ["a", "b.tmp"]), ("after rename", ["a", "b"])],
)
def test_kill_comes_at_the_event(tmp_path: Path, moment: str, left: list[str]):
    event = Event(f"{moment} calibration", 2, "calibration/b")
    done = write_two_files(tmp_path, striking("kill", tmp_path, event, tmp_path / "struck"))
    assert done.returncode == -signal.SIGKILL
    assert files(tmp_path) == left


def test_kill_in_the_middle_of_removing_a_folder(tmp_path: Path):
    event = Event("remove calibration", 2, "calibration/b")
    done = write_two_files(tmp_path, striking("kill", tmp_path, event, tmp_path / "struck"))
    assert done.returncode == -signal.SIGKILL
    assert len(files(tmp_path)) == 1


def test_full_disk_refuses_all_that_follows(tmp_path: Path):
    event = Event("open calibration", 2, "calibration/b")
    done = write_two_files(tmp_path, striking("full", tmp_path, event, tmp_path / "struck"))
    assert "No space left on device" in done.stderr
    assert files(tmp_path) == ["a"]


def test_events_are_recorded_and_drawn_by_the_seed(tmp_path: Path):
    import random

    home, log = tmp_path / "home", tmp_path / "log"
    home.mkdir()
    write_two_files(home, recording(home, log))
    events = recorded(log)
    removed = ["remove calibration #1", "remove calibration #2", "remove top #1"]
    assert [str(event) for event in events if not event.kind.startswith("mkdir")] == [
        f"{moment} calibration #{number}"
        for number in (1, 2)
        for moment in ("open", "before rename", "after rename")
    ] + removed
    chosen = drawn(events, ".*rename.*", 3, random.Random(1))
    assert chosen == drawn(events, ".*rename.*", 3, random.Random(1))
    assert {event.kind for event in chosen} == {
        "before rename calibration",
        "after rename calibration",
    }


ROWS = [{"document_id": name, "text": name} for name in "abc"]


@pytest.fixture
def make_home(tmp_path: Path) -> Callable[..., FaultyHome]:
    def make(name: str, rows: list[dict], fingerprint: str = "x") -> FaultyHome:
        home = FaultyHome(tmp_path / name)
        Warehouse(home.home.warehouse, home.home.database).replace_partition(
            "documents",
            SHARD,
            "all",
            frame("documents", *rows),
            metadata={"fingerprint": fingerprint},
        )
        return home

    return make


@pytest.mark.parametrize(
    ("rows", "lost", "wrong"),
    [(ROWS, 0, 0), (ROWS[1:], 1, 0), ([*ROWS, {"document_id": "d"}], 0, 1)],
)
def test_lost_and_other_rows_are_counted(make_home, rows: list[dict], lost: int, wrong: int):
    damage = damage_of_rows(
        partitions_of(make_home("found", rows)), partitions_of(make_home("as", ROWS))
    )
    assert (damage.lost, damage.wrong) == (lost, wrong)
    assert bool(damage) == bool(lost or wrong)


def test_doubled_and_changed_rows_are_counted(make_home):
    expected = partitions_of(make_home("home", ROWS))
    ((address, rows),) = expected.items()
    doubled = damage_of_rows({address: pl.concat([rows, rows[:1]])}, expected)
    assert (doubled.lost, doubled.doubled) == (0, 1)
    changed = rows.with_columns(title=pl.lit("other"))
    assert damage_of_rows({address: changed}, expected).wrong == 3


def test_missing_partition_is_lost(make_home):
    expected = partitions_of(make_home("home", ROWS))
    assert damage_of_rows({}, expected).lost == 3


def test_other_rows_under_a_known_fingerprint_are_wrong(make_home):
    first = make_home("first", ROWS, "one")
    second = make_home("second", ROWS[1:], "two")
    assert not damage_of_fingerprints(make_home("right", ROWS[1:], "two"), [first, second])
    assert damage_of_fingerprints(make_home("mixed", ROWS, "two"), [first, second]).wrong == 3
    assert damage_of_fingerprints(make_home("unknown", ROWS, "three"), [first, second]).wrong == 1


def test_rows_that_changed_silently_are_seen_by_both_readers(make_home):
    home = make_home("home", ROWS)
    warehouse = Warehouse(home.home.warehouse, home.home.database)
    (info,) = warehouse.partitions("documents")
    before = rows_read(warehouse, info)
    assert damage_of_reading(warehouse, info, before) == (Damage(), False)
    make_home("home", [*ROWS[1:], {"document_id": "a", "text": "other"}])
    damage, was_noticed = damage_of_reading(warehouse, info, before)
    assert (damage.wrong, was_noticed) == (2, False)
    (info,) = warehouse.partitions("documents")
    info.path.write_bytes(b"no partition")
    damage, was_noticed = damage_of_reading(warehouse, info, before)
    assert (bool(damage), was_noticed) == (False, True)


@pytest.mark.parametrize(
    ("output", "is_inside"),
    [
        ("Error: The disk is full while writing x. Free some space.", False),
        ("Traceback (most recent call last):\n", True),
        ('Error: filtered_calls: KeyError\n  File "/x/losses.py", line 195, in <listcomp>\n', True),
    ],
)
def test_inside_of_the_program_is_recognised(output: str, is_inside: bool):
    assert Done(1, output).has_traceback == is_inside
    assert bool(told_plainly(Done(1, output))) == is_inside


def test_leftovers_are_found(make_home):
    home = make_home("home", ROWS)
    assert not damage_of_leftovers(home)
    (home.root / "warehouse" / "x.1.tmp").touch()
    with home.home.device_lock("cpu"):
        assert held_locks(home) == ["device-cpu.lock"]
        damage = damage_of_leftovers(home)
    assert damage.locks == 1
    assert any("x.1.tmp" in remark for remark in damage.remarks)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_living_process_of_a_home_is_found(tmp_path: Path):
    home = FaultyHome(tmp_path)
    environment = {**os.environ, "TOOLFORMER_HOME": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert processes_of(home) == [process.pid]
        process.kill()
    assert processes_of(home) == []


def test_a_try_that_cannot_be_compared_is_damage(tmp_path: Path):
    def broken() -> Damage:
        return Damage(lost=len(json.loads("{")))

    good, bad = try_all([Try("good", "1", Damage), Try("bad", "1", broken)])
    assert (good.tried, bool(good.damage)) == (1, False)
    assert (bad.tried, bool(bad.damage)) == (1, True)
    assert isinstance(bad, Outcome)
