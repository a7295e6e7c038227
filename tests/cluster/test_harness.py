"""The harness itself: it sees what it is there to see, and nothing of it stays behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster.namespace import apart, host, missing_namespaces
from tests.cluster.observed import versions
from tests.cluster.store import BUCKET, HOME, Store
from tests.cluster.verdict import not_made_once, publications_in_folder, torn
from tests.warehouse.rows import SHARD, frame
from warehouse.warehouse import Warehouse

ROWS = [{"document_id": name, "text": name} for name in "abc"]
ADDRESS = ("documents", SHARD, "all")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    publish(tmp_path)
    return tmp_path


def publish(home: Path) -> None:
    warehouse = Warehouse(home / "warehouse", home / "warehouse.duckdb")
    warehouse.replace_partition(*ADDRESS, frame("documents", *ROWS), metadata={"fingerprint": "x"})


def test_a_partition_that_was_published_once_is_as_it_should_be(home: Path):
    assert not_made_once(publications_in_folder(home), home) == []


def test_equal_rows_that_were_published_again_are_noticed(home: Path):
    publish(home)
    assert not_made_once(publications_in_folder(home), home) == [
        f"documents/{SHARD}/all was published 2 times"
    ]


def test_a_partition_that_nobody_saw_published_is_noticed(home: Path):
    assert not_made_once({}, home) == [f"documents/{SHARD}/all was published 0 times"]


def test_each_version_that_was_put_counts(tmp_path: Path):
    log = tmp_path / "log"
    place = f"{HOME}/documents/shard%3D{SHARD}/all%4000000001-"
    lines = [("PUT", f"{place}{digest}.parquet") for digest in ("0123456789abcdef", "f" * 16)]
    lines += [("GET", lines[0][1]), ("PUT", f"{HOME}/objects/ab/cd")]
    log.write_text(
        "".join(f'127.0.0.1 - - "{verb} /{BUCKET}/{key} HTTP/1.1" 200 -\n' for verb, key in lines)
    )
    store = Store(9000, subprocess.Popen(["true"]), log)
    store.process.wait()
    assert store.publications() == {("documents", SHARD, "all"): 2}


def test_a_torn_file_is_noticed(home: Path):
    ((_, path),) = versions(home)
    path.write_bytes(path.read_bytes()[:-1])
    assert torn(home) == [f"{path.name} is torn"]


@pytest.fixture
def namespaces() -> None:
    if reason := missing_namespaces():
        pytest.skip(reason)


def apart_from_here(code: str, *arguments: str) -> list[str]:
    return apart([sys.executable, "-c", code, *arguments])


@pytest.mark.usefixtures("namespaces")
def test_a_network_apart_has_no_way_out():
    code = "import socket; print([name for _, name in socket.if_nameindex()])"
    done = subprocess.run(apart_from_here(code), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['lo']"


@pytest.mark.usefixtures("namespaces")
def test_nothing_outlives_what_is_killed(tmp_path: Path):
    # A process of a host, in a session of its own.
    code = "import os, sys, time; os.setsid(); open(sys.argv[1], 'w').close(); time.sleep(600)"
    disk, place, began = tmp_path / "disk", tmp_path / "place", tmp_path / "began"
    disk.mkdir()
    place.mkdir()
    within = host("host", [sys.executable, "-c", code, str(began)], disk=disk, place=place)
    outermost = subprocess.Popen(apart(within))
    wait_until(began.exists)
    assert processes_with(str(began))
    os.kill(outermost.pid, signal.SIGKILL)
    outermost.wait()
    wait_until(lambda: not processes_with(str(began)))


@pytest.mark.usefixtures("namespaces")
def test_a_host_has_a_name_and_a_disk_of_its_own(tmp_path: Path):
    disk, place = tmp_path / "disk", tmp_path / "place"
    disk.mkdir()
    place.mkdir()
    (disk / "file").write_text("of the disk")
    code = "import socket, sys; print(socket.gethostname(), open(sys.argv[1] + '/file').read())"
    within = host("ada", [sys.executable, "-c", code, str(place)], disk=disk, place=place)
    done = subprocess.run(apart(within), capture_output=True, text=True, check=True)
    assert done.stdout == "ada of the disk\n"
    assert list(place.iterdir()) == []


def processes_with(word: str) -> list[int]:
    """Numbers of processes that have a word in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if word.encode() in words:
            found.append(int(folder.name))
    return found


def wait_until(is_there) -> None:
    began = time.monotonic()
    while not is_there():
        assert time.monotonic() - began < 30
        time.sleep(0.05)
