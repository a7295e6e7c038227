"""How a build is divided into runs; nothing is run."""

from collections.abc import Sequence

import dagster as dg
import pytest

from dagster_project.commands import build
from dagster_project.runs import planned_run
from dagster_project.runs.plan import PlannedPartition
from dagster_project.runs.planned_run import PlannedRun, execute_runs
from toolformer.home.expected_errors import RunFailedError
from toolformer.home.home import Home
from toolformer.home.partitions import BENCHMARKS, MODEL_VARIANTS, MODELS, SHARDS, register

KEYS = [f"shard-{number:05d}" for number in range(6)]


def test_a_stage_runs_too_whose_checkpoint_a_kill_left_behind(home: Home):
    (home.checkpoints / "scored_calls" / KEYS[0] / "Calendar").mkdir(parents=True)
    (home.checkpoints / "filtered_calls" / KEYS[1]).mkdir(parents=True)
    plan = [PlannedPartition(key, "augmented_texts", "all", "missing") for key in KEYS[:2]]
    assert build._runs(plan, home) == [
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
def test_a_run_is_over_a_range_of_partitions(
    job: str, keys: list[str], ranges: list[list[str]], monkeypatch
):
    asked: list[list[str]] = []

    def run_job(*_given: object, partitions: Sequence[str], **_more: object) -> None:
        asked.append([str(key) for key in partitions])
        raise RunFailedError(f"run {len(asked)}")

    monkeypatch.setattr(planned_run, "run_job", run_job)
    with dg.DagsterInstance.ephemeral() as instance:
        register(instance, SHARDS, KEYS)
        register(instance, MODEL_VARIANTS, ["calls"])
        register(instance, BENCHMARKS, ["svamp", "asdiv", "lama"])
        register(instance, MODELS, ["base", "finetuned"])
        failures = execute_runs(instance, {}, [PlannedRun(job, ("any",), tuple(keys))])
    assert asked == ranges
    assert len(failures) == len(ranges)


def test_what_another_command_took_out_is_named_and_the_others_are_made(monkeypatch):
    asked: list[list[str]] = []

    def run_job(*_given: object, partitions: Sequence[str], **_more: object) -> None:
        asked.append(list(partitions))

    monkeypatch.setattr(planned_run, "run_job", run_job)
    with dg.DagsterInstance.ephemeral() as instance:
        register(instance, SHARDS, KEYS[:2])
        [failure] = execute_runs(
            instance, {}, [PlannedRun("build_dataset", ("any",), tuple(KEYS[:3]))]
        )
    assert asked == [KEYS[:2]]
    assert str(failure).startswith(
        f"These partitions were skipped, because they no longer exist in Dagster: {KEYS[2]}."
    )
