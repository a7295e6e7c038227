"""How a build is divided into runs, and what follows on one that failed; nothing is run."""

from collections.abc import Sequence

import dagster as dg
import pytest

from assets.pipeline import PIPELINE
from dagster_project.commands import building
from dagster_project.commands.options import RunOptions
from dagster_project.expected_errors import RunFailedError
from dagster_project.home import Home
from dagster_project.partitions import BENCHMARK, MODEL, SHARD
from dagster_project.runs import planned_run
from dagster_project.runs.plan import PlannedPartition
from dagster_project.runs.planned_run import PlannedRun, run_here
from dagster_project.runs.run_job import dagster_instance
from dagster_project.settings.sections import validated

KEYS = [f"shard-{number:05d}" for number in range(6)]

STAGES = PIPELINE.names


class Runs:
    """Has no run done; the first one over a shard that is bad fails in a stage."""

    def __init__(self, *, bad: str = "", stage: str = ""):
        self.bad, self.stage = bad, stage
        self.started: list[PlannedRun] = []

    def run_all(
        self, *_given: object, planned: Sequence[PlannedRun], on_ray: bool
    ) -> list[RunFailedError]:
        assert on_ray
        self.started += planned
        return [
            RunFailedError(
                f"{self.bad} is bad",
                [shard for shard in run.partitions if shard != self.bad],
                [self.stage],
            )
            for run in planned
            if self.bad in run.partitions
        ]


def build(
    runs: Runs,
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    todo: list[str],
) -> None:
    def run_all(*given: object, on_ray: bool) -> list[RunFailedError]:
        *_, planned = given
        assert isinstance(planned, list)
        return runs.run_all(planned=planned, on_ray=on_ray)

    monkeypatch.setattr(building, "run_all", run_all)
    settings = validated({}, origin="test")
    plan = [PlannedPartition(shard, table, "all", "missing") for shard in todo for table in STAGES]
    with dagster_instance(home) as instance:
        building._build(instance, RunOptions(), home, settings, plan, on_ray=True)


def test_shards_with_the_same_stages_are_planned_together(
    home: Home, monkeypatch: pytest.MonkeyPatch
):
    runs = Runs()
    build(runs, home, monkeypatch, KEYS)
    assert runs.started == [PlannedRun("build_dataset", tuple(STAGES), tuple(KEYS))]


def test_the_others_go_on_behind_the_stage_in_which_one_failed(
    home: Home, monkeypatch: pytest.MonkeyPatch
):
    runs = Runs(bad=KEYS[1], stage="executed_calls")
    with pytest.raises(RunFailedError, match="shard-00001 is bad"):
        build(runs, home, monkeypatch, KEYS)
    behind = ("scored_calls", "filtered_calls", "augmented_texts")
    assert runs.started[1:] == [PlannedRun("build_dataset", behind, (KEYS[0], *KEYS[2:]))]


def test_a_stage_runs_too_whose_checkpoint_a_kill_left_behind(
    home: Home, monkeypatch: pytest.MonkeyPatch
):
    runs = Runs()
    monkeypatch.setattr(f"{__name__}.STAGES", ("augmented_texts",))
    (home.checkpoints / "scored_calls" / KEYS[0] / "Calendar").mkdir(parents=True)
    (home.checkpoints / "filtered_calls" / KEYS[1]).mkdir(parents=True)
    build(runs, home, monkeypatch, KEYS[:2])
    assert runs.started == [
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
        instance.add_dynamic_partitions(BENCHMARK, ["svamp", "asdiv", "lama"])
        instance.add_dynamic_partitions(MODEL, ["base", "finetuned"])
        failures = run_here(instance, {}, [PlannedRun(job, ("any",), tuple(keys))])
    assert asked == ranges
    assert len(failures) == len(ranges)
