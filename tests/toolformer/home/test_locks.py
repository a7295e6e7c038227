"""Locks that are files, and how it is found out that they exclude nobody."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import IO

import psutil
import pytest

from toolformer.home import locks
from toolformer.home.home import Home
from toolformer.home.locks import LockError, check_locks, file_lock, holder_of, why_locks_fail
from toolformer.home.wiring.workspace import open_warehouse

HOLDER = """
import os, sys
from filelock import FileLock
with FileLock(os.environ["LOCK"]):
    print("held", flush=True)
    sys.stdin.read()
"""


def release_when_told(standard_input: IO[str], caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(1000):
        if caplog.messages:
            break
        time.sleep(0.01)
    standard_input.close()


def test_who_waits_for_a_lock_is_told_which_command_holds_it(tmp_path, caplog):
    lock = file_lock(tmp_path, "device-cpu")
    program = tmp_path / "toolformer"
    program.write_text(HOLDER)
    with subprocess.Popen(
        [sys.executable, program, "build", "--force"],
        env={**os.environ, "LOCK": str(lock.lock_file)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        released = threading.Thread(target=release_when_told, args=(holder.stdin, caplog))
        released.start()
        with lock:
            released.join()
    assert caplog.messages == [
        f"waiting for `toolformer build --force` (process {holder.pid}) to release device-cpu"
    ]
    assert holder_of(Path(lock.lock_file)) == "another run"


def test_a_shared_folder_without_locks_is_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda _descriptor, _operation: None)
    machine, shared = tmp_path / "machine", tmp_path / "shared"
    with pytest.raises(LockError, match=r"machine' do not exclude.*Set TOOLFORMER_CACHE"):
        check_locks(machine, shared)
    monkeypatch.setattr(locks, "why_locks_fail", lambda folder: (folder == shared and "so") or None)
    with pytest.raises(
        LockError, match=r"shared' do not exclude other processes: so.*Mount the shared folder"
    ):
        check_locks(machine, shared)


def test_only_a_home_that_is_shared_is_tried(tmp_path, monkeypatch):
    def fail(folder: Path) -> str:
        return f"{folder.name} does not lock"

    monkeypatch.setattr(locks, "why_locks_fail", fail)
    open_warehouse(Home(tmp_path / "own"))
    with pytest.raises(LockError, match="cache does not lock"):
        open_warehouse(Home(tmp_path / "shared", tmp_path / "cache"))


def test_locks_that_exclude_others_are_told_by_trying_and_leave_nothing(tmp_path):
    assert why_locks_fail(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_without_locks_or_with_two_holders_is_found(tmp_path, monkeypatch):
    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert "no locks here" in str(why_locks_fail(tmp_path))
    monkeypatch.setattr(fcntl, "flock", lambda _descriptor, _operation: None)
    assert "twice" in str(why_locks_fail(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "is_refused"),
    [
        ("rw,vers=3,nolock", True),
        ("rw,vers=3,local_lock=flock", True),
        ("rw,vers=4.2,local_lock=none", False),
        ("rw,localflock", True),
    ],
)
def test_a_folder_mounted_with_locks_of_one_machine_is_refused(
    tmp_path, monkeypatch, options: str, *, is_refused: bool
):
    shared = tmp_path / "shared"
    shared.mkdir()
    mounts = {"/": "rw,nolock", str(shared): options}
    monkeypatch.setattr(
        psutil,
        "disk_partitions",
        lambda **_: [SimpleNamespace(mountpoint=point, opts=mounts[point]) for point in mounts],
    )
    told = why_locks_fail(shared)
    assert (told is not None) == is_refused
    # A folder beside it lies on the other one.
    assert "nolock" in (why_locks_fail(tmp_path) or "")
