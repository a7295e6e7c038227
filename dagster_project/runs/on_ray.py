"""Runs handed to Dagster's queue, which a Ray cluster does, and waited for.

The web server (`make ui`) takes them, as if they had been launched in the UI; its daemon launches
them. Does not prepare anything, and does not print.
"""

import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError

from dagster_project.expected_errors import RunFailedError
from dagster_project.partitions import partition_tags
from dagster_project.ray.places import gpus_of, with_gpus
from dagster_project.ray.records import unreadable
from dagster_project.run_tags import (
    COMMAND_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    RETRIED_AS_TAG,
    WILL_RETRY_TAG,
)
from dagster_project.runs.planned_run import PlannedRun
from dagster_project.runs.run_job import failure_of, has_live_daemon
from dagster_project.settings.sections import Settings
from toolformer.errors import ToolformerError

_SECONDS_BETWEEN_LOOKS = 2.0
_WORDS = {
    dg.DagsterRunStatus.QUEUED: "in the queue",
    dg.DagsterRunStatus.STARTING: "waiting for a place",
    dg.DagsterRunStatus.STARTED: "running",
    dg.DagsterRunStatus.CANCELING: "about to end",
    dg.DagsterRunStatus.FAILURE: "lost or failed",
}


def ui_address() -> str:
    """Where the UI of this home is: `$TOOLFORMER_UI`, or this machine's `$UI_PORT`."""
    port = os.environ.get("UI_PORT", "3000")
    return os.environ.get("TOOLFORMER_UI", f"http://127.0.0.1:{port}")


