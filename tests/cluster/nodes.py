"""Nodes of a simulated Ray cluster: each a host with a home, a cache and a raylet of its own.

A node is killed whole, as when the power goes: its first process gets -9, and the kernel ends all
others. Connections are closed then, which a host that loses its network would not do.
"""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.namespace import host, on_host
from tests.cluster.processes import ServiceError, await_until, start

REPOSITORY = Path(__file__).resolve().parents[2]
# Everything listens in a network of its own, so any port is free.
GCS_PORT, DASHBOARD_PORT = 6390, 8290
DASHBOARD = f"http://127.0.0.1:{DASHBOARD_PORT}"
_START_SECONDS = 120.0
_RAY = Path(sys.executable).with_name("ray")
# Ray takes several nodes on the loopback address only where it is told to.
_RAY_ENVIRONMENT = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1", "RAY_USAGE_STATS_ENABLED": "0"}
# Bytes; the least that Ray takes. We put nothing there.
_OBJECT_MEMORY = 80_000_000


@dataclass(slots=True)
class Node:
    """One host of the cluster.

    Attributes:
        name: of the host.
        number: from 1 on; the first is the head.
        disk: a folder that is its own.
        place: where it finds its disk; the same path on every node.
        logs: folder of what its processes say.
        environment: of everything that runs there.
    """

    name: str
    number: int
    disk: Path
    place: Path
    logs: Path
    environment: Mapping[str, str]
    _unshare: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def address(self) -> str:
        """On the loopback device."""
        return f"127.0.0.{self.number}"

    def start(self) -> None:
        """Start the host and its raylet; does not wait for it."""
        self._unshare = start(
            host(
                self.name,
                [str(_RAY), "start", *self._options()],
                disk=self.disk,
                place=self.place,
            ),
            log=self.logs / f"{self.name}.log",
            environment={**_RAY_ENVIRONMENT, **self.environment},
            folder=REPOSITORY,
        )

    def _options(self) -> list[str]:
        first_port = 20_000 + 1_000 * self.number
        options = [
            "--block",
            f"--node-ip-address={self.address}",
            f"--min-worker-port={first_port}",
            f"--max-worker-port={first_port + 999}",
            f"--dashboard-agent-listen-port={52_365 + self.number}",
            "--num-cpus=1",
            "--num-gpus=0",
            f"--object-store-memory={_OBJECT_MEMORY}",
        ]
        if self.number > 1:
            return [*options, f"--address=127.0.0.1:{GCS_PORT}"]
        return [
            *options,
            "--head",
            f"--port={GCS_PORT}",
            f"--dashboard-port={DASHBOARD_PORT}",
            f"--temp-dir={self.place / 'ray'}",
        ]

    def run(self, command: Sequence[str | Path], *, log: str) -> subprocess.Popen[bytes]:
        """Start a command on this host; its output goes to a file of that name."""
        return start(
            on_host(self._first_process(), list(map(str, command)), folder=REPOSITORY),
            log=self.logs / f"{log}.log",
            environment=self.environment,
            folder=REPOSITORY,
        )

    def processes(self) -> list[int]:
        """Numbers, as seen from outside, of all processes of this host."""
        space = Path(f"/proc/{self._first_process()}/ns/pid").readlink()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                is_ours = (folder / "ns" / "pid").readlink() == space
            except OSError:
                continue
            if is_ours:
                found.append(int(folder.name))
        return found

    def kill(self) -> None:
        """Kill -9 of the whole host."""
        os.kill(self._first_process(), signal.SIGKILL)
        self.unshare.wait()

    def _first_process(self) -> int:
        if not self.is_alive:
            raise ServiceError(f"{self.name} does not run")
        number = self.unshare.pid
        children = Path(f"/proc/{number}/task/{number}/children")
        numbers = children.read_text().split()
        if not numbers:
            raise ServiceError(f"{self.name} has no first process")
        return int(numbers[0])

    @property
    def is_alive(self) -> bool:
        """Whether the host runs."""
        return self._unshare is not None and self._unshare.poll() is None

    @property
    def unshare(self) -> subprocess.Popen[bytes]:
        """What ends when the host does."""
        assert self._unshare is not None
        return self._unshare


def await_head(head: Node) -> None:
    """Wait until Ray's head takes jobs.

    Raises:
        ServiceError: it does not.
    """
    await_until(
        lambda: _answers(f"{DASHBOARD}/api/version"),
        "Ray's head",
        seconds=_START_SECONDS,
        processes={head.name: head.unshare},
    )


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
