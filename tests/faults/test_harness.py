"""The harness itself: it sees what it is there to see."""

import os
import subprocess
import sys
from collections.abc import Callable

import polars as pl
import pytest

from tests.faults.comparison import damage_of_leftovers, damage_of_rows, partitions_of, processes_of
from tests.faults.fingerprints import damage_of_fingerprints
from tests.faults.home import FaultyHome
from tests.warehouse.rows import put

ROWS = [{"document_id": name, "text": name} for name in "abc"]


@pytest.fixture
def make_home(tmp_path) -> Callable[..., FaultyHome]:
    def make(name: str, rows: list[dict], fingerprint: str = "x") -> FaultyHome:
        home = FaultyHome(tmp_path / name)
        put(home.warehouse, "documents", *rows, fingerprint=fingerprint)
        return home

    return make


def test_rows_that_are_lost_doubled_new_or_changed_are_counted(make_home):
    expected = partitions_of(make_home("home", ROWS))
    ((address, rows),) = expected.items()
    changed = rows.with_columns(title=pl.lit("other"))
    new = rows[:1].with_columns(document_id=pl.lit("d"))
    for found, counts in (
        ({address: rows}, (0, 0, 0)),
        ({address: rows[1:]}, (1, 0, 0)),
        ({}, (3, 0, 0)),
        ({address: pl.concat([rows, rows[:1]])}, (0, 1, 0)),
        ({address: changed}, (0, 0, 3)),
        ({address: pl.concat([rows, new])}, (0, 0, 1)),
    ):
        damage = damage_of_rows(found, expected)
        assert (damage.lost, damage.doubled, damage.wrong) == counts
        assert bool(damage) == any(counts)


def test_other_rows_under_a_known_fingerprint_are_wrong(make_home):
    first = make_home("first", ROWS, "one")
    second = make_home("second", ROWS[1:], "two")
    assert not damage_of_fingerprints(make_home("right", ROWS[1:], "two"), [first, second])
    assert damage_of_fingerprints(make_home("mixed", ROWS, "two"), [first, second]).wrong == 3
    assert damage_of_fingerprints(make_home("unknown", ROWS, "three"), [first, second]).wrong == 1


def test_what_is_left_or_lives_is_found(make_home):
    home = make_home("home", ROWS)
    assert not damage_of_leftovers(home)
    (home.root / "warehouse" / "x.1.tmp").touch()
    command = [sys.executable, "-c", "print(flush=True); input()"]
    environment = {**os.environ, "TOOLFORMER_HOME": str(home.root)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with (
        home.home.device_lock("cpu"),
        subprocess.Popen(command, env=environment, **pipes) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        damage = damage_of_leftovers(home)
        process.kill()
    assert (damage.locks, damage.running) == (1, 1)
    assert any("x.1.tmp" in remark for remark in damage.remarks)
    assert processes_of(home) == []
