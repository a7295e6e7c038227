"""Processes that end with whoever started them, also when that one is killed.

Does not wait for what a process serves; whoever starts one knows how to ask it.
"""

import ctypes
import multiprocessing
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

_SET_PARENT_DEATH_SIGNAL = 1
_LIBC = ctypes.CDLL(None)
_POLL_SECONDS = 0.5
_WRITER = """
import sys
from pathlib import Path
from toolformer.base.atomic_files import beside
with beside(Path(sys.argv[1])) as path:
    path.write_text("half")
    print(path, flush=True)
    sys.stdin.read()
"""


class ServiceError(RuntimeError):
    """Something that the tests need does not work."""


def start(
    command: Sequence[str | Path],
    *,
    log: Path | None,
    environment: Mapping[str, str],
    folder: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own.

    Args:
        command: with its arguments.
        log: a file that both its outputs are appended to; None leaves them as ours are.
        environment: all of it.
        folder: in which it begins.
    """
    with nullcontext() if log is None else log.open("ab") as output:
        return subprocess.Popen(
            list(map(str, command)),
            env=dict(environment),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output and subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )


def _end_with_parent() -> None:
    _LIBC.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


@contextmanager
def writing_beside(target: Path) -> Iterator[Path]:
    """Give what another process writes beside a file; it is killed at the end of the block."""
    command = [sys.executable, "-c", _WRITER, str(target)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield Path(process.stdout.readline().rstrip())
        process.kill()


@contextmanager
def imported_once(*modules: str) -> Iterator[Any]:
    """A context for processes; one that they are forked from imports these modules for all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*modules])
    yield context
    # By itself it ends when this process does, seconds later.
    server: Any = forkserver._forkserver
    server._stop()


def await_until(
    is_there: Callable[[], bool],
    what: str,
    seconds: float,
    processes: Mapping[str, subprocess.Popen[bytes]] | None = None,
) -> None:
    """Wait for a condition.

    Args:
        is_there: the condition.
        what: what is waited for, for the error.
        seconds: at most.
        processes: by the name that the error gives them; none may end meanwhile.
    """
    began = time.monotonic()
    while not is_there():
        for name, process in (processes or {}).items():
            if process.poll() is not None:
                raise ServiceError(f"{name} ended with {process.returncode}, before: {what}")
        if time.monotonic() - began > seconds:
            raise ServiceError(f"not there after {seconds:.0f} s: {what}")
        time.sleep(_POLL_SECONDS)


def answers(url: str, method: str = "GET") -> bool:
    """Whether somebody at an address grants a request."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def finish(process: subprocess.Popen[bytes], name: str, *, seconds: float) -> None:
    """Wait for a command."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"{name} did not end within {seconds:.0f} s") from error
    if code:
        raise ServiceError(f"{name} ended with {code}")


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, kill it if it does not."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
