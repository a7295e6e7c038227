"""Advisory locks of PostgreSQL: for machines that share no folder, or one whose locks do not work.

Each lock that is held, or waited for, has a connection of its own: within one, PostgreSQL lets a
second holder in. The server frees the lock when the connection ends, and the kernel ends that with
the process.

Does not know what is locked.
"""

import logging
import time
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

import filelock
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_exponential,
)

from dagster_project.locks import LockError, shown
from toolformer.ground.digests import digest

if TYPE_CHECKING:
    import psycopg2.extensions  # pyright: ignore[reportMissingModuleSource]

_LOGGER = logging.getLogger(__name__)
_POLL_SECONDS = 0.2
# How long a run waits for a server that is gone, such as one that is started again.
_PATIENCE_SECONDS = 300.0
_CONNECTING = {
    "application_name": "toolformer lock",
    "connect_timeout": 10,
    # A server that does not answer any more counts as gone after a minute.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
# And a client that vanished without a word, with its machine: by default it is missed in two hours.
_SESSION = (
    "set tcp_keepalives_idle = 30",
    "set tcp_keepalives_interval = 10",
    "set tcp_keepalives_count = 3",
)
_SINCE_14 = "set idle_session_timeout = 0"
# Databases that have answered this process: only these are waited for when they are gone.
_reached: set[str] = set()


class PostgresLock:
    """A lock of a name in a database, for whoever uses the same scope.

    Args:
        address: of the database, as libpq takes it.
        scope: what the name belongs to; the same name in another scope is another lock.
        name: of the lock.
    """

    def __init__(self, address: str, scope: str, name: str) -> None:
        self._address = address
        self._name = name
        self._key = int.from_bytes(digest(scope, name, size=8), "big", signed=True)
        self._connection: psycopg2.extensions.connection | None = None
        self._is_gone = False

    def acquire(self, timeout: float = -1) -> AbstractContextManager[Any]:
        """Take it; see `toolformer.ground.locking.Lock`.

        Raises:
            filelock.Timeout: somebody else has it still.
            LockError: the database cannot be reached: never yet in this process, or not for five
                minutes.
        """
        deadline = time.monotonic() + timeout
        with ExitStack() as undone:
            undone.callback(self._close)
            while not self._patiently_tried():
                if timeout >= 0 and time.monotonic() >= deadline:
                    raise filelock.Timeout(self._name)
                time.sleep(_POLL_SECONDS)
            undone.pop_all()
        held = ExitStack()
        held.callback(self.release)
        return held

    def release(self) -> None:
        """Let the next one have it."""
        if self._connection is None:
            return
        try:
            # The server notices the end of the connection a moment later only.
            self._ask("select pg_advisory_unlock(%s)")
        except _psycopg2().Error:
            _LOGGER.debug("the connection of lock %s was lost before its release", self._name)
        finally:
            self._close()

    def regain(self) -> bool:
        """Take it again where the connection was lost, and with it the lock."""
        if self._connection is not None:
            try:
                self._ask("select true")
            except _psycopg2().Error:
                self._close()
            else:
                return False
        _LOGGER.warning("lock %s was lost with its connection; it is taken again", self._name)
        self.acquire()
        return True

    def __enter__(self) -> "PostgresLock":
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _patiently_tried(self) -> bool:
        """Whether the lock is ours now; a server that is gone is waited for."""
        psycopg2 = _psycopg2()
        lost = (psycopg2.OperationalError, psycopg2.InterfaceError)
        is_known = self._address in _reached
        tries = Retrying(
            retry=retry_if_exception_type(lost),
            stop=stop_after_delay(_PATIENCE_SECONDS) if is_known else stop_after_attempt(1),
            wait=wait_exponential(multiplier=0.1, max=5),
            before_sleep=self._tell_gone,
            reraise=True,
        )
        try:
            is_ours = tries(self._tried)
        except psycopg2.Error as error:
            raise unreachable(self._address, error) from error
        if self._is_gone:
            self._is_gone = False
            _LOGGER.warning("PostgreSQL at %s answers again", shown(self._address))
        return is_ours

    def _tried(self) -> bool:
        try:
            if self._connection is None:
                self._connection = connect(self._address)
            return self._ask("select pg_try_advisory_lock(%s)")
        except _psycopg2().Error:
            self._close()
            raise

    def _tell_gone(self, state: RetryCallState) -> None:
        # The first try after a loss often finds the server there.
        if not self._is_gone and state.attempt_number > 1:
            self._is_gone = True
            _LOGGER.warning(
                "PostgreSQL at %s, which has the locks, does not answer; waiting for it up to %.0f "
                "minutes",
                shown(self._address),
                _PATIENCE_SECONDS / 60,
            )

    def _ask(self, statement: str) -> bool:
        if self._connection is None:
            return False
        with self._connection.cursor() as cursor:
            cursor.execute(statement, (self._key,) if "%s" in statement else None)
            return bool((cursor.fetchone() or (False,))[0])

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def connect(address: str) -> "psycopg2.extensions.connection":
    """A connection that notices within about a minute when the other end is gone.

    Raises:
        LockError: psycopg2 is not installed.
        psycopg2.Error: the database cannot be reached.
    """
    connection = _psycopg2().connect(address, **_CONNECTING)
    # Each statement for itself: an open transaction would keep the server from cleaning up.
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in _SESSION:
            cursor.execute(statement)
        if connection.server_version >= 140_000:
            cursor.execute(_SINCE_14)
    _reached.add(address)
    return connection


def identity_of(address: str) -> dict[str, str]:
    """What tells a database from any other, under whatever address it is reached.

    Raises:
        LockError: it cannot be reached.
    """
    try:
        connection = connect(address)
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "select system_identifier::text, current_database() from pg_control_system()"
                )
                system, database = cursor.fetchone() or ("", "")
        finally:
            connection.close()
    except _psycopg2().Error as error:
        raise unreachable(address, error) from error
    return {"system_identifier": system, "database": database}


def why_postgres_locks_fail(address: str) -> str | None:
    """Take a lock twice, by two connections; None where the second is refused.

    Behind a pooler that hands connections around, such as PgBouncer in transaction mode, both get
    it.

    Raises:
        LockError: the database cannot be reached.
    """
    name = f"trial {time.monotonic_ns()}"
    first, second = (PostgresLock(address, "trial", name) for _ in range(2))
    with first:
        try:
            second.acquire(timeout=0)
        except filelock.Timeout:
            return None
        second.release()
    return "one lock can be held twice at the same time, as behind a pooler of connections"


def unreachable(address: str, error: Exception) -> LockError:
    """What is said of a database that does not answer."""
    return LockError(
        f"The locks in {shown(address)!r} cannot be reached: {str(error).strip()} Expected a "
        "PostgreSQL database that lets this user in. Check TOOLFORMER_LOCKS, the password "
        "(PGPASSWORD or ~/.pgpass) and the server, and run the same again."
    )


def _psycopg2() -> Any:
    try:
        import psycopg2  # pyright: ignore[reportMissingModuleSource]
    except ImportError as error:
        raise LockError(
            "TOOLFORMER_LOCKS names a PostgreSQL database, and the package psycopg2 is not "
            "installed. Run `pip install 'psycopg2-binary>=2.9.9'`, or unset TOOLFORMER_LOCKS "
            "where one folder with working locks is enough."
        ) from error
    return psycopg2
