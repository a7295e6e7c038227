"""Private names of Dagster 1.13.27, which an upgrade may change; no other module imports one.

- `REPOSITORY_ORIGIN`, `InMemoryJob`, `execute_run`: runs of commands have the code location of the
  UI, which lists them by it and needs it to launch them again. `dg.execute_job` gives a run none,
  and `execute_in_process` replaces the executor.
- `InstanceRef`, `NO_MIRROR`: `dg.DagsterInstance.from_config` takes no overrides of dagster.yaml.
- `keep_records_open`: no setting opens the SQLite files of events once.
- `get_output_asset_events`, `AssetExecutionType`: Dagster reports the partitions of a run when its
  step ends, and none if it fails. We report each when it is made, with the tags that Dagster would
  give it, such as the data versions of its inputs, by which the UI finds what is out of date.
- `AssetCheckEvaluationTargetMaterializationData`: for the UI, an evaluation of no materialisation
  is none.
- `SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION` keeps Dagster from reporting them again.
"""

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)
from dagster._core.definitions.assets.definition.asset_spec import AssetExecutionType
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION
from dagster._core.execution.api import execute_run
from dagster._core.execution.plan.execute_step import _get_output_asset_events
from dagster._core.instance.ref import InstanceRef
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

__all__ = [
    "NO_MIRROR",
    "REPOSITORY_ORIGIN",
    "SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION",
    "AssetCheckEvaluationTargetMaterializationData",
    "AssetExecutionType",
    "InMemoryJob",
    "InstanceRef",
    "execute_run",
    "get_output_asset_events",
    "keep_records_open",
]

get_output_asset_events = _get_output_asset_events
# What `dagster dev` reads in workspace.yaml, which only a clone has: its pages of jobs and times
# show no run of another one.
REPOSITORY_ORIGIN = RemoteRepositoryOrigin(
    ManagedGrpcPythonEnvCodeLocationOrigin(
        LoadableTargetOrigin(module_name="dagster_project.definitions"), location_name="toolformer"
    ),
    SINGLETON_REPOSITORY_NAME,
)
# A command prints to its own terminal. To mirror that into Dagster's records takes processes beside
# it, and Ctrl-C reaches these too: they end with a traceback.
NO_MIRROR = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}


def keep_records_open(instance: dg.DagsterInstance, stack: ExitStack) -> None:
    """Open each SQLite file of Dagster's events once; Dagster opens it again for each event.

    Writes then wait for no disk, and a build of 30 shards whose threshold changed takes 7 s instead
    of 16 s. A power failure may lose the last events.
    """
    from sqlalchemy import Engine, create_engine, event

    records = instance.event_log_storage
    if not isinstance(records, SqliteEventLogStorage):
        return
    open_anew = records._connect

    @functools.cache
    def engine_of(shard: str) -> Engine:
        # This creates the file.
        with open_anew(shard):
            waiting = {"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
            engine = create_engine(records.conn_string_for_shard(shard), connect_args=waiting)
        event.listen(engine, "connect", lambda file, _: file.execute("PRAGMA synchronous = NORMAL"))
        stack.callback(engine.dispose)
        return engine

    @contextmanager
    def connect(shard: str) -> Iterator[Any]:
        engine = engine_of(shard)
        with records._db_lock, engine.begin() as connection:
            yield connection

    records._connect = connect
