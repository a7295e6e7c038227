"""Two Ray nodes on this machine, PostgreSQL, and a home that both nodes share.

Everything listens on the loopback device of a network namespace (`test_cluster.py`). The processes
of a node are those that have its TOOLFORMER_CACHE in their environment.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.browser import with_impatient_daemon
from tests.cluster.postgres import running_postgres
from tests.conftest import REPOSITORY
from tests.homes import environment_of
from tests.processes import answers, await_until, start

_DAGSTER_CONFIG = REPOSITORY / "deploy" / "ray" / "dagster.yaml"
_GCS_PORT, _DASHBOARD_PORT = 6390, 8290
_DASHBOARD = f"http://127.0.0.1:{_DASHBOARD_PORT}"
_START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Node:
    """The head (number 1) or the worker (2); logs are in the folder of the whole cluster."""

    number: int
    environment: Mapping[str, str]
    folder: Path

    def start(self) -> None:
        """Start Ray; does not wait for it."""
        first_port = 20_000 + 1_000 * self.number
        command = [
            *(Path(sys.executable).with_name("ray"), "start", "--block", "--num-cpus=1"),
            *("--num-gpus=0", f"--node-ip-address=127.0.0.{self.number}"),
            *(f"--min-worker-port={first_port}", f"--max-worker-port={first_port + 999}"),
            f"--dashboard-agent-listen-port={52_365 + self.number}",
            # Bytes; the least that Ray takes. We put nothing there.
            "--object-store-memory=80000000",
        ]
        if self.number == 1:
            command += ["--head", f"--port={_GCS_PORT}", f"--dashboard-port={_DASHBOARD_PORT}"]
            command += [f"--temp-dir={self.folder / 'ray'}"]
        else:
            command += [f"--address=127.0.0.1:{_GCS_PORT}"]
        self.run(command, log=f"ray-{self.number}")

    def run(self, command: Sequence[str | Path], *, log: str):
        """Start a command on this node; its output is appended to the log of that name."""
        path = self.folder / f"{log}.log"
        return start(command, log=path, environment=self.environment, folder=REPOSITORY)

    def processes(self) -> dict[int, bytes]:
        """Return the processes of this node and their command lines, without dead ones."""
        marker = f"TOOLFORMER_CACHE={self.environment['TOOLFORMER_CACHE']}\0".encode()
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if marker in (process / "environ").read_bytes():
                    found[int(process.name)] = (process / "cmdline").read_bytes()
        return found

    def kill(self) -> None:
        """Kill -9 everything on this node, as when the power fails."""
        while processes := self.processes():
            for process in processes:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.1)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster: the shared home and the nodes."""

    home: Path
    head: Node
    worker: Node


@contextmanager
def cluster(folder: Path, model: Path) -> Iterator[Cluster]:
    """Run a cluster until the end of the block.

    Args:
        folder: an empty one with a short path, since Ray's sockets lie in it.
        model: the converted embedded model, which each node gets.
    """
    home, dagster_home = folder / "shared", folder / "head" / "dagster"
    with ExitStack() as stack:
        port = stack.enter_context(running_postgres(folder / "postgres"))
        _write_dagster_config(dagster_home, port)
        environment = {
            **environment_of(home),
            "DAGSTER_HOME": str(dagster_home),
            "DAGSTER_PG_PASSWORD": "of-tests",
            "PYTHONPATH": with_impatient_daemon(folder),
            # Ray takes several nodes on the loopback address only if this is set.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        nodes = []
        for number, cache in enumerate((folder / "head", folder / "worker"), start=1):
            link_model(model, cache)
            nodes.append(Node(number, {**environment, "TOOLFORMER_CACHE": str(cache)}, folder))
            stack.callback(nodes[-1].kill)
        head, worker = nodes
        head.start()
        await_until(lambda: answers(f"{_DASHBOARD}/api/version"), "Ray's head", _START_SECONDS)
        worker.start()
        yield Cluster(home, head, worker)


def link_model(model: Path, folder: Path) -> None:
    """Put the converted model where the process of a folder looks for it."""
    (folder / "models").mkdir(parents=True)
    (folder / "models" / model.name).symlink_to(model)


def _write_dagster_config(folder: Path, port: int) -> None:
    """Write the `dagster.yaml` of deploy/ray with the addresses of this cluster."""
    from ruamel.yaml import YAML

    config: dict[str, Any] = YAML(typ="safe").load(_DAGSTER_CONFIG.read_text())
    records = config["storage"]["postgres"]["postgres_db"]
    records |= {"hostname": "127.0.0.1", "port": port}
    records |= {"username": "toolformer", "db_name": "postgres"}
    config["run_launcher"]["config"]["ray"] |= {"address": _DASHBOARD, "num_cpus": 1}
    config["run_monitoring"] |= {"poll_interval_seconds": 2}
    config["concurrency"]["runs"]["max_concurrent_runs"] = 2
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text(json.dumps(config))
