"""Runs handed to the queue and waited for, with a queue that is none."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id
from dagster_graphql import DagsterGraphQLClientError
from sqlalchemy.exc import OperationalError

pytest.importorskip("dagster_ray", reason="needs the extra `ray`")
pytest.importorskip("ray", reason="needs the extra `ray`")

from dagster_project.expected_errors import RunFailedError
from dagster_project.ray.launcher import WatchedRayRunLauncher
from dagster_project.run_tags import RAY_TAG, RETRIED_AS_TAG, WILL_RETRY_TAG
from dagster_project.runs import on_ray
from dagster_project.runs.on_ray import RunsOnRay
from dagster_project.runs.planned_run import PlannedRun, run_all
from dagster_project.settings.sections import Settings, validated
from toolformer.errors import ToolformerError

BUILD = "build_dataset"
SHARDS = ("shard-00000", "shard-00001")
STARTING = dg.DagsterRunStatus.STARTING
SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE


class Queue:
    """Takes runs as the web server does, and has them end as they are told to."""

    def __init__(self, instance: dg.DagsterInstance):
        self._instance = instance
        self.taken: list[dict[str, Any]] = []
        self.refuses_with: DagsterGraphQLClientError | None = None
        self.keeps_records = True

    def submit_job_execution(self, job_name: str, **given: Any) -> str:
        if self.refuses_with:
            raise self.refuses_with
        run_id = make_new_run_id()
        self.taken.append({"job": job_name, "run_id": run_id, **given})
        if self.keeps_records:
            self._instance.add_run(
                dg.DagsterRun(job_name, run_id, tags=given["tags"], status=STARTING)
            )
        return run_id

    def end(self, number: int, status: dg.DagsterRunStatus, **tags: str) -> None:
        self.end_run(self.taken[number]["run_id"], status, tags)

    def end_run(self, run_id: str, status: dg.DagsterRunStatus, tags: dict[str, str]) -> None:
        run = self._instance.get_run_by_id(run_id)
        assert run is not None
        if status is FAILURE:
            self._instance.report_run_failed(run, "The node was lost.")
        elif status is dg.DagsterRunStatus.CANCELED:
            self._instance.report_run_canceled(run)
        else:
            event = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name)
            self._instance.report_dagster_event(event, run_id)
        if tags:
            self._instance.add_run_tags(run_id, tags)


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setattr(on_ray, "has_live_daemon", lambda _instance: True)
    launcher = WatchedRayRunLauncher(address="http://head:8265")
    with dg.DagsterInstance.ephemeral() as instance:
        monkeypatch.setattr(type(instance), "run_launcher", launcher)
        yield instance


@pytest.fixture
def queue(instance: dg.DagsterInstance) -> Queue:
    return Queue(instance)


@pytest.fixture
def told() -> list[str]:
    return []


def runs_on(
    instance: dg.DagsterInstance, queue: Any, told: list[str], settings: Settings | None = None
) -> RunsOnRay:
    return RunsOnRay(
        instance,
        {"settings": {"force": True}},
        settings or validated({}, origin="test"),
        tell=told.append,
        client=queue,
    )


def test_a_run_over_several_shards_is_one_range_with_the_configuration_of_the_command(
    instance: dg.DagsterInstance, queue: Queue, told: list[str]
):
    runs_on(instance, queue, told).start(PlannedRun(BUILD, ("filtered_calls",), SHARDS))
    (taken,) = queue.taken
    assert taken["job"] == BUILD
    assert taken["tags"]["dagster/asset_partition_range_start"] == SHARDS[0]
    assert taken["tags"]["dagster/asset_partition_range_end"] == SHARDS[-1]
    assert taken["run_config"] == {"resources": {"settings": {"config": {"force": True}}}}
    assert taken["asset_selection"] == [dg.AssetKey("filtered_calls")]
    assert RAY_TAG not in taken["tags"]


def test_a_run_of_a_benchmark_and_a_model_knows_both(
    instance: dg.DagsterInstance, queue: Queue, told: list[str]
):
    runs_on(instance, queue, told).start(PlannedRun("evaluate", (), ("svamp|base",)))
    tags = queue.taken[0]["tags"]
    assert tags["dagster/partition"] == "svamp|base"
    assert (tags["dagster/partition/benchmark"], tags["dagster/partition/model"]) == (
        "svamp",
        "base",
    )


def test_training_asks_for_its_gpus_before_it_is_queued(
    instance: dg.DagsterInstance, queue: Queue, told: list[str]
):
    values = {"language_model": {"device": "cuda"}, "training": {"processes": 4}}
    runs = runs_on(instance, queue, told, validated(values, origin="test"))
    runs.start(PlannedRun("train", ("finetuned_model",), ("calls",)))
    assert queue.taken[0]["tags"][RAY_TAG] == '{"num_gpus": 4}'


def test_runs_are_told_as_they_end(instance: dg.DagsterInstance, queue: Queue, told: list[str]):
    runs = runs_on(instance, queue, told)
    first, second = (PlannedRun(BUILD, (), (shard,)) for shard in SHARDS)
    runs.start(first)
    runs.start(second)
    queue.end(1, SUCCESS)
    assert runs.next_ended() == (second, None)
    queue.end(0, SUCCESS)
    assert runs.next_ended() == (first, None)
    assert runs.next_ended() is None
    assert told == [
        "Runs on Ray: 1 waiting for a place, 1 done",
        "Runs on Ray: 2 done",
    ]


def test_a_lost_run_says_what_dagster_says(
    instance: dg.DagsterInstance, queue: Queue, told: list[str]
):
    runs = runs_on(instance, queue, told)
    runs.start(PlannedRun(BUILD, (), SHARDS))
    queue.end(0, FAILURE)
    with pytest.raises(RunFailedError, match="The node was lost"):
        run_all(runs)


def test_a_run_that_was_canceled_is_not_waited_for(
    instance: dg.DagsterInstance, queue: Queue, told: list[str]
):
    runs = runs_on(instance, queue, told)
    runs.start(PlannedRun(BUILD, (), SHARDS))
    queue.end(0, dg.DagsterRunStatus.CANCELED)
    with pytest.raises(RunFailedError, match="was canceled"):
        run_all(runs)


def test_the_retry_of_a_lost_run_takes_its_place(
    instance: dg.DagsterInstance,
    queue: Queue,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(type(instance), "run_retries_enabled", True)
    runs = runs_on(instance, queue, told)
    planned = PlannedRun(BUILD, (), SHARDS)
    runs.start(planned)
    retry = instance.add_run(dg.DagsterRun(BUILD, make_new_run_id())).run_id
    queue.end(0, FAILURE, **{WILL_RETRY_TAG: "true", RETRIED_AS_TAG: retry})

    def end_retry(_seconds: float) -> None:
        queue.end_run(retry, SUCCESS, {})

    monkeypatch.setattr(on_ray.time, "sleep", end_retry)
    assert runs.next_ended() == (planned, None)
    assert any(f"goes on as {retry[:8]}" in line for line in told)


def test_records_that_cannot_be_read_for_a_while_end_nothing(
    instance: dg.DagsterInstance,
    queue: Queue,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
):
    runs = runs_on(instance, queue, told)
    planned = PlannedRun(BUILD, (), SHARDS)
    runs.start(planned)
    queue.end(0, SUCCESS)
    read = instance.get_runs

    def fail(_filter: dg.RunsFilter) -> None:
        raise OperationalError("select", {}, ConnectionResetError())

    def come_back(_seconds: float) -> None:
        monkeypatch.setattr(instance, "get_runs", read)

    monkeypatch.setattr(instance, "get_runs", fail)
    monkeypatch.setattr(on_ray.time, "sleep", come_back)
    assert runs.next_ended() == (planned, None)
    assert "the runs go on" in told[0]


def test_an_interrupt_says_that_the_runs_go_on_and_where_to_cancel_them(
    instance: dg.DagsterInstance,
    queue: Queue,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
):
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("TOOLFORMER_UI", "http://ray-head:3000")
    runs = runs_on(instance, queue, told)
    runs.start(PlannedRun(BUILD, (), SHARDS))
    monkeypatch.setattr(on_ray.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        runs.next_ended()
    assert told[-1].startswith("1 run goes on without this command")
    assert queue.taken[0]["tags"]["toolformer/command"] in told[-1]
    assert "http://ray-head:3000/runs" in told[-1]


def test_a_ui_that_is_not_there_is_named_with_what_to_start(
    instance: dg.DagsterInstance, queue: Queue, told: list[str]
):
    queue.refuses_with = DagsterGraphQLClientError("Error when connecting to url http://…")
    with pytest.raises(ToolformerError, match="make ui"):
        runs_on(instance, queue, told).start(PlannedRun(BUILD))


def test_a_ui_with_other_definitions_says_which_setting_it_does_not_know(
    instance: dg.DagsterInstance, queue: Queue, told: list[str]
):
    details = [{"message": 'Received unexpected config entry "new". Expected: "{ pages }".'}]
    queue.refuses_with = DagsterGraphQLClientError("RunConfigValidationInvalid", details)
    with pytest.raises(ToolformerError, match='unexpected config entry "new"') as raised:
        runs_on(instance, queue, told).start(PlannedRun(BUILD))
    assert "pages" not in str(raised.value)


def test_a_ui_of_another_home_is_refused(
    instance: dg.DagsterInstance, queue: Queue, told: list[str]
):
    queue.keeps_records = False
    with pytest.raises(ToolformerError, match="other records"):
        runs_on(instance, queue, told).start(PlannedRun(BUILD))


def test_another_launcher_is_refused_with_the_file_to_change(told: list[str]):
    with (
        dg.DagsterInstance.ephemeral() as plain,
        pytest.raises(ToolformerError, match=r"deploy/ray/dagster\.yaml"),
    ):
        runs_on(plain, None, told)


def test_without_a_daemon_nothing_is_handed_over(
    instance: dg.DagsterInstance, queue: Queue, told: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(on_ray, "has_live_daemon", lambda _instance: False)
    with pytest.raises(ToolformerError, match="No daemon"):
        runs_on(instance, queue, told)
