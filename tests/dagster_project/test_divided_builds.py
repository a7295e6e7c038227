"""How a build is divided into runs; nothing is run."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import pytest

from dagster_project.commands import building
from dagster_project.commands.options import RunOptions
from dagster_project.runs import planned_run
from dagster_project.runs.plan import PlannedPartition
from dagster_project.runs.planned_run import PlannedRun, run_here
from dagster_project.runs.run_job import dagster_instance
from toolformer.home.expected_errors import RunFailedError
from toolformer.home.home import Home
from toolformer.home.partitions import BENCHMARK, MODEL, SHARD, VARIANT
from toolformer.home.settings.sections import validated

KEYS = [f"shard-{number:05d}" for number in range(6)]


@pytest.fixture
def started() -> list[PlannedRun]:
    return []


@pytest.fixture
def build(started: list[PlannedRun], home: Home, monkeypatch: pytest.MonkeyPatch):
    """Builds shards, which takes no run."""

    def build_shards(todo: list[str], *, stages: Sequence[str]) -> None:
        def run_all(*given: Any, on_ray: bool) -> list[RunFailedError]:
            assert on_ray
            started.extend(given[-1])
            return []

        monkeypatch.setattr(building, "run_all", run_all)
        plan = [PlannedPartition(key, table, "all", "missing") for key in todo for table in stages]
        settings = validated({}, origin="test")
        with dagster_instance(home) as instance:
            building._build(instance, RunOptions(), home, settings, plan, on_ray=True)

    return build_shards


def test_a_stage_runs_too_whose_checkpoint_a_kill_left_behind(
    build, started: list[PlannedRun], home: Home
):
    (home.checkpoints / "scored_calls" / KEYS[0] / "Calendar").mkdir(parents=True)
    (home.checkpoints / "filtered_calls" / KEYS[1]).mkdir(parents=True)
    build(KEYS[:2], stages=("augmented_texts",))
    assert started == [
        PlannedRun("build_dataset", ("scored_calls", "augmented_texts"), (KEYS[0],)),
        PlannedRun("build_dataset", ("augmented_texts",), (KEYS[1],)),
    ]


@pytest.mark.parametrize(
    ("job", "keys", "ranges"),
    [
        ("build_dataset", KEYS, [KEYS]),
        # A run is over neighbours alone.
        ("build_dataset", [KEYS[4], *KEYS[:3]], [KEYS[:3], KEYS[4:5]]),
        ("evaluate", ["svamp|base", "asdiv|base"], [["svamp|base", "asdiv|base"]]),
        ("evaluate", ["svamp|base", "lama|base"], [["svamp|base"], ["lama|base"]]),
        ("train", ["calls"], [["calls"]]),
        ("train", [], [[]]),
    ],
)
def test_here_a_run_is_over_a_range_of_partitions(
    job: str, keys: list[str], ranges: list[list[str]], monkeypatch: pytest.MonkeyPatch
):
    asked: list[list[str]] = []

    def run_job(*_given: object, partitions: Sequence[str], **_more: object) -> None:
        asked.append([str(key) for key in partitions])
        raise RunFailedError(f"run {len(asked)}")

    monkeypatch.setattr(planned_run, "run_job", run_job)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(SHARD, KEYS)
        instance.add_dynamic_partitions(VARIANT, ["calls"])
        instance.add_dynamic_partitions(BENCHMARK, ["svamp", "asdiv", "lama"])
        instance.add_dynamic_partitions(MODEL, ["base", "finetuned"])
        failures = run_here(instance, {}, [PlannedRun(job, ("any",), tuple(keys))])
    assert asked == ranges
    assert len(failures) == len(ranges)


def test_what_another_command_took_out_is_named_and_the_others_are_made(
    monkeypatch: pytest.MonkeyPatch,
):
    asked: list[list[str]] = []

    def run_job(*_given: object, partitions: Sequence[str], **_more: object) -> None:
        asked.append(list(partitions))

    monkeypatch.setattr(planned_run, "run_job", run_job)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(SHARD, KEYS[:2])
        [failure] = run_here(instance, {}, [PlannedRun("build_dataset", ("any",), tuple(KEYS[:3]))])
    assert asked == [KEYS[:2]]
    assert str(failure).startswith(
        f"Not made, since Dagster has no partition for them any more: {KEYS[2]}."
    )
