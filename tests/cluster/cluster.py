"""Two nodes, PostgreSQL, Dagster's services, and an object store.

Everything listens on a loopback device: run inside `namespace.apart`. Does not know what the
cluster is to do.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.browser import with_impatient_daemon
from tests.cluster.nodes import DASHBOARD, Node, await_head
from tests.cluster.postgres import running_postgres
from tests.cluster.store import STORE, Store, object_store
from tests.conftest import REPOSITORY
from tests.homes import environment_of

_DAGSTER_CONFIG = REPOSITORY / "deploy" / "ray" / "dagster.yaml"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster: the folder of everything, the store of the data, and the nodes."""

    folder: Path
    store: Store
    head: Node
    worker: Node


@contextmanager
def cluster(folder: Path, model: Path) -> Iterator[Cluster]:
    """A cluster, until the end of the block.

    Args:
        folder: for everything; an empty one with a short path, as Ray's sockets lie in it.
        model: the embedded model, converted; both nodes get it.
    """
    logs, place = folder / "logs", folder / "disk"
    logs.mkdir()
    place.mkdir()
    with ExitStack() as stack:
        port = stack.enter_context(running_postgres(folder / "postgres"))
        store = stack.enter_context(object_store(logs / "moto.log"))
        environment = {
            **environment_of(place / "home"),
            "TOOLFORMER_CACHE": str(place / "cache"),
            "DAGSTER_HOME": str(place / "cache" / "dagster"),
            "DAGSTER_PG_PASSWORD": "of-tests",
            **store.environment,
            "TOOLFORMER_STORE": STORE,
            "PYTHONPATH": with_impatient_daemon(folder),
        }
        head, worker = (
            Node(name, number, folder / name, place, logs, environment)
            for number, name in enumerate(("head", "worker"), start=1)
        )
        for node in (head, worker):
            link_model(model, node.disk / "cache")
            _write_dagster_config(node.disk / "cache" / "dagster", port)
            # Whatever runs on it ends with it.
            stack.callback(node.kill)
        head.start()
        await_head(head)
        worker.start()
        yield Cluster(folder, store, head, worker)


def link_model(model: Path, folder: Path) -> None:
    """Put the converted model where the process of a folder looks for it."""
    target = folder / "models" / model.name
    target.parent.mkdir(parents=True)
    try:
        shutil.copytree(model, target, copy_function=os.link)
    except OSError:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(model, target)


def _write_dagster_config(folder: Path, port: int) -> None:
    """The `dagster.yaml` that comes with the project, with the addresses of this cluster."""
    from ruamel.yaml import YAML

    config: dict[str, Any] = YAML(typ="safe").load(_DAGSTER_CONFIG.read_text())
    records = config["storage"]["postgres"]["postgres_db"]
    records |= {"hostname": "127.0.0.1", "port": port}
    records |= {"username": "toolformer", "db_name": "postgres"}
    launcher = config["run_launcher"]["config"]
    launcher["ray"] |= {"address": DASHBOARD, "num_cpus": 1}
    config["run_monitoring"] |= {"poll_interval_seconds": 2}
    config["concurrency"]["runs"]["max_concurrent_runs"] = 2
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text(json.dumps(config))
