"""Nodes of a simulated Ray cluster: each a host with a home, a cache and a raylet of its own.

A node is killed whole, as when the power goes: its first process gets -9, and the kernel ends all
others. Connections are closed then, which a host that loses its network would not do.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.namespace import host, on_host
from tests.conftest import REPOSITORY
from tests.processes import ServiceError, answers, await_until, start

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
    unshare: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the host and its raylet; does not wait for it."""
        command = [str(_RAY), "start", *self._options()]
        self.unshare = start(
            host(self.name, command, disk=self.disk, place=self.place),
            log=self.logs / f"{self.name}.log",
            environment={**_RAY_ENVIRONMENT, **self.environment},
            folder=REPOSITORY,
        )

    def _options(self) -> list[str]:
        first_port = 20_000 + 1_000 * self.number
        options = [
            "--block",
            f"--node-ip-address=127.0.0.{self.number}",
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
        """Kill -9 of the whole host, if it runs."""
        if self.unshare is not None and self.unshare.poll() is None:
            os.kill(self._first_process(), signal.SIGKILL)
            self.unshare.wait()

    def _first_process(self) -> int:
        number = self.unshare.pid if self.unshare else 0
        try:
            children = Path(f"/proc/{number}/task/{number}/children").read_text()
            return int(children.split()[0])
        except (OSError, IndexError) as error:
            raise ServiceError(f"{self.name} does not run") from error


def await_head(head: Node) -> None:
    """Wait until Ray's head takes jobs."""
    assert head.unshare is not None
    address = f"{DASHBOARD}/api/version"
    await_until(lambda: answers(address), "Ray's head", _START_SECONDS, {head.name: head.unshare})
