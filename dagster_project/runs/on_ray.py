"""Backfills of assets, handed to Dagster and followed to their end; a Ray cluster does their runs.

The web server (`make ui`) takes them, as if they had been launched in the UI; its daemon launches
and retries their runs.
"""

import json
import os
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from typing import Any

import dagster as dg
from dagster._core.execution.backfill import (
    BULK_ACTION_TERMINAL_STATUSES,
    BulkActionStatus,
    PartitionBackfill,
)

from dagster_project.ray.places import gpus_of, with_gpus
from dagster_project.ray.run import unreadable
from dagster_project.run_tags import tags_of_command
from dagster_project.runs.planned_run import PlannedRun, still_there
from dagster_project.runs.run_job import failure_of
from toolformer.base.constants import INSTALL_EXTRA
from toolformer.errors import ToolformerError
from toolformer.home.expected_errors import RunFailedError
from toolformer.home.settings.sections import Settings

_LAUNCH = """
mutation Launch($parameters: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $parameters) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on Error { message }
  }
}
"""
_UI_ANSWERS_SECONDS = 120.0
_SECONDS_BETWEEN_LOOKS = 2.0
# Dagster's daemon records a heartbeat every 30 s. A head that is restarted is away for a minute.
_MAX_SECONDS_WITHOUT_HEARTBEAT = 300.0


def ui_address() -> str:
    """Where the UI of this home is: `$TOOLFORMER_UI`, or this machine's `$UI_PORT`."""
    port = os.environ.get("UI_PORT", "3000")
    return os.environ.get("TOOLFORMER_UI", f"http://127.0.0.1:{port}").rstrip("/")


def run_on_ray(
    instance: dg.DagsterInstance,
    resources: Mapping[str, dict[str, Any]],
    settings: Settings,
    planned: Sequence[PlannedRun],
    *,
    tell: Callable[[str], None],
) -> list[RunFailedError]:
    """Launch a backfill for each of these, all at once, and wait until they have ended.

    Not one backfill for all: Dagster puts assets into the same run, with the model that they share,
    only where a backfill has the same partitions of them.

    The runs of a backfill take neighbouring partitions, as many as the backfill policy of the
    assets says, which follows `runs.shards_per_run` in toolformer.yaml.

    Returns:
        What the failed runs say, and which partitions were not there any more.

    Raises:
        ToolformerError: nothing here launches runs on Ray, the UI does not take a backfill, or the
            daemon gives no sign of life for `_MAX_SECONDS_WITHOUT_HEARTBEAT`.
    """
    _check_launcher(instance)
    backfills: list[str] = []
    failures: list[RunFailedError] = []
    try:
        for run in still_there(instance, planned, failures):
            backfills.append(_launch(instance, resources, settings, run))
            tell(f"Backfill of {', '.join(run.assets)}: {_pages_of(backfills[-1:])}")
        ended = _followed(instance, backfills, tell)
    except (KeyboardInterrupt, ToolformerError):
        if backfills:
            pages = _pages_of(backfills)
            tell(f"What was launched goes on without this command. Cancel it at {pages}")
        raise
    return failures + [error for each in ended for error in errors_of(instance, each)]


def _launch(
    instance: dg.DagsterInstance,
    resources: Mapping[str, dict[str, Any]],
    settings: Settings,
    run: PlannedRun,
) -> str:
    """Hand a backfill to the UI; returns its id."""
    config = {
        part: {name: {"config": value} for name, value in given.items()}
        for part, given in {"resources": resources, "ops": run.ops}.items()
    }
    # The queue counts by this tag (`tag_concurrency_limits`), before the launcher could set it.
    tags = with_gpus(tags_of_command(), gpus_of(settings, job=run.job, assets=run.assets))
    parameters = {
        "assetSelection": [{"path": [name]} for name in run.assets],
        **({"partitionNames": list(run.partitions)} if run.partitions else {"allPartitions": True}),
        "runConfigData": config,
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }
    try:
        answer = ask_ui(_LAUNCH, {"parameters": parameters})["launchPartitionBackfill"]
        if "backfillId" not in answer:
            raise ValueError(answer.get("message") or answer["__typename"])
    except (OSError, ValueError, HTTPException) as error:
        reason = str(error).partition("\n")[0]
        raise ToolformerError(
            f"The UI at {ui_address()} did not take a backfill of {', '.join(run.assets)}: "
            f"{reason}. Start it with `make ui` on the head, and again after a change of code or "
            "tools. Where it is on another machine or port, set TOOLFORMER_UI, such as "
            "http://127.0.0.1:3000."
        ) from error
    backfill = str(answer["backfillId"])
    _recorded(instance, backfill)
    return backfill


