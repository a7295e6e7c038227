"""What the machines that share a home agree on, and who is refused."""

import errno
import fcntl
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import filelock
import pytest

from dagster_project import cluster
from dagster_project.cluster import ClusterError, Place, joined, read_record
from dagster_project.home import Home
from dagster_project.locks import LockError
from dagster_project.wiring.warehouse import open_warehouse
from tests.cluster.postgres import RunningPostgres
from tests.dagster_project.command_line import Outcome, run_command

OTHER_LOCKS = {"kind": "postgresql", "database": "x", "system_identifier": "7"}


@pytest.fixture(autouse=True)
def each_look_is_that_of_another_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cluster, "_joined", cluster._joined.__wrapped__)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Of a machine that shares it, with locks in files."""
    return Home(tmp_path / "home", tmp_path / "cache")


def altered(place: Place, **changes: object) -> None:
    """Write into the record what another machine would have."""
    content = json.loads(place.file.read_text())
    place.file.write_text(json.dumps({**content, **changes}))


def test_a_home_of_one_machine_has_no_record(tmp_path: Path):
    home = Home(tmp_path / "home")
    assert home.cluster is None
    with home.shards_lock():
        pass
    open_warehouse(home)
    assert not home.place.file.exists()


def test_the_first_machine_records_and_the_next_one_fits(home: Home, tmp_path: Path):
    first = home.cluster
    assert first is not None
    assert first == read_record(home.place)
    assert first.locks == {"kind": "files"}
    assert Home(home.root, tmp_path / "other cache").cluster == first


def test_machines_that_come_at_once_write_one_record(home: Home):
    found, meeting = [], threading.Barrier(4, timeout=10)

    def join() -> None:
        meeting.wait()
        found.append(cluster._joined(home.place))

    threads = [threading.Thread(target=join) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(found) == 4
    assert {each.id for each in found} == {json.loads(home.place.file.read_text())["id"]}


def test_a_machine_that_locks_elsewhere_is_refused(home: Home):
    home.check_cluster()
    altered(home.place, locks=OTHER_LOCKS)
    for use in (open_warehouse, lambda of: of.shards_lock()):
        with pytest.raises(ClusterError, match="two machines would write the same at once"):
            use(home)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": "1"}'])
def test_a_damaged_record_is_told_and_can_be_renewed(home: Home, content: str):
    home.root.mkdir()
    home.place.file.write_text(content)
    with pytest.raises(ClusterError, match="toolformer cluster renew"):
        home.check_cluster()
    renewed = cluster.renew(home.place)
    assert home.cluster == renewed


def test_a_folder_without_locks_is_refused_before_anything_is_recorded(home: Home, monkeypatch):
    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(LockError, match=r"exclude nobody: .*not implemented\. Set TOOLFORMER_"):
        home.check_cluster()
    assert not home.place.file.exists()


def test_a_machine_without_a_cache_of_its_own_is_compared_all_the_same(home: Home):
    home.check_cluster()
    altered(home.place, locks=OTHER_LOCKS)
    with pytest.raises(ClusterError, match="two machines would write the same at once"):
        Home(home.root).check_cluster()


# With PostgreSQL


@pytest.fixture
def shared(postgres: RunningPostgres, tmp_path: Path) -> Callable[..., Home]:
    def make(name: str = "home", database: str = "postgres", machine: str = "one") -> Home:
        return Home(tmp_path / name, tmp_path / machine, postgres.url(database))

    return make


def test_machines_with_one_database_exclude_each_other(shared):
    one, two = shared(machine="one"), shared(machine="two")
    with one.slice_lock("documents", "shard-00000", "all"):
        with pytest.raises(filelock.Timeout):
            two.slice_lock("documents", "shard-00000", "all").acquire(timeout=0)
        # What belongs to a machine does not concern the other.
        with one.device_lock("cpu"), two.device_lock("cpu"):
            pass
    assert not (one.root / "locks").exists()


def test_two_clusters_in_one_database_do_not_wait_for_each_other(shared):
    with shared("first").shards_lock(), shared("second").shards_lock().acquire(timeout=0):
        pass


def test_two_clusters_with_one_home_are_refused(shared, postgres: RunningPostgres, tmp_path: Path):
    home = shared()
    home.check_cluster()
    postgres.create_database("of_others")
    others = (
        shared(database="of_others"),
        Home(home.root, tmp_path / "cache"),
        Home(home.root),
    )
    for other in others:
        with pytest.raises(ClusterError, match="two machines would write the same at once"):
            other.check_cluster()


def test_the_database_is_known_by_another_address(shared):
    home = shared()
    home.check_cluster()
    replace(home, locks=home.locks.replace("127.0.0.1", "localhost")).check_cluster()


# Commands


@pytest.fixture
def command(home: Home, monkeypatch, capsys) -> Callable[..., Outcome]:
    monkeypatch.setenv("TOOLFORMER_HOME", str(home.root))
    monkeypatch.setenv("TOOLFORMER_CACHE", str(home.machine))
    for name in ("LOCKS", "STORE"):
        monkeypatch.delenv(f"TOOLFORMER_{name}", raising=False)
    return lambda *arguments: run_command(capsys, "cluster", *arguments)


def test_the_record_is_shown_with_whether_this_machine_fits(command, home: Home):
    outcome = command("show")
    assert outcome.code == 0
    assert "the next command that opens it writes one" in outcome.out
    recorded = home.cluster
    assert recorded is not None
    outcome = command("show")
    assert outcome.code == 0
    assert recorded.id in outcome.out
    assert "This machine fits." in outcome.out
    altered(home.place, locks=OTHER_LOCKS)
    assert command("show").is_one_paragraph_naming("the PostgreSQL database x of 7")


def test_renewing_keeps_the_id_and_takes_the_rest_from_this_machine(command, home: Home):
    before = home.cluster
    altered(home.place, locks=OTHER_LOCKS)
    assert command("renew").code == 0
    assert home.cluster == before


def test_a_home_of_one_machine_has_nothing_to_renew(command, home: Home, monkeypatch):
    monkeypatch.delenv("TOOLFORMER_CACHE")
    assert "it belongs to one machine" in command("show").out
    assert command("renew").is_one_paragraph_naming("there is nothing to record")
    assert not home.place.file.exists()


def test_looking_twice_in_one_process_asks_once(home: Home, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    first = joined(home.place)
    altered(home.place, locks=OTHER_LOCKS)
    assert joined(home.place) is first
