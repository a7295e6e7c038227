"""Runs as Ray jobs: dagster-ray's launcher, with fixes that fault tests showed to be needed.

`dagster.yaml` names it (`deploy/ray/dagster.yaml` is an example), and Dagster's daemon uses it to
launch and monitor runs.
"""

import logging
import shlex
import threading
import time
from typing import Any

import dagster as dg
import requests
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._grpc.types import ExecuteRunArgs
from dagster_ray.core.run_launcher import RayRunLauncher, get_job_submission_id_from_run_id  # pyright: ignore[reportMissingImports]

from dagster_project.ray import run as process_of_run
from dagster_project.ray.places import gpus_of, with_gpus
from dagster_project.ray.run import unreadable
from dagster_project.run_tags import RAY_TAG, process_of
from toolformer.home.home import Home
from toolformer.home.settings.errors import SettingsError
from toolformer.home.settings.settings_file import load_settings

_LOGGER = logging.getLogger(__name__)
# How a head that is gone shows: Ray's client raises the first at its start, the second later.
_UNREACHABLE = (ConnectionError, requests.RequestException)
# What Ray's client says of a job that it does not know. Other answers than this are those of a head
# that is about to go or to come back.
_UNKNOWN_JOB = "status code 404"
_SECONDS_BETWEEN_LOOKS = 20.0
# So long a head may not answer. Then its runs are failed, and `run_retries` starts them anew.
_GRACE_SECONDS = 120.0


class HeadUnreachableError(DagsterUserCodeUnreachableError):
    """The head of Ray does not answer. Dagster puts a run back into its queue on this kind."""


