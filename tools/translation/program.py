"""Running a program over a text: no shell, a deadline, a limit on what it may write.

The program and all that it starts form a process group of their own, which is ended as a whole: a
shell script that is killed would otherwise leave its pipeline behind.
"""

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

_CHUNK_BYTES = 65_536


class OutputTooLongError(RuntimeError):
    """A program wrote more than it may."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that ended: its exit status and what it wrote."""

    status: int
    output: bytes
    errors: bytes


def run_program(
    arguments: Sequence[str], text: bytes = b"", *, timeout_seconds: float, most_bytes: int
) -> Finished:
    """Run a program to its end.

    Returns:
        Its status and outputs; a status below 0 names the signal that ended it.

    Raises:
        OSError: When it cannot be started.
        TimeoutError: When it took too long; it is ended.
        OutputTooLongError: When it wrote too much; it is ended.
    """
    deadline = time.monotonic() + timeout_seconds
    # From a file: a program that does not read cannot block this one.
    with tempfile.TemporaryFile() as file:
        file.write(text)
        file.seek(0)
        process = subprocess.Popen(
            list(arguments),
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    try:
        output, errors = _read_both(process, deadline, most_bytes)
        status = process.wait(max(deadline - time.monotonic(), 0.0))
    except (subprocess.TimeoutExpired, TimeoutError) as error:
        raise TimeoutError(f"{arguments[0]} did not end within {timeout_seconds:g} s.") from error
    finally:
        _end(process)
    return Finished(status, output, errors)


def _read_both(
    process: subprocess.Popen[bytes], deadline: float, most_bytes: int
) -> tuple[bytes, bytes]:
    """Read both outputs until their ends are closed."""
    streams = [stream for stream in (process.stdout, process.stderr) if stream is not None]
    read = {stream.fileno(): bytearray() for stream in streams}
    with selectors.DefaultSelector() as selector:
        for descriptor in read:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(deadline - time.monotonic(), 0.0))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK_BYTES)
                if not chunk:
                    selector.unregister(key.fd)
                    continue
                read[key.fd] += chunk
                if len(read[key.fd]) > most_bytes:
                    raise OutputTooLongError(f"The program wrote more than {most_bytes:,} bytes.")
    output, errors = map(bytes, read.values())
    return output, errors


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process group, if it is not over yet, and release its pipes."""
    if process.returncode is None:
        # Before waiting: its number still belongs to it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
