"""Each mend of dagster-ray's launcher, with a head that is none. `make test-cluster` has a Ray.

And how many GPUs a run asks for, and what Dagster says to `deploy/ray/dagster.yaml`.
"""

import shlex
import shutil
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.code_pointer import ModuleCodePointer
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.instance.ref import InstanceRef
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.origin import RepositoryPythonOrigin
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.utils import make_new_run_id
from dagster._grpc.types import ExecuteRunArgs
from dagster_shared.serdes import deserialize_value

pytest.importorskip("dagster_ray", reason="needs the extra `ray`")
pytest.importorskip("ray", reason="needs the extra `ray`")
pytest.importorskip("dagster_postgres", reason="needs the extra `ray`")

import requests
from ray.job_submission import JobStatus

from dagster_project.ray import launcher as launcher_module
from dagster_project.ray.launcher import HeadUnreachableError, WatchedRayRunLauncher
from dagster_project.ray.places import gpus_of
from dagster_project.run_tags import PROCESS_TAG, RAY_TAG
from tests.conftest import REPOSITORY
from toolformer.home.settings.sections import validated

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


class Ray:
    """The launcher, the head that it asks, and Dagster's records.

    Attributes:
        instance: has the runs.
        head: answers to the launcher.
        clock: tells the launcher the time.
    """

    def __init__(self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        self.instance, self.head, self.clock = instance, Head(), Clock()
        self.launcher = WatchedRayRunLauncher(address="http://head:8265", num_cpus=2)
        self.launcher.register_instance(instance)
        monkeypatch.setattr(launcher_module, "time", self.clock)
        # The tests look themselves.
        monkeypatch.setattr(self.launcher, "_watch_waiting_runs", lambda: None)
        self.launcher.__dict__["client"] = self.head

    def add_run(self, status: dg.DagsterRunStatus = STARTING, **given: Any) -> dg.DagsterRun:
        return self.instance.add_run(
            dg.DagsterRun(
                job_name="build_dataset",
                run_id=make_new_run_id(),
                status=status,
                job_code_origin=ORIGIN.get_job_origin("build_dataset"),
                **given,
            )
        )

    def launch(self, run: dg.DagsterRun) -> None:
        self.launcher.launch_run(LaunchRunContext(dagster_run=run, workspace=None))

    def stored(self, run: dg.DagsterRun) -> dg.DagsterRun:
        found = self.instance.get_run_by_id(run.run_id)
        assert found is not None
        return found

    def health(self, run: dg.DagsterRun, answer: JobStatus | Exception) -> WorkerStatus:
        """What the launcher makes of a run when the head answers so."""
        self.head.answer = answer
        return self.launcher.check_run_worker_health(run).status


@pytest.fixture
def ray(tmp_path, monkeypatch) -> Iterator[Ray]:
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield Ray(instance, monkeypatch)


@pytest.mark.parametrize("error", [GONE, ConnectionError("Failed to connect to Ray"), HALF_GONE])
def test_a_head_that_is_gone_fails_its_runs_after_the_grace_time_and_not_before(
    ray: Ray, error: Exception
):
    run = ray.add_run(STARTED)
    for _ in range(12):
        assert ray.health(run, error) is WorkerStatus.RUNNING
        ray.clock.now += 10
    health = ray.launcher.check_run_worker_health(run)
    assert health.status is WorkerStatus.UNKNOWN
    assert "http://head:8265 has not answered for 120 s" in str(health.msg)


@pytest.mark.parametrize(
    ("answers", "seconds"),
    [
        # A head that came back has its grace time anew.
        ((GONE, GONE, JobStatus.RUNNING, GONE), 50),
        # A silence long ago does not count.
        ((GONE, GONE), 3600),
    ],
)
def test_only_a_silence_without_end_counts(ray: Ray, answers, seconds: float):
    run = ray.add_run(STARTED)
    for answer in answers:
        assert ray.health(run, answer) is WorkerStatus.RUNNING
        ray.clock.now += seconds


def test_a_job_that_a_new_head_does_not_know_is_failed_at_once_unless_a_command_does_it(ray: Ray):
    assert ray.health(ray.add_run(STARTED), UNKNOWN_JOB) is WorkerStatus.UNKNOWN
    of_command = ray.add_run(STARTED, tags={PROCESS_TAG: "process-1"})
    assert ray.health(of_command, UNKNOWN_JOB) is WorkerStatus.RUNNING


def test_a_run_goes_back_into_the_queue_while_the_head_is_gone(ray: Ray):
    ray.head.answer = GONE
    with pytest.raises(HeadUnreachableError, match=r"ray start --head"):
        ray.launch(ray.add_run())
    # The kind on which Dagster's queue does that.
    assert issubclass(HeadUnreachableError, DagsterUserCodeUnreachableError)


@pytest.mark.parametrize(
    ("answer", "ended"),
    [
        # It waits for a place.
        (JobStatus.PENDING, STARTING),
        *(
            (answer, dg.DagsterRunStatus.FAILURE)
            for answer in (UNKNOWN_JOB, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.SUCCEEDED)
        ),
    ],
)
def test_a_run_that_never_began_and_has_no_job_is_failed_at_the_second_look(
    ray: Ray, answer: JobStatus | Exception, ended: dg.DagsterRunStatus
):
    run = ray.add_run()
    ray.head.answer = answer
    ray.launcher.fail_runs_without_job()
    assert ray.stored(run).status is STARTING
    ray.launcher.fail_runs_without_job()
    assert ray.stored(run).status is ended


def test_a_run_that_ended_between_two_looks_is_left_alone(ray: Ray, monkeypatch):
    run = ray.add_run()
    ray.head.answer = JobStatus.FAILED
    ray.launcher.fail_runs_without_job()
    # What the second look asks for is older than what it then reads.
    monkeypatch.setattr(ray.instance, "get_runs", lambda _filter: [run])
    ray.instance.report_run_canceled(run)
    ray.launcher.fail_runs_without_job()
    assert ray.stored(run).status is dg.DagsterRunStatus.CANCELED


def test_the_command_survives_a_shell_and_runs_under_the_watch(ray: Ray):
    run = ray.add_run()
    ray.launch(run)
    (job,) = ray.head.submitted
    python, *module, api, execute, told = shlex.split(job["entrypoint"])
    assert python == "/opt/it's here/python"
    assert (module, api, execute) == (["-m", "dagster_project.ray.run"], "api", "execute_run")
    assert deserialize_value(told, ExecuteRunArgs).run_id == run.run_id
    assert job["entrypoint_num_cpus"] == 2
    # A retry is a run of its own, so that a process can tell that its run is over.
    assert not ray.launcher.supports_resume_run


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
    ray: Ray, tmp_path, settings: str, given: dict[str, Any], expected: int | None
):
    (tmp_path / "home" / "toolformer.yaml").write_text(settings or "# none")
    run = ray.add_run(**given)
    ray.launch(run)
    assert ray.head.submitted[0]["entrypoint_num_gpus"] == expected
    shown = ray.stored(run).tags.get(RAY_TAG, "")
    assert (f'"num_gpus": {expected}' in shown) == (expected is not None)


