"""Two nodes, PostgreSQL, Dagster's services, and an object store or a shared folder.

Everything listens on a loopback device: run inside `namespace.apart`. Does not know what the
cluster is to do.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.nodes import DASHBOARD, REPOSITORY, Node, await_head
from tests.cluster.postgres import RunningPostgres, postgres_of_tests
from tests.cluster.store import BUCKET, HOME, Store, object_store

STORE_PORT = 9_000
_DAGSTER_CONFIG = REPOSITORY / "deploy" / "ray" / "dagster.yaml"
# Of the caller's shell, what could lead a process out of the cluster or make its rows others.
_FOREIGN = ("TOOLFORMER_", "DAGSTER_", "AWS_", "PG", "RAY_", "OMP_")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster.

    Attributes:
        folder: of everything.
        postgres: Dagster's records.
        store: of the data; None where it is in a folder that all nodes see.
        head, worker: the nodes.
    """

    folder: Path
    postgres: RunningPostgres
    store: Store | None
    head: Node
    worker: Node

    @property
    def nodes(self) -> tuple[Node, Node]:
        """Both."""
        return self.head, self.worker

    def home_of(self, node: Node) -> Path:
        """The shared data as this node sees it: its mirror, or the folder of all."""
        return node.disk / "home" if self.store else self.folder / "shared"


def plain_environment(folder: Path) -> dict[str, str]:
    """Of a process that knows no cluster, with its home in a folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {
        **kept,
        "TOOLFORMER_HOME": str(folder),
        "PYTHONPATH": str(REPOSITORY),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        # One thread, so that equal work gives equal digits.
        "OMP_NUM_THREADS": "1",
        "GOMP_SPINCOUNT": "10000",
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def cluster(folder: Path, *, model: Path, with_store: bool) -> Iterator[Cluster]:
    """A cluster, until the end of the block.

    Args:
        folder: for everything; an empty one with a short path, as Ray's sockets lie in it.
        model: the embedded model, converted; both nodes get it.
        with_store: whether the data are in an object store.

    Raises:
        ServiceError: something does not start.
    """
    logs, place = folder / "logs", folder / "disk"
    for each in (logs, place, folder / "shared"):
        each.mkdir()
    with ExitStack() as stack:
        server = stack.enter_context(postgres_of_tests())
        store = None
        if with_store:
            store = stack.enter_context(object_store(STORE_PORT, logs / "moto.log"))
        environment = _environment_of_nodes(folder, place, store)
        head, worker = (
            Node(name, number, folder / name, place, logs, environment)
            for number, name in enumerate(("head", "worker"), start=1)
        )
        for node in (head, worker):
            link_model(model, node.disk / "cache")
            _write_dagster_config(node.disk / "cache" / "dagster", server)
        made = Cluster(folder, server, store, head, worker)
        # Whatever runs on them ends with them.
        stack.callback(_kill_all, made)
        head.start()
        await_head(head)
        worker.start()
        yield made


def _kill_all(made: Cluster) -> None:
    for node in made.nodes:
        if node.is_alive:
            node.kill()


def _environment_of_nodes(folder: Path, place: Path, store: Store | None) -> dict[str, str]:
    environment = {
        **plain_environment(place / "home" if store else folder / "shared"),
        "TOOLFORMER_CACHE": str(place / "cache"),
        "DAGSTER_HOME": str(place / "cache" / "dagster"),
        "DAGSTER_PG_PASSWORD": "of-tests",
    }
    if store is None:
        return environment
    return {**environment, **store.environment, "TOOLFORMER_STORE": f"s3://{BUCKET}/{HOME}"}


def link_model(model: Path, folder: Path) -> None:
    """Put the converted model where the process of a folder looks for it."""
    target = folder / "models" / model.name
    target.parent.mkdir(parents=True)
    try:
        shutil.copytree(model, target, copy_function=os.link)
    except OSError:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(model, target)


def _write_dagster_config(folder: Path, server: RunningPostgres) -> None:
    """The `dagster.yaml` that comes with the project, with the addresses of this cluster."""
    from ruamel.yaml import YAML

    config: dict[str, Any] = YAML(typ="safe").load(_DAGSTER_CONFIG.read_text())
    records = config["storage"]["postgres"]["postgres_db"]
    records |= {"hostname": "127.0.0.1", "port": server.port}
    records |= {"username": "toolformer", "db_name": "postgres"}
    launcher = config["run_launcher"]["config"]
    launcher["ray"] |= {"address": DASHBOARD, "num_cpus": 1}
    config["run_monitoring"] |= {"poll_interval_seconds": 2}
    config["concurrency"]["runs"]["max_concurrent_runs"] = 2
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text(json.dumps(config))
