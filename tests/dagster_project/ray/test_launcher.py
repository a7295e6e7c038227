"""Each mend of dagster-ray's launcher, with a head that is none. `make test-cluster` has a Ray."""

import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.origin import RepositoryPythonOrigin
from dagster._core.utils import make_new_run_id
from dagster._grpc.types import ExecuteRunArgs
from dagster_shared.serdes import deserialize_value

pytest.importorskip("dagster_ray", reason="needs the extra `ray`")
pytest.importorskip("ray", reason="needs the extra `ray`")

import requests
from ray.job_submission import JobStatus

from dagster_project.ray import launcher as launcher_module
from dagster_project.ray.launcher import HeadUnreachableError, WatchedRayRunLauncher
from dagster_project.run_tags import PROCESS_TAG, RAY_TAG

STARTING, STARTED = dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED
UNKNOWN_JOB = RuntimeError("Request failed with status code 404: Job does not exist")
HALF_GONE = RuntimeError("Request failed with status code 500: GCS unavailable")
GONE = requests.exceptions.ConnectionError("Connection refused")
# Of a program with quotes in its way.
ORIGIN = RepositoryPythonOrigin(
    "/opt/it's here/python", ModuleCodePointer("dagster_project.definitions", "defs")
)

OVERRIDES = {"language_model": {"device": "cuda"}}
LAUNCHPAD = {"resources": {"settings": {"config": {"overrides": OVERRIDES}}}}


class Head:
    """Answers as Ray's job server: with the status of every job, or with an error."""

    def __init__(self) -> None:
        self.answer: JobStatus | Exception = JobStatus.RUNNING
        self.submitted: list[dict[str, Any]] = []

    def get_job_status(self, _job: str) -> JobStatus:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def get_job_info(self, _job: str) -> Any:
        return SimpleNamespace(message="the node is gone")

    def submit_job(self, **job: Any) -> None:
        self.get_job_status("")
        self.submitted.append(job)

    def stop_job(self, job: str) -> bool:
        self.get_job_status(job)
        return True


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(launcher_module, "time", clock)
    return clock


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def head() -> Head:
    return Head()


@pytest.fixture
def launcher(
    instance: dg.DagsterInstance, head: Head, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> WatchedRayRunLauncher:
    made = WatchedRayRunLauncher(address="http://head:8265", num_cpus=2)
    made.register_instance(instance)
    # The tests look themselves.
    monkeypatch.setattr(made, "_watch_waiting_runs", lambda: None)
    made.__dict__["client"] = head
    return made


def add_run(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus = STARTING, **given: Any
) -> dg.DagsterRun:
    return instance.add_run(
        dg.DagsterRun(
            job_name="build_dataset",
            run_id=make_new_run_id(),
            status=status,
            job_code_origin=ORIGIN.get_job_origin("build_dataset"),
            **given,
        )
    )


def launch(launcher: WatchedRayRunLauncher, run: dg.DagsterRun) -> None:
    launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))


def status_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


@pytest.mark.parametrize("error", [GONE, ConnectionError("Failed to connect to Ray"), HALF_GONE])
def test_a_head_that_is_gone_fails_its_runs_after_the_grace_time_and_not_before(
    instance: dg.DagsterInstance,
    launcher: WatchedRayRunLauncher,
    head: Head,
    clock: Clock,
    error: Exception,
):
    run = add_run(instance, STARTED)
    head.answer = error
    for _ in range(12):
        assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
        clock.now += 10
    health = launcher.check_run_worker_health(run)
    assert health.status is WorkerStatus.UNKNOWN
    assert "http://head:8265 has not answered for 120 s" in str(health.msg)


def test_a_head_that_came_back_has_its_grace_time_anew(
    instance: dg.DagsterInstance, launcher: WatchedRayRunLauncher, head: Head, clock: Clock
):
    run = add_run(instance, STARTED)
    for answer in (GONE, GONE, JobStatus.RUNNING, GONE):
        head.answer = answer
        assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
        clock.now += 50


def test_a_job_that_a_new_head_does_not_know_is_failed_at_once(
    instance: dg.DagsterInstance, launcher: WatchedRayRunLauncher, head: Head
):
    head.answer = UNKNOWN_JOB
    health = launcher.check_run_worker_health(add_run(instance, STARTED))
    assert health.status is WorkerStatus.UNKNOWN


