"""A PostgreSQL of its own for a test: in a folder, on a free port of the loopback address."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_PACKAGED = Path("/usr/lib/postgresql")
_SECONDS = 60


def programs_missing() -> str | None:
    """Why no PostgreSQL can be started here; None where it can."""
    if _program("initdb") is None or _program("postgres") is None:
        return "PostgreSQL is not installed: no initdb or no postgres"
    if os.name != "posix":
        return "PostgreSQL is started on Unix only"
    if os.geteuid() == 0 and _owner() is None:
        return "PostgreSQL does not run as root, and there is no other user to run it as"
    return None


def _program(name: str) -> str | None:
    packaged = sorted(_PACKAGED.glob(f"*/bin/{name}"), reverse=True)
    return str(packaged[0]) if packaged else shutil.which(name)


def _owner() -> pwd.struct_passwd | None:
    """Whom it runs as: root may not."""
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


class RunningPostgres:
    """A server that accepts every local user without a password.

    Args:
        folder: for its data; made anew.

    Attributes:
        port: of the loopback address.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._user = _owner() if os.geteuid() == 0 else None
        folder.mkdir(parents=True)
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        self.port = _free_port()
        self._run("initdb", "-D", str(folder), "-U", "toolformer", "-A", "trust", "--no-sync")
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= "
            "-c fsync=off -c shared_buffers=16MB"
        )
        log = str(self._folder / "log")
        self._pg_ctl("start", "-w", "-t", str(_SECONDS), "-l", log, "-o", settings)

    def stop(self) -> None:
        """Stop the server; open connections are closed by it."""
        self._pg_ctl("stop", "-w", "-t", str(_SECONDS), "-m", "fast")

    @property
    def is_running(self) -> bool:
        """Whether the server is there."""
        return (self._folder / "postmaster.pid").exists()

    def _pg_ctl(self, action: str, *arguments: str) -> None:
        self._run("pg_ctl", action, "-D", str(self._folder), *arguments)

    def _run(self, name: str, *arguments: str) -> None:
        program = _program(name)
        if program is None:
            raise FileNotFoundError(name)
        owner: dict[str, object] = {}
        if self._user is not None:
            owner = {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
        _checked([program, *arguments], owner)


def _checked(command: Sequence[str], owner: dict[str, object]) -> None:
    # A file and no pipe: the server keeps what it inherits open.
    with tempfile.TemporaryFile() as told:
        done = subprocess.run(
            command,
            stdout=told,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd="/",
            timeout=2 * _SECONDS,
            check=False,
            **owner,  # type: ignore[call-overload]
        )
        told.seek(0)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {told.read().decode(errors='replace')}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_postgres(folder: Path) -> Iterator[RunningPostgres]:
    """A server while the block runs; its data are removed at the end.

    Args:
        folder: for its data, not there yet. Where the tests run as root it must be reachable by
            other users.
    """
    server = RunningPostgres(folder)
    try:
        yield server
    finally:
        if server.is_running:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres_of_tests() -> Iterator[RunningPostgres]:
    """A server in a temporary folder that the user it runs as can reach."""
    with tempfile.TemporaryDirectory(prefix="toolformer-postgres-") as folder:
        Path(folder).chmod(0o755)
        with running_postgres(Path(folder) / "data") as server:
            yield server
