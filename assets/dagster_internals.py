"""Collects the private names of Dagster 1.13.27 that we use; no other module imports any.

- `REPOSITORY_ORIGIN`, `InMemoryJob`, `execute_run`: give a command's runs the UI's code location,
  by which the UI lists and relaunches runs. `dg.execute_job` sets no code location, and
  `execute_in_process` replaces the executor.
- `InstanceRef`, `NO_MIRROR`: `dg.DagsterInstance.from_config` cannot override dagster.yaml.
- `keep_records_open`: Dagster has no setting that keeps the SQLite files of events open.
- `get_output_asset_events`, `AssetExecutionType`: we report each partition when it is made, with
  the tags that Dagster would add at the end of the step. The UI needs them to find what is stale.
- `SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION`: keeps Dagster from reporting partitions again.
- `AssetCheckEvaluationTargetMaterializationData`: the UI ignores evaluations of checks without it.
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
# Must equal the code location in workspace.yaml, a file that only a clone has. Otherwise the UI
# would show the run neither on the pages of jobs nor on the timeline.
REPOSITORY_ORIGIN = RemoteRepositoryOrigin(
    ManagedGrpcPythonEnvCodeLocationOrigin(
        LoadableTargetOrigin(module_name="dagster_project.definitions"), location_name="toolformer"
    ),
    SINGLETON_REPOSITORY_NAME,
)
# A command prints to its own terminal. Dagster would copy that output with extra processes, which
# print a traceback on Ctrl-C.
NO_MIRROR = {
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    }
}


def keep_records_open(instance: dg.DagsterInstance, stack: ExitStack) -> None:
    """Keep the SQLite files of Dagster's events open; Dagster reopens them for each event.

    Writes no longer wait for the disk, so a power failure may lose the last events. A build of 30
    shards after a change of threshold takes 7 s instead of 16 s.
    """
    from sqlalchemy import Engine, create_engine, event

    records = instance.event_log_storage
    if not isinstance(records, SqliteEventLogStorage):
        return
    original_connect = records._connect

    @functools.cache
    def engine_of(shard: str) -> Engine:
        # The original method also creates the file.
        with original_connect(shard):
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
