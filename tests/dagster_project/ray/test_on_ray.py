"""Backfills handed to the UI and followed, with a UI and a daemon that are none."""

import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from http.client import InvalidURL
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.events import StepMaterializationData
from dagster._core.execution.asset_backfill import AssetBackfillData
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.utils import make_new_run_id
from dagster._daemon.types import DaemonHeartbeat
from sqlalchemy.exc import OperationalError

pytest.importorskip("dagster_ray", reason="needs the extra `ray`")
pytest.importorskip("ray", reason="needs the extra `ray`")

from dagster_project.ray.launcher import WatchedRayRunLauncher
from dagster_project.run_tags import RAY_TAG, tags_of_command
from dagster_project.runs import on_ray
from dagster_project.runs.on_ray import run_on_ray
from dagster_project.runs.planned_run import PlannedRun
from toolformer.errors import ToolformerError
from toolformer.home import partitions
from toolformer.home.expected_errors import RunFailedError
from toolformer.home.settings.sections import validated

BUILD = "build_dataset"
SHARDS = ("shard-00000", "shard-00001", "shard-00002")
DECISIONS = PlannedRun(BUILD, ("filtered_calls",), SHARDS)
SUCCESS, FAILURE = dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE
UI = "http://ray-head:3000"
OF_COMMAND = [{"key": key, "value": value} for key, value in tags_of_command().items()]