def gpus(device: str, job: str, assets: Sequence[str]) -> int:
    values = {"language_model": {"device": device}, "training": {"processes": 4}}
    return gpus_of(validated(values, origin="test"), job=job, assets=assets)


@pytest.mark.parametrize(
    ("job", "assets", "expected"),
    [
        ("build_dataset", (), 1),
        ("build_dataset", ["scored_calls", "filtered_calls", "augmented_texts"], 1),
        ("build_dataset", ["filtered_calls", "augmented_texts"], 0),
        ("train", (), 4),
        ("train", ["training_set"], 0),
        ("train", ["finetuned_model", "min_call_probability", "call_statistics"], 4),
        ("train", ["min_call_probability"], 1),
        ("evaluate", ["evaluation_results"], 1),
        ("evaluate", ["evaluation_report"], 0),
        # As the runs of a backfill are called.
        ("__ASSET_JOB", ["finetuned_model"], 4),
    ],
)
def test_a_run_on_gpus_asks_for_one_and_training_for_one_per_process(
    job: str, assets: list[str], expected: int
):
    assert gpus("cuda", job, assets) == expected


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda:3"])
def test_who_chooses_the_device_otherwise_gets_no_place_by_gpu(device: str):
    assert gpus(device, "train", []) == 0


def test_the_example_has_our_launcher_waits_for_a_head_and_fails_no_run_that_waits(
    tmp_path, monkeypatch
):
    # As an instance is opened, up to its first connection: all names and types are checked.
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "secret")
    shutil.copy(REPOSITORY / "deploy" / "ray" / "dagster.yaml", tmp_path)
    reference = InstanceRef.from_dir(str(tmp_path))
    launcher = reference.run_launcher
    assert isinstance(launcher, WatchedRayRunLauncher)
    assert (launcher.address, launcher.num_cpus) == ("http://10.0.0.1:8265", 4)
    assert "TOOLFORMER_HOME" not in (launcher.env_vars or ())
    coordinator = reference.run_coordinator
    assert isinstance(coordinator, QueuedRunCoordinator)
    queue = coordinator.get_run_queue_config()
    assert queue.max_user_code_failure_retries == queue.user_code_failure_retry_delay == 60
    assert reference.storage_data.class_name == "DagsterPostgresStorage"
    assert reference.settings["run_monitoring"]["start_timeout_seconds"] >= 3600
    assert reference.settings["run_retries"]["retry_on_asset_or_op_failure"] is False