def test_a_run_in_the_process_of_a_command_is_not_failed_for_having_no_job(
    instance: dg.DagsterInstance, launcher: WatchedRayRunLauncher, head: Head
):
    head.answer = UNKNOWN_JOB
    run = add_run(instance, STARTED, tags={PROCESS_TAG: "process-1"})
    assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING


def test_a_run_goes_back_into_the_queue_while_the_head_is_gone(
    instance: dg.DagsterInstance, launcher: WatchedRayRunLauncher, head: Head
):
    head.answer = GONE
    with pytest.raises(HeadUnreachableError, match=r"ray start --head"):
        launch(launcher, add_run(instance))
    # The kind on which Dagster's queue does that.
    assert issubclass(HeadUnreachableError, DagsterUserCodeUnreachableError)


def test_a_run_that_waits_for_a_place_is_left_alone(
    instance: dg.DagsterInstance, launcher: WatchedRayRunLauncher, head: Head
):
    run = add_run(instance)
    head.answer = JobStatus.PENDING
    for _ in range(3):
        launcher.fail_runs_without_job()
    assert status_of(instance, run) is STARTING


@pytest.mark.parametrize(
    "answer", [UNKNOWN_JOB, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.SUCCEEDED]
)
def test_a_run_that_never_began_and_has_no_job_is_failed_at_the_second_look(
    instance: dg.DagsterInstance,
    launcher: WatchedRayRunLauncher,
    head: Head,
    answer: JobStatus | Exception,
):
    run = add_run(instance)
    head.answer = answer
    launcher.fail_runs_without_job()
    assert status_of(instance, run) is STARTING
    launcher.fail_runs_without_job()
    assert status_of(instance, run) is dg.DagsterRunStatus.FAILURE


def test_a_run_that_began_between_two_looks_is_left_alone(
    instance: dg.DagsterInstance,
    launcher: WatchedRayRunLauncher,
    head: Head,
    monkeypatch: pytest.MonkeyPatch,
):
    run = add_run(instance)
    head.answer = JobStatus.FAILED
    launcher.fail_runs_without_job()
    # What the second look asks for is older than what it then reads.
    monkeypatch.setattr(instance, "get_runs", lambda _filter: [run])
    instance.report_run_canceled(run)
    launcher.fail_runs_without_job()
    assert status_of(instance, run) is dg.DagsterRunStatus.CANCELED


def test_the_command_survives_a_shell_and_runs_under_the_watch(
    instance: dg.DagsterInstance, launcher: WatchedRayRunLauncher, head: Head
):
    run = add_run(instance)
    launch(launcher, run)
    (job,) = head.submitted
    python, *module, api, execute, told = shlex.split(job["entrypoint"])
    assert python == "/opt/it's here/python"
    assert (module, api, execute) == (["-m", "dagster_project.ray.run"], "api", "execute_run")
    assert deserialize_value(told, ExecuteRunArgs).run_id == run.run_id
    assert job["entrypoint_num_cpus"] == 2


@pytest.mark.parametrize(
    ("settings", "given", "expected"),
    [
        ("", {}, None),
        ("language_model: {device: cuda}", {}, 1),
        ("language_model: {device: cuda}", {"tags": {RAY_TAG: '{"num_gpus": 2}'}}, 2),
        ("language_model: {device: nonsense, misspelt: 1}", {}, None),
        ("", {"run_config": LAUNCHPAD}, 1),
    ],
)
def test_a_run_asks_for_the_gpus_that_settings_or_tags_say_and_shows_them(
    instance: dg.DagsterInstance,
    launcher: WatchedRayRunLauncher,
    head: Head,
    tmp_path: Path,
    settings: str,
    given: dict[str, Any],
    expected: int | None,
):
    (tmp_path / "home" / "toolformer.yaml").write_text(settings)
    run = add_run(instance, **given)
    launch(launcher, run)
    assert head.submitted[0]["entrypoint_num_gpus"] == expected
    shown = instance.get_run_by_id(run.run_id)
    assert shown is not None
    assert (f'"num_gpus": {expected}' in shown.tags.get(RAY_TAG, "")) == (expected is not None)


def test_a_run_is_not_resumed_beside_its_old_process(launcher: WatchedRayRunLauncher):
    assert not launcher.supports_resume_run


def test_a_silence_long_ago_does_not_count(
    instance: dg.DagsterInstance, launcher: WatchedRayRunLauncher, head: Head, clock: Clock
):
    run = add_run(instance, STARTED)
    head.answer = GONE
    for _ in range(2):
        assert launcher.check_run_worker_health(run).status is WorkerStatus.RUNNING
        clock.now += 3600
