"""Executes jobs in this process and records their runs where the Dagster UI shows them."""

import errno
import os
import sqlite3
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import dagster as dg
from filelock import Timeout

from assets.dagster_internals import (
    NO_MIRROR,
    REPOSITORY_ORIGIN,
    InMemoryJob,
    InstanceRef,
    execute_run,
    keep_records_open,
)
from assets.failures import FAILED_SHARDS
from dagster_project.run_tags import (
    LAUNCHED_BY_UI_TAG,
    MAX_RETRIES_TAG,
    PROCESS_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    process_of,
    tags_of_command,
)
from toolformer.base.atomic_files import write_atomically
from toolformer.errors import ToolformerError
from toolformer.home.expected_errors import RunFailedError, RunInterruptedError
from toolformer.home.home import Home
from toolformer.home.metadata import REJECTED_SOURCES
from toolformer.home.partitions import claim_id

# Dagster would warn about this file if it were in the root, where `make ui` runs.
_INSTANCE_CONFIG = Path(__file__).resolve().parents[1] / "dagster.yaml"
_PROCESS = f"process-{uuid.uuid4().hex}"
_UNFINISHED = [dg.DagsterRunStatus[name] for name in ("NOT_STARTED", "STARTING", "STARTED")]
# Messages of SQLite. It reports the second if the log of a transaction cannot grow.
_FULL_DISK = ("disk is full", "disk I/O error")


def prepare_dagster_home(home: Home) -> None:
    """Create DAGSTER_HOME, with our `dagster.yaml` unless it has one, and set the variable."""
    home.dagster.mkdir(parents=True, exist_ok=True)
    target = home.dagster / "dagster.yaml"
    if not target.exists():
        write_atomically(target, _INSTANCE_CONFIG.read_text(encoding="utf-8"))
    os.environ["DAGSTER_HOME"] = str(home.dagster)


@contextmanager
def dagster_instance(home: Home) -> Iterator[dg.DagsterInstance]:
    """Yield the instance whose runs the UI shows, after closing runs of killed processes."""
    home.check_locks()
    claim_id(home)
    prepare_dagster_home(home)
    with _explained_database_errors(home.dagster), ExitStack() as stack:
        reference = InstanceRef.from_dir(str(home.dagster), overrides=NO_MIRROR)
        with home.records_lock():
            instance = stack.enter_context(dg.DagsterInstance.from_ref(reference))
            keep_records_open(instance, stack)
            close_dead_runs(instance, home)
        lock = home.process_lock(_PROCESS)
        with lock:
            yield instance
        # After a failure the file stays, so that the next command finds runs without an end.
        Path(lock.lock_file).unlink(missing_ok=True)


@contextmanager
def _explained_database_errors(folder: Path) -> Iterator[None]:
    from sqlalchemy.exc import DatabaseError

    try:
        yield
    except DatabaseError as error:
        if any(words in str(error) for words in _FULL_DISK):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        if not isinstance(error.orig, sqlite3.Error):
            raise
        raise ToolformerError(
            f"Dagster's database in '{folder}' cannot be used: {error.orig}. Check that the folder "
            "is writable and that its disk has free space (`df -h`) and inodes (`df -i`). If the "
            "database is damaged, move the folder away: it contains the history of runs, but "
            "nothing that was built. Then run the same command again."
        ) from error


def close_dead_runs(instance: dg.DagsterInstance, home: Home) -> list[str]:
    """Record the failure of runs whose command or UI was killed, and return their ids.

    Otherwise these runs would stay in STARTED and occupy the queue. Runs of other machines are
    skipped, because their locks are not here: the next command there closes them.
    """
    closed = []
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        process = process_of(run.tags)
        lock = home.process_lock(process) if process else home.run_lock(run.run_id)
        is_judged = process != _PROCESS if process else LAUNCHED_BY_UI_TAG in run.tags
        if not is_judged or not Path(lock.lock_file).exists():
            continue
        with suppress(Timeout), lock.acquire(timeout=0):
            instance.report_run_failed(
                run, "The process of this run was killed. Everything that it had finished is kept."
            )
            closed.append(run.run_id)
    for file in (home.machine / "locks").glob("process-*.lock"):
        # Removed while it is locked: a command that is about to lock it notices and recreates it.
        with suppress(Timeout), home.process_lock(file.stem).acquire(timeout=0):
            file.unlink(missing_ok=True)
    return closed


def run_job(
    instance: dg.DagsterInstance,
    job_name: str,
    *,
    resources: Mapping[str, Mapping[str, Any]],
    assets: Collection[str],
    partitions: Sequence[str] = (),
    ops: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Execute one of `dagster_project.jobs` for partitions that are adjacent in Dagster's order."""
    from dagster_project.definitions import definitions

    # If this process dies, the next command continues its work. Dagster must not retry the run.
    tags = {PROCESS_TAG: _PROCESS, MAX_RETRIES_TAG: "0", **tags_of_command()}
    if len(partitions) > 1:
        tags |= {RANGE_START_TAG: partitions[0], RANGE_END_TAG: partitions[-1]}
    job = definitions().resolve_job_def(job_name)
    selection = frozenset(map(dg.AssetKey, assets))
    if len(partitions) == 1:
        tags |= job.get_tags_for_partition_key(partitions[0], selected_asset_keys=selection)
    run = instance.create_run_for_job(
        job,
        run_config={
            "resources": {name: {"config": config} for name, config in resources.items()},
            "ops": {name: {"config": config} for name, config in (ops or {}).items()},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        tags=tags,
        asset_selection=selection,
        remote_job_origin=REPOSITORY_ORIGIN.get_job_origin(job_name),
    )
    result = execute_run(InMemoryJob(job), run, instance)
    errors = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    interruption = dg.DagsterExecutionInterruptedError.__name__
    if any(error and error.cls_name == interruption for error in errors):
        raise RunInterruptedError
    if not result.success:
        raise failure_of(result.all_events, result.run_id)


def failure_of(events: Sequence[dg.DagsterEvent], run_id: str) -> RunFailedError:
    """Return an error with the messages of failed steps or, without any, Dagster's own message."""
    messages: list[str] = []
    for event in events:
        data = event.step_failure_data if event.is_step_failure else None
        if data and (failure := data.user_failure_data):
            # An empty list means that the step only skipped shards that failed in an earlier stage.
            shards = failure.metadata.get(FAILED_SHARDS)
            messages += [failure.description or ""] if shards is None or shards.value else []
        elif data and data.error:
            cause = data.error.cause or data.error
            messages.append(f"{event.step_key}: {cause.message.strip()}\n{''.join(cause.stack)}")
    ends = [f": {event.message}" for event in events if event.is_run_failure]
    return RunFailedError("\n".join(messages) or f"run {run_id} failed{''.join(ends)}")


def rejected_sources(instance: dg.DagsterInstance) -> dict[str, str]:
    """Return the error message of each source that the last `corpus_manifest` rejected, by path."""
    event = instance.get_latest_materialization_event(dg.AssetKey("corpus_manifest"))
    materialized = event and event.asset_materialization
    listed = materialized and materialized.metadata.get(REJECTED_SOURCES)
    return dict(listed.value) if isinstance(listed, dg.JsonMetadataValue) else {}  # type: ignore[arg-type]
