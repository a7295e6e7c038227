"""A PostgreSQL of its own for a test: in a folder, on the loopback address."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Everything listens in a network of its own, so any port is free.
_PORT = 5_432
_SECONDS = "60"
# Whom it runs as where the tests run as root: root may not.
_OWNER = "nobody"


def is_installed() -> bool:
    """Whether a PostgreSQL can be started here."""
    return None not in (_program("initdb"), _program("pg_ctl"))


def _program(name: str) -> str | None:
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return str(packaged[0]) if packaged else shutil.which(name)


@contextmanager
def running_postgres(folder: Path) -> Iterator[int]:
    """A server that accepts every local user without a password, while the block runs; its port.

    Args:
        folder: for its data, not there yet. Where the tests run as root, other users must be able
            to reach it.
    """
    folder.mkdir()
    if os.geteuid() == 0:
        owner = pwd.getpwnam(_OWNER)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    _run("initdb", "-D", str(folder), "-U", "toolformer", "-A", "trust", "--no-sync")
    settings = (
        f"-p {_PORT} -c listen_addresses=127.0.0.1 -c unix_socket_directories= "
        "-c fsync=off -c shared_buffers=16MB"
    )
    control = ("pg_ctl", "-D", str(folder), "-w", "-t", _SECONDS)
    _run(*control, "start", "-l", str(folder / "log"), "-o", settings)
    try:
        yield _PORT
    finally:
        _run(*control, "stop", "-m", "fast")


def _run(name: str, *arguments: str) -> None:
    owner: dict[str, object] = {}
    if os.geteuid() == 0:
        owner = {"user": _OWNER, "group": pwd.getpwnam(_OWNER).pw_gid, "extra_groups": []}
    # A file and no pipe: the server keeps what it inherits open.
    with tempfile.TemporaryFile() as told:
        done = subprocess.run(
            [str(_program(name)), *arguments],
            stdout=told,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd="/",
            check=False,
            **owner,  # type: ignore[call-overload]
        )
        told.seek(0)
        if done.returncode:
            raise RuntimeError(f"{name}: {told.read().decode(errors='replace')}")