class WatchedRayRunLauncher(RayRunLauncher):
    """Launches runs as Ray jobs, notices when these are gone, and says how many GPUs they need."""

    def __init__(self, **config: Any):
        super().__init__(**config)
        self._silent_since: float | None = None
        self._silent_last = 0.0
        self._suspects: set[str] = set()
        self._watch: threading.Thread | None = None
        self._is_disposed = threading.Event()

    @property
    def supports_resume_run(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        """No: a retry is a run of its own, so a process can tell that its run is over."""
        return False

    @property
    def supports_run_worker_crash_recovery(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
    ) -> bool:
        """No, as above."""
        return False

    def dispose(self) -> None:
        """End the watch."""
        self._is_disposed.set()

    def launch_run(self, context: LaunchRunContext) -> None:
        """Submit a run to Ray.

        Raises:
            HeadUnreachableError: the head does not answer. As any other error this would fail the
                run, and all its retries within seconds.
        """
        self._watch_waiting_runs()
        run = self._placed(context.dagster_run)
        submission = get_job_submission_id_from_run_id(run.run_id)
        try:
            self._launch_ray_job(submission, self._command_of(run), run)
        except _UNREACHABLE as error:
            raise HeadUnreachableError(
                f"The head of Ray at {self.address} does not answer: {error}. Start it (`ray start "
                "--head …`), or correct `address` in dagster.yaml. The run waits in the queue "
                "as long as run_queue.max_user_code_failure_retries allows."
            ) from error

    def _command_of(self, run: dg.DagsterRun) -> str:
        origin = run.job_code_origin
        if origin is None:
            raise dg.DagsterInvariantViolationError(
                f"Run {run.run_id} does not say which code it runs. Launch it from the UI, with "
                "`toolformer build --on ray` or by GraphQL."
            )
        arguments = ExecuteRunArgs(
            job_origin=origin,
            run_id=run.run_id,
            instance_ref=self._instance.get_ref(),
            set_exit_code_on_failure=True,
        )
        # Without the watch in this module, a process whose run was failed goes on computing.
        python = [origin.repository_origin.executable_path, "-m", process_of_run.__name__]
        # Ray hands this to a shell; dagster-ray's own quotes end at the first one in a password.
        return shlex.join([*python, *arguments.get_command_args()[-3:]])

    def _placed(self, run: dg.DagsterRun) -> dg.DagsterRun:
        """The run, tagged with the GPUs that its settings need.

        Here and not on the jobs, whose tags the runs of a backfill do not get.
        """
        configured: Any = run.run_config
        config = configured.get("resources", {}).get("settings", {}).get("config", {})
        try:
            settings = load_settings(Home.find().settings_file, overrides=config.get("overrides"))
        except (SettingsError, OSError):
            # The run itself says what is wrong.
            return run
        names = [key.to_user_string() for key in run.asset_selection or ()]
        tags = with_gpus(run.tags, gpus_of(settings, job=run.job_name, assets=names))
        if tags.get(RAY_TAG) == run.tags.get(RAY_TAG):
            return run
        self._instance.add_run_tags(run.run_id, {RAY_TAG: tags[RAY_TAG]})
        return run.with_tags(tags)

    def terminate(self, run_id: str) -> bool:
        """Stop a run; see `RunLauncher`."""
        try:
            return super().terminate(run_id)
        except _UNREACHABLE as error:
            run = self._instance.get_run_by_id(run_id)
            self._instance.report_engine_event(
                f"The head of Ray does not answer, so the job was not told to stop ({error}). Its "
                "process ends by itself once the run is marked as canceled.",
                run,
                cls=self.__class__,
            )
            return False

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether the Ray job of a run lives; a head that is gone fails it after the grace time.

        dagster-ray lets the error of a connection pass, so that the run stayed STARTED for ever.
        And it fails every run that is no Ray job, even while a command does it in its process;
        whether that command lives, the next one looks (`close_dead_runs`).
        """
        self._watch_waiting_runs()
        if process_of(run.tags):
            return CheckRunHealthResult(WorkerStatus.RUNNING, "in the process of a command")
        try:
            health = super().check_run_worker_health(run)
        except _UNREACHABLE as error:
            return self._unreachable(str(error))
        if health.status is WorkerStatus.UNKNOWN and _UNKNOWN_JOB not in str(health.msg):
            return self._unreachable(str(health.msg))
        self._silent_since = None
        return health

    def _unreachable(self, error: str) -> CheckRunHealthResult:
        now = time.monotonic()
        # Nobody asked in between where there was no run: that silence is over.
        if self._silent_since is None or now - self._silent_last > _GRACE_SECONDS:
            self._silent_since = now
        self._silent_last = now
        silent = now - self._silent_since
        message = f"The head of Ray at {self.address} has not answered for {silent:.0f} s: {error}"
        if silent < _GRACE_SECONDS:
            _LOGGER.warning("%s", message)
            return CheckRunHealthResult(WorkerStatus.RUNNING, message)
        return CheckRunHealthResult(WorkerStatus.UNKNOWN, message)

    def _watch_waiting_runs(self) -> None:
        """Look after runs that wait for a place in Ray, from now on and until the daemon ends.

        They are STARTING, where Dagster asks only for how long. So `start_timeout_seconds` is set
        to a day, and this finds the few whose job is gone.
        """
        if self._watch is None:
            self._watch = threading.Thread(target=self._look, name="waiting-runs", daemon=True)
            self._watch.start()

    def _look(self) -> None:
        while not self._is_disposed.wait(_SECONDS_BETWEEN_LOOKS):
            try:
                self.fail_runs_without_job()
            except unreadable() as error:
                _LOGGER.warning("Runs that wait for a free place could not be checked: %s", error)

    def fail_runs_without_job(self) -> None:
        """Fail runs that have not begun and whose Ray job is gone, at the second look.

        At the first one the job may be on its way, or the process about to say that it began.
        """
        starting = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING])
        suspects: dict[str, str] = {}
        for run in self._instance.get_runs(starting):
            health = self.check_run_worker_health(run)
            if health.status is not WorkerStatus.RUNNING:
                suspects[run.run_id] = f"{health.status.value}: {health.msg or 'its job ended'}"
        for run_id in self._suspects & suspects.keys():
            run = self._instance.get_run_by_id(run_id)
            if run is not None and run.status is dg.DagsterRunStatus.STARTING:
                why = suspects[run_id]
                self._instance.report_run_failed(run, f"The run never began; Ray says {why}")
        self._suspects = set(suspects)