def ask_ui(query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """What the UI answers to a query of GraphQL.

    Raises:
        OSError: it cannot be reached, or answers with an error of HTTP.
        HTTPException: what answers there does not speak HTTP, or the port is no number.
        ValueError: the address is none, or it does not accept the query; says why.
    """
    request = urllib.request.Request(
        f"{ui_address()}/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_UI_ANSWERS_SECONDS) as response:
        content = json.load(response)
    if content.get("errors"):
        raise ValueError(" ".join(error["message"] for error in content["errors"]))
    return content["data"]


def _followed(
    instance: dg.DagsterInstance, ids: Sequence[str], tell: Callable[[str], None]
) -> list[PartitionBackfill]:
    """Wait until these backfills have ended, and tell meanwhile how far they are.

    Clocks of machines differ, so what counts is when a heartbeat was seen that is another one.
    """
    line, shown = "", ""
    heartbeat, heartbeat_seen = 0.0, time.monotonic()
    while True:
        try:
            newest = _newest_heartbeat(instance)
            backfills = [_recorded(instance, backfill) for backfill in ids]
        except unreadable() as error:
            reason = str(error).splitlines()[0]
            line = f"Dagster's records cannot be read now; the backfill goes on: {reason}"
        else:
            if all(backfill.status in BULK_ACTION_TERMINAL_STATUSES for backfill in backfills):
                return backfills
            if newest != heartbeat:
                heartbeat, heartbeat_seen = newest, time.monotonic()
            line = _state_of(backfills)
        if line != shown:
            tell(line)
            shown = line
        silence = time.monotonic() - heartbeat_seen
        if silence > _MAX_SECONDS_WITHOUT_HEARTBEAT:
            raise ToolformerError(
                f"No heartbeat of Dagster's daemon was seen for {silence / 60:.0f} minutes, so "
                f"this command waits no longer. Last seen: {shown} Runs that have begun go on, "
                "and the backfill goes on when the daemon comes back: start `make ui` on the "
                f"head, and look at it, or cancel it, at {_pages_of(ids)}"
            )
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _newest_heartbeat(instance: dg.DagsterInstance) -> float:
    """Seconds since 1970, by the clock of the daemon; 0 where there was none."""
    heartbeats = instance.get_daemon_heartbeats().values()
    return max((heartbeat.timestamp for heartbeat in heartbeats), default=0.0)


def _recorded(instance: dg.DagsterInstance, backfill_id: str) -> PartitionBackfill:
    backfill = instance.get_backfill(backfill_id)
    if backfill is None:
        raise ToolformerError(
            f"Dagster's records of this home do not hold the backfill {backfill_id}: the UI at "
            f"{ui_address()} works on other records, or it was removed from them. Cancel it at "
            f"{_pages_of([backfill_id])}, set TOOLFORMER_UI to the UI of this home, and run the "
            "same again."
        )
    return backfill


def _state_of(backfills: Sequence[PartitionBackfill]) -> str:
    """How many partitions of assets are made and failed."""
    data = [backfill.asset_backfill_data for backfill in backfills]

    def count(subset: str) -> int:
        subsets = [getattr(element, subset) for element in data if element is not None]
        return sum(asset.num_partitions_and_non_partitioned_assets for asset in subsets)

    failed = count("failed_and_downstream_subset")
    note = f", {failed} failed or behind one that failed" if failed else ""
    made, wanted = count("materialized_subset"), count("target_subset")
    return f"On Ray: {made} of {wanted} partitions of assets made{note}."


def errors_of(instance: dg.DagsterInstance, backfill: PartitionBackfill) -> list[RunFailedError]:
    """What the failed runs of a backfill say that has ended, without those that were retried."""
    backfill_id = backfill.backfill_id
    name = f"The backfill {backfill_id}"
    # All is made, some of it perhaps by runs of another backfill before Dagster tried again what
    # was lost here. And one that it tried again keeps the error of the first try.
    if backfill.status is BulkActionStatus.COMPLETED_SUCCESS:
        return []
    if backfill.status is BulkActionStatus.CANCELED:
        return [RunFailedError(f"{name} was canceled. What its runs had finished is stored.")]
    runs = instance.get_runs(dg.RunsFilter.for_backfill(backfill_id))
    retried = {run.parent_run_id for run in runs}
    errors = [
        _error_of(instance, run)
        for run in runs
        if run.is_failure_or_canceled and run.run_id not in retried
    ]
    if backfill.error is not None:
        errors.append(RunFailedError(f"{name} failed: {backfill.error.message.strip()}"))
    elif not errors and not _has_all(instance, backfill, runs):
        errors.append(RunFailedError(f"{name} did not make all; see {_pages_of([backfill_id])}"))
    return errors


def _has_all(
    instance: dg.DagsterInstance, backfill: PartitionBackfill, runs: Sequence[dg.DagsterRun]
) -> bool:
    """Whether the runs of a backfill have made all of it, whatever its status says.

    Until the retry of a lost run has made a partition, Dagster counts it as failed. It counts
    first and then asks whether runs are left: where the retry ends in between, the backfill has
    failed by its status.
    """
    of_type = dg.DagsterEventType.ASSET_MATERIALIZATION
    made = {
        (event.asset_key, event.partition)
        for run in runs
        for entry in instance.all_logs(run.run_id, of_type=of_type)
        if (event := entry.dagster_event) is not None
    }
    data = backfill.asset_backfill_data
    return data is not None and made.issuperset(data.target_subset.iterate_asset_partitions())


def _error_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> RunFailedError:
    if run.status is dg.DagsterRunStatus.CANCELED:
        return RunFailedError(f"Run {run.run_id} was canceled.")
    events = [entry.dagster_event for entry in instance.all_logs(run.run_id)]
    return failure_of([event for event in events if event is not None], run.run_id)


def _pages_of(backfills: Sequence[str]) -> str:
    return " ".join(f"{ui_address()}/runs/b/{backfill}" for backfill in backfills)


def _check_launcher(instance: dg.DagsterInstance) -> None:
    """Refuse an instance whose runs Ray does not do."""
    try:
        from dagster_project.ray.launcher import WatchedRayRunLauncher
    except ModuleNotFoundError as error:
        raise ToolformerError(
            f"Runs on Ray need the extra `ray`, of which {error.name} is missing: "
            f"{INSTALL_EXTRA.format('ray')} in the clone."
        ) from error
    launcher = instance.run_launcher
    if not isinstance(launcher, WatchedRayRunLauncher):
        raise ToolformerError(
            f"The run launcher of {instance.root_directory}/dagster.yaml is "
            f"{type(launcher).__name__}; expected {WatchedRayRunLauncher.__name__}. Take "
            "deploy/ray/dagster.yaml as a model for it, and start `make ui` again."
        )
