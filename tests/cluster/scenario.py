"""A backfill of shards on two nodes, of which the worker is killed in the middle.

1. `dagster job backfill` launches a run per shard.
2. When a run on the worker has published sampled calls and not yet its augmented texts, the whole
   worker gets -9. The worker is started again.
3. The lost run is marked as failed, and nobody retries it: for Dagster a backfill of its command
   line is over once it is launched (docs/many-machines.md). The other runs end. The same backfill
   is launched again until all texts are there.

The head is never killed: dagster-ray does not recover from that.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assets.dataset.stages import PIPELINE
from tests.cluster.cluster import Cluster, Node, link_model
from tests.conftest import REPOSITORY
from tests.faults.comparison import Address, damage_of_rows, partitions_of
from tests.homes import SmallHome, command, environment_of
from tests.processes import await_until, finish, start

_SHARDS = 4
_BACKFILLS = 3
_COMMAND_SECONDS, _RUN_SECONDS, _END_SECONDS = 120.0, 300.0, 300.0
_DAGSTER = Path(sys.executable).with_name("dagster")
_RUN = re.compile(rb'"(?:pipeline_run_id|run_id)": "([0-9a-f-]{36})"')
# Few seconds per shard. Places and calls are proposed, so that most shards have some.
_SETTINGS: Mapping[str, Any] = {
    "preset": "demo",
    "corpus": {
        "sources": [{"path": "starter-texts", "limit": _SHARDS, "shard_size": 1}],
        "held_out_every": 0,
    },
    # Rows are compared with those of one process.
    "language_model": {"precision": "float32"},
    # A calibration would take as long as all the shards.
    "tools": {name: {"is_enabled": False} for name in ("MT", "QA", "WikiSearch", "Facts")},
}


def play(made: Cluster) -> list[str]:
    """Run the scenario; returns what is wrong so far."""
    SmallHome(made.home).write_settings(_SETTINGS)
    ingested = made.head.run(command("cli", "ingest", "starter-texts"), log="ingest")
    finish(ingested, "ingesting the texts", seconds=_COMMAND_SECONDS)
    services = {"Dagster's services": made.head.run([_DAGSTER, "dev"], log="services")}
    _backfill(made)
    middle: set[str] = set()

    def is_in_the_middle() -> bool:
        done = makers_of(SmallHome(made.home))
        begun, ended = (_makers(done, name) for name in ("candidate_calls", "augmented_texts"))
        middle.update(_runs_on(made.worker) & (begun - ended))
        return bool(middle)

    await_until(is_in_the_middle, "calls of a run on the worker", _RUN_SECONDS, services)
    made.worker.kill()
    (lost,) = middle
    in_the_end = published = makers_of(SmallHome(made.home))
    say(f"the worker is killed, and with it run {lost}")
    made.worker.start()
    for launched in range(1, _BACKFILLS + 1):
        await_until(lambda: _have_ended(made), "the end of all runs", _END_SECONDS, services)
        in_the_end = makers_of(SmallHome(made.home))
        texts = sum(table == "augmented_texts" for table, _, _ in in_the_end)
        say(f"no run is left, {texts} of {_SHARDS} shards are made")
        if texts == _SHARDS or launched == _BACKFILLS:
            break
        _backfill(made)
    return [*_vacuous(made, lost, published), *remade(published, in_the_end)]


def say(what: str) -> None:
    """Report progress."""
    sys.stderr.write(f"{time.monotonic():9.1f} s: {what}\n")


def start_reference(home: Path, model: Path, log: Path) -> subprocess.Popen[bytes]:
    """Begin to build the shards in a plain home, in one process."""
    SmallHome(home).write_settings(_SETTINGS)
    link_model(model, home)
    environment = environment_of(home)
    return start(command("cli", "build"), log=log, environment=environment, folder=REPOSITORY)


def differences(home: Path, reference: Path) -> list[str]:
    """Say which partitions are lost, doubled or wrong."""
    found, expected = (partitions_of(SmallHome(each)) for each in (home, reference))
    return damage_of_rows(found, expected).remarks


def makers_of(home: SmallHome) -> dict[Address, str]:
    """The run that made each published partition, of tables that a stage reads."""
    return {
        (table, info.shard, info.name): metadata["run"]
        for table in ("documents", *PIPELINE.names)
        for info in home.warehouse.partitions(table)
        if (metadata := home.warehouse.partition_metadata(table, info.shard, info.name))
    }


def remade(before: Mapping[Address, str], after: Mapping[Address, str]) -> list[str]:
    """Say which partitions that were published when the worker was killed were made again."""
    return [
        f"{'/'.join(address)} was made again"
        for address, run in before.items()
        if after.get(address) != run
    ]


def _makers(made: Mapping[Address, str], table: str) -> set[str]:
    return {run for address, run in made.items() if address[0] == table}


def _backfill(made: Cluster) -> None:
    arguments = ("-w", "workspace.yaml", "-j", "build_dataset", "--all", "yes", "--noprompt")
    launched = made.head.run([_DAGSTER, "job", "backfill", *arguments], log="backfill")
    finish(launched, "dagster job backfill", seconds=_COMMAND_SECONDS)
    say("a backfill is launched")


def _runs_on(node: Node) -> set[str]:
    """Ids of runs that have a process on a node."""
    lines = [line for line in node.processes().values() if b"execute_run" in line]
    return {match[1].decode() for line in lines if (match := _RUN.search(line))}


def _instance(made: Cluster):
    import dagster as dg

    os.environ["DAGSTER_PG_PASSWORD"] = made.head.environment["DAGSTER_PG_PASSWORD"]
    return dg.DagsterInstance.from_config(made.head.environment["DAGSTER_HOME"])


def _have_ended(made: Cluster) -> bool:
    """Whether all runs are finished in Dagster's records and have no process."""
    with _instance(made) as instance:
        are_finished = all(run.is_finished for run in instance.get_runs())
    return are_finished and not any(map(_runs_on, (made.head, made.worker)))


def _vacuous(made: Cluster, lost: str, published: Mapping[Address, str]) -> list[str]:
    """Say what did not happen, so that the rest proves nothing."""
    with _instance(made) as instance:
        run = instance.get_run_by_id(lost)
    remarks = {
        "the lost run had published nothing": lost not in published.values(),
        "the lost run is not marked as failed": run is None or not run.is_failure,
    }
    return [remark for remark, is_true in remarks.items() if is_true]