class Cluster:
    """Takes backfills as the UI does, and lets happen at each look what it was told to.

    Attributes:
        launched: the parameters of each backfill.
        told: what the command says.
        events: what happens while the command waits, one at each look; then nothing does.
    """

    def __init__(self, instance: dg.DagsterInstance):
        self.instance = instance
        self.launched: list[dict[str, Any]] = []
        self.told: list[str] = []
        self.answer: dict[str, Any] | Exception | None = None
        self.keeps_records = True
        self.events: list[Callable[[], object]] = []
        self.seconds = 0.0
        self.has_daemon = True

    def ask(self, _query: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.launched.append(variables["parameters"])
        identity = f"backfill{len(self.launched)}"
        if self.keeps_records:
            keys = {dg.AssetKey(each["path"]) for each in self.launched[-1]["assetSelection"]}
            target = AssetGraphSubset(non_partitioned_asset_keys=keys)
            self.instance.add_backfill(
                PartitionBackfill(
                    identity,
                    BulkActionStatus.REQUESTED,
                    from_failure=False,
                    tags={},
                    backfill_timestamp=0.0,
                    asset_backfill_data=AssetBackfillData.empty(target, 0.0, self.instance),
                )
            )
        return {"launchPartitionBackfill": self.answer or {"backfillId": identity}}

    def sleep(self, seconds: float) -> None:
        """Instead of `time.sleep`: what was told happens, and the daemon signs on."""
        self.seconds += seconds
        if self.has_daemon:
            self.beat()
        if self.events:
            self.events.pop(0)()
        # Whatever waits for ever would never end the test.
        assert self.seconds < 3_600

    def beat(self) -> None:
        now = time.time() + self.seconds
        self.instance.add_daemon_heartbeat(DaemonHeartbeat(now, "BACKFILL", "daemon", []))

    def end(self, status: BulkActionStatus = BulkActionStatus.COMPLETED_SUCCESS) -> None:
        (backfill,) = self.instance.get_backfills()
        self.instance.update_backfill(backfill.with_status(status))

    def follow(
        self, planned: PlannedRun = DECISIONS, settings: Mapping[str, Any] | None = None
    ) -> list[RunFailedError]:
        """Hand over what is planned, and wait for it."""
        valid = validated(settings or {}, origin="test")
        given = {"settings": {"force": True}}
        return run_on_ray(self.instance, given, valid, [planned], tell=self.told.append)

    def add_run(
        self, status: dg.DagsterRunStatus, *, retries: str | None = None, **tags: str
    ) -> dg.DagsterRun:
        """A run of the first backfill; with the id of the one that it retries."""
        tags = {"dagster/backfill": "backfill1", **tags}
        parents = {"parent_run_id": retries, "root_run_id": retries}
        run = dg.DagsterRun("__ASSET_JOB", make_new_run_id(), status=status, tags=tags, **parents)
        return self.instance.add_run(run)


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Iterator[Cluster]:
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    monkeypatch.setenv("TOOLFORMER_UI", UI)
    launcher = WatchedRayRunLauncher(address="http://head:8265")
    with dg.DagsterInstance.ephemeral() as instance:
        monkeypatch.setattr(type(instance), "run_launcher", launcher)
        partitions.register(instance, partitions.SHARDS, list(SHARDS))
        made = Cluster(instance)
        made.beat()
        monkeypatch.setattr(on_ray, "ask_ui", made.ask)
        began = time.monotonic()
        monkeypatch.setattr(on_ray.time, "monotonic", lambda: began + made.seconds)
        monkeypatch.setattr(on_ray.time, "sleep", made.sleep)
        yield made


def test_a_backfill_has_the_assets_partitions_and_configuration_of_the_command(cluster: Cluster):
    cluster.events = [cluster.end]
    planned = replace(DECISIONS, ops={"filtered_calls": {"study": "k"}})
    assert cluster.follow(planned) == []
    assert cluster.launched == [
        {
            "assetSelection": [{"path": ["filtered_calls"]}],
            "partitionNames": list(SHARDS),
            "runConfigData": {
                "resources": {"settings": {"config": {"force": True}}},
                "ops": {"filtered_calls": {"config": {"study": "k"}}},
            },
            "tags": OF_COMMAND,
        }
    ]
    assert cluster.told == [
        f"Backfill of filtered_calls: {UI}/runs/b/backfill1",
        "On Ray: 0 of 1 partitions of assets made.",
    ]


def test_assets_without_partitions_are_a_backfill_of_all_there_is(cluster: Cluster):
    # And training asks for its GPUs before it is queued.
    values = {"language_model": {"device": "cuda"}, "training": {"processes": 4}}
    cluster.events = [cluster.end]
    cluster.follow(PlannedRun("train", ("finetuned_model",)), values)
    (launched,) = cluster.launched
    assert (launched["allPartitions"], "partitionNames" in launched) == (True, False)
    assert launched["tags"] == [*OF_COMMAND, {"key": RAY_TAG, "value": '{"num_gpus": 4}'}]


def test_partitions_that_another_command_took_out_are_named_and_nothing_is_launched(
    cluster: Cluster,
):
    for key in SHARDS:
        cluster.instance.delete_dynamic_partition(partitions.SHARDS.name, key)
    (error,) = cluster.follow()
    assert f"no partition for them any more: {', '.join(SHARDS)}." in str(error)
    assert cluster.launched == []


def test_a_failed_run_says_why(cluster: Cluster):
    def fail() -> None:
        failed = cluster.add_run(dg.DagsterRunStatus.STARTED)
        failure = dg.Failure("shard-00001 is bad")
        cluster.instance.report_dagster_event(step_failure(failure), failed.run_id)
        cluster.instance.report_run_failed(failed)
        cluster.end(BulkActionStatus.COMPLETED_FAILED)

    cluster.events = [fail]
    (error,) = cluster.follow()
    assert str(error) == "shard-00001 is bad"


def step_failure(failure: dg.Failure) -> dg.DagsterEvent:
    from dagster._core.execution.plan.objects import StepFailureData, UserFailureData

    return dg.DagsterEvent(
        dg.DagsterEventType.STEP_FAILURE.value,
        "__ASSET_JOB",
        step_key="filtered_calls",
        event_specific_data=StepFailureData(
            error=None,
            user_failure_data=UserFailureData(
                "Failure", description=failure.description, metadata=failure.metadata
            ),
        ),
    )


@pytest.mark.parametrize("is_retried", [True, False], ids=["retried", "made by another backfill"])
def test_a_lost_run_whose_partitions_are_made_is_no_failure(cluster: Cluster, *, is_retried: bool):
    def end() -> None:
        lost = cluster.add_run(FAILURE)
        if is_retried:
            cluster.add_run(SUCCESS, retries=lost.run_id)
        cluster.end()

    cluster.events = [end]
    assert cluster.follow() == []


@pytest.mark.parametrize(
    ("of_run", "of_backfill", "words"),
    [
        (dg.DagsterRunStatus.CANCELED, BulkActionStatus.CANCELED, "backfill1 was canceled"),
        (dg.DagsterRunStatus.CANCELED, BulkActionStatus.COMPLETED_FAILED, "was canceled"),
        (SUCCESS, BulkActionStatus.COMPLETED_FAILED, f"{UI}/runs/b/backfill1"),
    ],
)
def test_a_backfill_that_ends_without_all_is_a_failure_and_not_waited_for(
    cluster: Cluster, of_run, of_backfill, words: str
):
    def end() -> None:
        cluster.add_run(of_run)
        cluster.end(of_backfill)

    cluster.events = [end]
    (error,) = cluster.follow()
    assert words in str(error)


def test_a_backfill_that_counted_before_the_retry_had_made_the_last_is_no_failure(cluster: Cluster):
    def retry() -> None:
        lost = cluster.add_run(FAILURE)
        made = cluster.add_run(SUCCESS, retries=lost.run_id)
        for name in DECISIONS.assets:
            event = dg.DagsterEvent(
                dg.DagsterEventType.ASSET_MATERIALIZATION.value,
                "__ASSET_JOB",
                event_specific_data=StepMaterializationData(dg.AssetMaterialization(name)),
            )
            cluster.instance.report_dagster_event(event, made.run_id)
        cluster.end(BulkActionStatus.COMPLETED_FAILED)

    cluster.events = [retry]
    assert cluster.follow() == []


def test_records_that_cannot_be_read_for_a_while_end_nothing(cluster: Cluster, monkeypatch):
    def unreadable(_id: str) -> None:
        raise OperationalError("select", {}, ConnectionResetError())

    def break_records() -> None:
        monkeypatch.setattr(cluster.instance, "get_backfill", unreadable)

    def mend_records() -> None:
        monkeypatch.delattr(cluster.instance, "get_backfill")

    cluster.events = [break_records, lambda: None, mend_records, cluster.end]
    assert cluster.follow() == []
    assert "cannot be read now; the backfill goes on" in cluster.told[2]


def test_without_a_heartbeat_the_command_ends_and_says_how_the_backfill_goes_on(cluster: Cluster):
    cluster.has_daemon = False
    with pytest.raises(ToolformerError, match=f"No heartbeat.*{UI}/runs/b/backfill1"):
        cluster.follow()
    assert cluster.seconds == pytest.approx(300, abs=5)


def test_an_interrupt_says_that_the_backfill_goes_on_and_where_to_cancel_it(cluster: Cluster):
    cluster.events = [lambda: signal.raise_signal(signal.SIGINT)]
    # Where a script runs the tests in the background, it is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            cluster.follow()
    finally:
        signal.signal(signal.SIGINT, before)
    assert cluster.told[-1].endswith(
        f"goes on without this command. Cancel it at {UI}/runs/b/backfill1"
    )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (urllib.error.URLError(ConnectionRefusedError("refused")), "refused"),
        (InvalidURL("nonnumeric port: 'ui'"), "nonnumeric port"),
        ({"__typename": "PythonError", "message": "No such partition\nlines"}, "No such partition"),
    ],
)
def test_a_ui_that_takes_no_backfill_is_named_with_what_to_start(
    cluster: Cluster, answer: Any, words: str
):
    cluster.answer = answer
    with pytest.raises(ToolformerError, match="make ui") as raised:
        cluster.follow()
    assert words in str(raised.value)
    assert "lines" not in str(raised.value)


def test_a_ui_of_another_home_is_refused(cluster: Cluster):
    cluster.keeps_records = False
    with pytest.raises(ToolformerError, match="set TOOLFORMER_UI"):
        cluster.follow()


def test_another_launcher_is_refused_with_the_file_to_change():
    refused = pytest.raises(ToolformerError, match=r"deploy/ray/dagster\.yaml")
    with dg.DagsterInstance.ephemeral() as plain, refused:
        Cluster(plain).follow()
