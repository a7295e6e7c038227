"""Locks in a PostgreSQL that is killed, restarted and shared by two clusters."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import filelock
import pytest

from dagster_project import postgres_lock
from dagster_project.locks import LockError
from dagster_project.postgres_lock import (
    PostgresLock,
    identity_of,
    why_postgres_locks_fail,
)
from tests.cluster.postgres import RunningPostgres
from toolformer.ground.locking import Lock


@pytest.fixture
def lock(postgres: RunningPostgres) -> Iterator[Callable[..., PostgresLock]]:
    made = []

    def make(name: str = "shards", scope: str = "home") -> PostgresLock:
        made.append(PostgresLock(postgres.url(), scope, name))
        return made[-1]

    yield make
    for each in made:
        each.release()


def is_free(lock: Lock) -> bool:
    try:
        with lock.acquire(timeout=0):
            return True
    except filelock.Timeout:
        return False


def started(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_second_holder_waits_even_in_the_same_process(lock):
    first, second = lock(), lock()
    with first:
        assert not is_free(second)
        began = time.monotonic()
        with pytest.raises(filelock.Timeout):
            second.acquire(timeout=0.5)
        assert time.monotonic() - began >= 0.5
    assert is_free(second)


def test_locks_of_other_names_and_of_other_clusters_are_others(lock):
    with lock("a", "home"):
        assert is_free(lock("b", "home"))
        assert is_free(lock("a", "other home"))
        assert not is_free(lock("a", "home"))


def test_a_lock_that_is_released_twice_stays_released(lock):
    first = lock()
    first.acquire()
    first.release()
    first.release()
    assert is_free(lock())


def test_the_lock_of_a_killed_process_is_free(lock, postgres: RunningPostgres):
    holding = (
        "import sys, time; from dagster_project.postgres_lock import PostgresLock; "
        "PostgresLock(sys.argv[1], 'home', 'shards').acquire(); print('held', flush=True); "
        "time.sleep(600)"
    )
    command = [sys.executable, "-c", holding, postgres.url()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            assert not is_free(lock())
        finally:
            os.kill(holder.pid, signal.SIGKILL)
    lock().acquire(timeout=10)


def test_whoever_waits_gets_the_lock_after_a_restart(lock, postgres: RunningPostgres):
    holder, waiting = lock(), lock()
    holder.acquire()
    waiter = started(waiting.acquire)
    time.sleep(0.3)
    assert waiter.is_alive()
    postgres.restart()
    waiter.join(timeout=20)
    assert not waiter.is_alive()
    # Who held it finds out before it publishes, and waits its turn.
    found: list[bool] = []
    late = started(lambda: found.append(holder.regain()))
    late.join(timeout=1)
    assert late.is_alive()
    waiting.release()
    late.join(timeout=20)
    assert found == [True]
    assert not is_free(lock())


def test_a_lock_lost_and_taken_again_is_told_once(lock, postgres: RunningPostgres):
    held = lock()
    held.acquire()
    assert not held.regain()
    postgres.restart()
    assert held.regain()
    assert not held.regain()
    assert not is_free(lock())


def test_a_lock_lost_is_released_without_an_error(lock, postgres: RunningPostgres):
    with lock():
        postgres.restart()
    assert is_free(lock())


def test_a_server_that_is_gone_is_waited_for_and_said_once(
    lock, postgres: RunningPostgres, caplog: pytest.LogCaptureFixture
):
    assert is_free(lock())
    waiting = lock()
    with caplog.at_level(logging.WARNING, logger=postgres_lock.__name__):
        postgres.kill()
        try:
            waiter = started(waiting.acquire)
            time.sleep(2)
            assert waiter.is_alive()
        finally:
            postgres.start()
        waiter.join(timeout=20)
    assert not waiter.is_alive()
    gone, again = (record.getMessage() for record in caplog.records)
    assert "does not answer; waiting for it up to 5 minutes" in gone
    assert "answers again" in again
    assert not is_free(lock())


def test_a_server_that_stays_away_is_an_error_in_the_end(lock, postgres, monkeypatch):
    monkeypatch.setattr(postgres_lock, "_PATIENCE_SECONDS", 1.0)
    assert is_free(lock())
    postgres.stop()
    try:
        with pytest.raises(LockError, match="cannot be reached"):
            lock().acquire()
    finally:
        postgres.start()


def test_a_database_that_never_answered_is_not_waited_for(postgres: RunningPostgres):
    address = postgres.url("nowhere").replace("toolformer@", "toolformer:secret@")
    began = time.monotonic()
    with pytest.raises(LockError, match='"nowhere" does not exist') as told:
        PostgresLock(address, "home", "shards").acquire()
    assert time.monotonic() - began < 5
    assert "secret" not in str(told.value)
    assert "Check TOOLFORMER_LOCKS" in str(told.value)


def test_without_psycopg2_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(LockError, match=r"pip install 'psycopg2-binary"):
        PostgresLock("postgresql://host/db", "home", "shards").acquire()


def test_locks_that_exclude_others_are_told_by_trying(postgres: RunningPostgres):
    assert why_postgres_locks_fail(postgres.url()) is None


def test_a_pooler_that_hands_one_connection_to_two_clients_is_found(postgres, monkeypatch):
    connection = postgres_lock.connect(postgres.url())

    class Shared:
        """What two clients of a pooler have in common."""

        def cursor(self) -> object:
            return connection.cursor()

        def close(self) -> None: ...

    monkeypatch.setattr(postgres_lock, "connect", lambda _: Shared())
    told = why_postgres_locks_fail(postgres.url())
    connection.close()
    assert told is not None
    assert "behind a pooler" in told


def test_a_database_is_the_same_under_every_address(postgres: RunningPostgres):
    other = postgres.create_database("other")
    known = identity_of(postgres.url())
    assert identity_of(postgres.url().replace("127.0.0.1", "localhost")) == known
    assert identity_of(other)["system_identifier"] == known["system_identifier"]
    assert identity_of(other) != known
