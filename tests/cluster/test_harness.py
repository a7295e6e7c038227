"""The harness itself: it sees what it is there to see, and nothing of it stays behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.namespace import apart, host, missing_namespaces
from tests.cluster.observed import versions
from tests.cluster.store import STORE, Store
from tests.cluster.verdict import not_made_once, torn
from tests.faults.comparison import processes_of
from tests.homes import SmallHome
from tests.processes import await_until
from tests.warehouse.rows import SHARD, put

ADDRESS = ("documents", SHARD, "all")


def test_what_nobody_published_was_made_again_or_is_torn_is_noticed(tmp_path: Path):
    def publish() -> Path:
        put(SmallHome(tmp_path).warehouse, "documents", fingerprint="x")
        *_, (_, path) = sorted(versions(tmp_path))
        return path

    path = publish()
    assert (not_made_once({ADDRESS}, tmp_path), torn(tmp_path)) == ([], [])
    assert len(not_made_once({}, tmp_path)) == 1
    path.write_bytes(path.read_bytes()[:-1])
    assert torn(tmp_path) == [f"{path.name} is torn"]
    publish()
    assert len(not_made_once({ADDRESS}, tmp_path)) == 1


def test_each_version_that_was_put_counts(tmp_path: Path):
    log = tmp_path / "log"
    home = STORE.removeprefix("s3://")
    place = f"{home}/documents/shard%3D{SHARD}/all%4000000001-"
    lines = [("PUT", f"{place}{digest}.parquet") for digest in ("0123456789abcdef", "f" * 16)]
    lines += [("GET", lines[0][1]), ("PUT", f"{home}/objects/ab/cd")]
    log.write_text("".join(f'- - "{verb} /{key} HTTP/1.1" 200 -\n' for verb, key in lines))
    assert Store(log).publications() == {ADDRESS: 2}


def test_a_host_has_a_name_and_a_disk_and_nothing_of_it_outlives_what_is_killed(tmp_path: Path):
    if reason := missing_namespaces():
        pytest.skip(reason)
    disk, place = tmp_path / "disk", tmp_path / "place"
    disk.mkdir()
    place.mkdir()
    # A process in a session of its own.
    code = (
        "import os, socket, sys, time; os.setsid(); names = socket.if_nameindex();"
        "open(sys.argv[1] + '/told', 'w').write(f'{socket.gethostname()} {names}');"
        "time.sleep(600)"
    )
    within = host("ada", [sys.executable, "-c", code, str(place)], disk=disk, place=place)
    environment = {**os.environ, "TOOLFORMER_HOME": str(place)}
    outermost = subprocess.Popen(apart(within), env=environment)
    told = disk / "told"
    await_until(lambda: told.exists() and bool(told.read_text()), "the host", 30)
    assert told.read_text() == "ada [(1, 'lo')]"
    assert list(place.iterdir()) == []
    assert processes_of(SmallHome(place))
    os.kill(outermost.pid, signal.SIGKILL)
    outermost.wait()
    await_until(lambda: not processes_of(SmallHome(place)), "the end of all", 30)
