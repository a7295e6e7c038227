"""Runs started from the command line: in this process, recorded where the Dagster UI shows them."""

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

# Dagster warns where one lies in the folder that `make ui` is run in.
_INSTANCE_CONFIG = Path(__file__).resolve().parents[1] / "dagster.yaml"
_PROCESS = f"process-{uuid.uuid4().hex}"
_UNFINISHED = [dg.DagsterRunStatus[name] for name in ("NOT_STARTED", "STARTING", "STARTED")]
# SQLite's words; the second when the log of a transaction cannot grow.
_FULL_DISK = ("disk is full", "disk I/O error")


def prepare_dagster_home(home: Home) -> None:
    """Make DAGSTER_HOME, with our `dagster.yaml` where it has none; point this process to it."""
    home.dagster.mkdir(parents=True, exist_ok=True)
    target = home.dagster / "dagster.yaml"
    if not target.exists():
        write_atomically(target, _INSTANCE_CONFIG.read_text(encoding="utf-8"))
    os.environ["DAGSTER_HOME"] = str(home.dagster)


@contextmanager
def dagster_instance(home: Home) -> Iterator[dg.DagsterInstance]:
    """The instance whose runs the UI shows; runs of killed processes are closed first.

    Raises:
        LockError: machines that share the home would not exclude each other.
        OSError: the disk is full.
    """
    home.check_locks()
    claim_id(home)
    prepare_dagster_home(home)
    with _clear_errors_of_records(home.dagster), ExitStack() as stack:
        reference = InstanceRef.from_dir(str(home.dagster), overrides=NO_MIRROR)
        with home.records_lock():
            instance = stack.enter_context(dg.DagsterInstance.from_ref(reference))
            keep_records_open(instance, stack)
            close_dead_runs(instance, home)
        lock = home.process_lock(_PROCESS)
        with lock:
            yield instance
        # Left after a failure: by it the next command finds runs whose end was not recorded.
        Path(lock.lock_file).unlink(missing_ok=True)


@contextmanager
def _clear_errors_of_records(folder: Path) -> Iterator[None]:
    """SQLite's errors become errors that say what to do."""
    from sqlalchemy.exc import DatabaseError

    try:
        yield
    except DatabaseError as error:
        if any(words in str(error) for words in _FULL_DISK):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        if not isinstance(error.orig, sqlite3.Error):
            raise
        raise ToolformerError(
            f"Dagster's records in '{folder}' cannot be used: {error.orig}. Check that the folder "
            "may be written and its disk has room (`df -h` and, for another file, `df -i`). Where "
            "they are damaged, move the folder aside: they hold the history of runs and nothing "
            "that was built. Then run the same again."
        ) from error


def close_dead_runs(instance: dg.DagsterInstance, home: Home) -> list[str]:
    """Mark runs as failed whose command or UI was killed; returns their ids.

    Otherwise they stay in STARTED for ever and take places in the queue. Those of another machine
    have no lock here, to tell whether they live: the next command there closes them.
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
                run, "The process of this run was killed. What it had finished is kept."
            )
            closed.append(run.run_id)
    for file in (home.machine / "locks").glob("process-*.lock"):
        # While it is held: a command that is about to take it notices, and makes the file anew.
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
    """Run a job in this process.

    Args:
        job_name: one of `dagster_project.jobs`.
        partitions: keys that are neighbours in the order of registration.

    Raises:
        RunFailedError: with the descriptions of the failed steps.
        RunInterruptedError: this process was told to stop.
    """
    from dagster_project.definitions import definitions

    # What was lost with a command goes on with the next one, and nowhere else.
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
    """Return what the failed steps of a run say, or what Dagster says of its end."""
    messages: list[str] = []
    for event in events:
        data = event.step_failure_data if event.is_step_failure else None
        if data and (failure := data.user_failure_data):
            # A step without failed shards of its own left out those of an earlier stage.
            shards = failure.metadata.get(FAILED_SHARDS)
            messages += [failure.description or ""] if shards is None or shards.value else []
        elif data and data.error:
            cause = data.error.cause or data.error
            messages.append(f"{event.step_key}: {cause.message.strip()}\n{''.join(cause.stack)}")
    ends = [f": {event.message}" for event in events if event.is_run_failure]
    return RunFailedError("\n".join(messages) or f"run {run_id} failed{''.join(ends)}")


def rejected_sources(instance: dg.DagsterInstance) -> dict[str, str]:
    """Return the sources that the last `corpus_manifest` could not use, by path, with the error."""
    event = instance.get_latest_materialization_event(dg.AssetKey("corpus_manifest"))
    materialized = event and event.asset_materialization
    listed = materialized and materialized.metadata.get(REJECTED_SOURCES)
    return dict(listed.value) if isinstance(listed, dg.JsonMetadataValue) else {}  # type: ignore[arg-type]