class RunsOnRay:
    """Runs on a Ray cluster, all at once as far as there are places.

    Args:
        instance: whose records the cluster shares.
        resources: configuration by resource name.
        settings: of these runs.
        tell: shows a line.
        client: takes the runs; by default the UI at `ui_address()`.

    Raises:
        ToolformerError: nothing here launches runs on Ray; says what to start.
    """

    is_here = False

    def __init__(
        self,
        instance: dg.DagsterInstance,
        resources: Mapping[str, dict[str, Any]],
        settings: Settings,
        *,
        tell: Callable[[str], None],
        client: DagsterGraphQLClient | None = None,
    ):
        _check_launcher(instance)
        if not has_live_daemon(instance):
            raise ToolformerError(
                "No daemon of Dagster works on these records, so nothing would launch the runs. "
                "Start `make ui` on the head, with the DAGSTER_HOME and the TOOLFORMER_HOME of "
                "this command, and try again half a minute later."
            )
        self.most_shards = settings.runs.shards_per_run
        self._instance, self._resources, self._settings = instance, resources, settings
        self._tell, self._client = tell, client or _client()
        self._command = uuid.uuid4().hex[:8]
        # By the id of the run that works on it now, which is another one after a retry.
        self._open: dict[str, PlannedRun] = {}
        self._ended = self._failed = 0
        self._told = ""

    def start(self, run: PlannedRun) -> None:
        """Hand a run to Dagster's queue.

        Raises:
            ToolformerError: the UI does not take it, or works on other records.
        """
        gpus = gpus_of(self._settings, job=run.job, assets=run.assets)
        try:
            run_id = self._client.submit_job_execution(
                run.job,
                run_config={
                    "resources": {key: {"config": value} for key, value in self._resources.items()}
                },
                tags=with_gpus({COMMAND_TAG: self._command, **_tags_of(run.partitions)}, gpus),
                asset_selection=[dg.AssetKey(name) for name in run.assets] or None,
            )
        except DagsterGraphQLClientError as error:
            raise ToolformerError(
                f"The UI at {ui_address()} did not take a run of {run.job}: {_told(error)} Start "
                "it with `make ui` on the head, and again after a change of code or tools. Where "
                "it is on another machine or port, set TOOLFORMER_UI, such as "
                "http://127.0.0.1:3000."
            ) from error
        if not self._instance.has_run(run_id):
            raise ToolformerError(
                f"The UI at {ui_address()} works on other records than those of this home, so its "
                f"run {run_id} is none of ours. Cancel it there, and set TOOLFORMER_UI to the UI "
                "of this home."
            )
        self._open[run_id] = run

    def next_ended(self) -> tuple[PlannedRun, RunFailedError | None] | None:
        """Wait for a run that ends, its retries included; see `Runs`."""
        with self._told_how_to_cancel():
            while self._open:
                try:
                    ended = self._look()
                except unreadable() as error:
                    told = str(error).splitlines()[0]
                    self._tell_new(f"Dagster's records cannot be read now; the runs go on: {told}")
                    ended = None
                if ended:
                    return ended
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        return None

    def _look(self) -> tuple[PlannedRun, RunFailedError | None] | None:
        """One run that has ended, if any has."""
        runs = self._instance.get_runs(dg.RunsFilter(run_ids=list(self._open)))
        over = [run for run in runs if self._is_over(run)]
        self._tell_state(runs, over)
        if not over:
            return None
        run = over[0]
        error = self._error_of(run)
        self._ended += 1
        if error is not None:
            self._failed += 1
            self._tell(f"Run {run.run_id[:8]} failed: {error}")
        return self._open.pop(run.run_id), error

    def _is_over(self, run: dg.DagsterRun) -> bool:
        """Whether a run has come to its end; where it is retried, the retry takes its place."""
        if run.status is not dg.DagsterRunStatus.FAILURE or not self._instance.run_retries_enabled:
            return run.is_finished
        # The tag comes a moment after the failure.
        if run.tags.get(WILL_RETRY_TAG) == "false":
            return True
        if retry := run.tags.get(RETRIED_AS_TAG):
            self._open[retry] = self._open.pop(run.run_id)
            self._tell(f"Run {run.run_id[:8]} was lost and goes on as {retry[:8]}.")
        return False

    def _error_of(self, run: dg.DagsterRun) -> RunFailedError | None:
        if run.status is dg.DagsterRunStatus.SUCCESS:
            return None
        if run.status is dg.DagsterRunStatus.CANCELED:
            return RunFailedError(f"Run {run.run_id} was canceled.")
        events = [entry.dagster_event for entry in self._instance.all_logs(run.run_id)]
        return failure_of([event for event in events if event is not None], run.run_id)

    def _tell_state(self, runs: Iterable[dg.DagsterRun], over: Sequence[dg.DagsterRun]) -> None:
        counts = Counter(_WORDS.get(run.status, "not begun") for run in runs if run not in over)
        states = [f"{counts[words]} {words}" for words in sorted(counts)]
        if done := self._ended + len(over):
            states.append(f"{done} done")
        if self._failed:
            states.append(f"{self._failed} of them failed")
        self._tell_new(f"Runs on Ray: {', '.join(states)}")

    def _tell_new(self, told: str) -> None:
        """Show a line unless it is the last one."""
        if told != self._told:
            self._tell(told)
            self._told = told

    @contextmanager
    def _told_how_to_cancel(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            going_on = "1 run goes" if len(self._open) == 1 else f"{len(self._open)} runs go"
            self._tell(
                f"{going_on} on without this command. To cancel: "
                f"{ui_address()}/runs?q[0]=tag%3A{COMMAND_TAG.replace('/', '%2F')}"
                f"%3D{self._command}, select, and terminate."
            )
            raise


def _tags_of(partitions: tuple[str, ...]) -> dict[str, str]:
    if len(partitions) > 1:
        return {RANGE_START_TAG: partitions[0], RANGE_END_TAG: partitions[-1]}
    return partition_tags(partitions[0]) if partitions else {}


def _told(error: DagsterGraphQLClientError) -> str:
    """The error without the query or the whole schema behind it."""
    details = error.args[-1]
    if isinstance(details, list):
        # Of a configuration that is not valid; what would be expected instead fills pages.
        details = " ".join(str(each["message"]).split(" Expected: ")[0] for each in details)
    return str(details).splitlines()[0]


def _client() -> DagsterGraphQLClient:
    address = urlsplit(ui_address())
    if address.hostname is None:
        raise ToolformerError(
            f"TOOLFORMER_UI is {ui_address()!r}. Expected an address such as http://127.0.0.1:3000."
        )
    return DagsterGraphQLClient(
        address.hostname,
        port_number=address.port,
        use_https=address.scheme == "https",
        path_prefix=address.path.rstrip("/"),
    )


def _check_launcher(instance: dg.DagsterInstance) -> None:
    """See that runs of this instance are done by Ray.

    Raises:
        ToolformerError: the extra is missing, or `dagster.yaml` names another launcher.
    """
    try:
        from dagster_project.ray.launcher import WatchedRayRunLauncher
    except ModuleNotFoundError as error:
        raise ToolformerError(
            f"Runs on Ray need the extra `ray`, of which {error.name} is missing: "
            "pip install -e '.[ray]' in the checkout."
        ) from error
    launcher = instance.run_launcher
    if not isinstance(launcher, WatchedRayRunLauncher):
        raise ToolformerError(
            f"The run launcher of {instance.root_directory}/dagster.yaml is "
            f"{type(launcher).__name__}; expected {WatchedRayRunLauncher.__name__}. Take "
            "deploy/ray/dagster.yaml as a model for it, and start `make ui` again."
        )
