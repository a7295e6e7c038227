"""An S3 store on the loopback address: moto, which honours conditions on writing.

It keeps its objects in memory, so it can be away for a while (`pause`), and not start anew.
"""

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from tests.cluster.processes import await_until, end, start

BUCKET = "toolformer"
_START_SECONDS = 30.0
_SECRET = "of-tests"
HOME = "home"
# As moto's log has it; refused ones are coloured.
_PUT = re.compile(rf"PUT /{BUCKET}/{HOME}/(\w+)/shard=([^/\s]+)/(\S+)@\d{{8}}-\w+\.parquet HTTP/1")


@dataclass(frozen=True, slots=True)
class Store:
    """A running store with one bucket."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """How a client finds it and signs on."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": _SECRET,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
        }

    def publications(self) -> Counter[tuple[str, str, str]]:
        """How often a version of each partition was put here, by table, shard and name."""
        log = unquote(self.log.read_text())
        return Counter(match.group(1, 2, 3) for match in _PUT.finditer(log))

    def pause(self) -> None:
        """Let it answer nobody."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it answer again."""
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def object_store(port: int, log: Path) -> Iterator[Store]:
    """A new store, until the end of the block.

    Raises:
        ServiceError: it does not start.
    """
    process = start(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        log=log,
        environment=os.environ,
    )
    try:
        await_until(
            lambda: _has_bucket(port),
            "a bucket of moto",
            seconds=_START_SECONDS,
            processes={"moto": process},
        )
        yield Store(port, process, log)
    finally:
        process.send_signal(signal.SIGCONT)
        end(process)


def _has_bucket(port: int) -> bool:
    """Make the bucket; whether the store is there to do so."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError):
        return False
