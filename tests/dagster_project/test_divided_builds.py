"""How a build is divided into runs, and what follows on one that failed; nothing is run."""

from collections import deque
from pathlib import Path

import pytest

from assets.pipeline import PIPELINE
from dagster_project.commands import building
from dagster_project.commands.options import RunOptions
from dagster_project.expected_errors import RunFailedError
from dagster_project.home import Home
from dagster_project.partitions import SHARD
from dagster_project.runs.plan import PlannedSlice
from dagster_project.runs.planned_run import PlannedRun
from dagster_project.runs.run_job import dagster_instance
from dagster_project.settings.sections import Settings, validated

KEYS = [f"shard-{number:05d}" for number in range(6)]

STAGES = PIPELINE.names


class Runs:
    """Has no run done; the first one over a shard that is bad fails in a stage."""

    is_here = False

    def __init__(self, *, most: int | None = None, bad: str = "", stage: str = ""):
        self.most_shards = most
        self.bad, self.stage = bad, stage
        self.started: list[PlannedRun] = []
        self._waiting: deque[PlannedRun] = deque()

    def start(self, run: PlannedRun) -> None:
        self.started.append(run)
        self._waiting.append(run)

    def next_ended(self) -> tuple[PlannedRun, RunFailedError | None] | None:
        if not self._waiting:
            return None
        run = self._waiting.popleft()
        if self.bad not in run.partitions:
            return run, None
        return run, RunFailedError(f"{self.bad} is bad", [self.bad], [self.stage])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("TOOLFORMER_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", "")
    home = Home(tmp_path)
    with dagster_instance(home) as instance:
        instance.add_dynamic_partitions(SHARD, KEYS)
    return home


def build(
    runs: Runs,
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    todo: list[str],
) -> None:
    def runs_of(_instance: object, _options: RunOptions, _settings: Settings, *, on_ray: bool):
        assert on_ray
        return runs

    monkeypatch.setattr(building, "runs_of", runs_of)
    settings = validated({}, origin="test")
    plan = [PlannedSlice(shard, table, "all", "missing") for shard in todo for table in STAGES]
    building._build(RunOptions(), home, settings, plan, on_ray=True)


def shards_of(runs: Runs) -> list[tuple[str, ...]]:
    return [run.partitions for run in runs.started]


def test_without_a_bound_neighbours_are_one_run(home: Home, monkeypatch: pytest.MonkeyPatch):
    runs = Runs()
    build(runs, home, monkeypatch, KEYS)
    assert shards_of(runs) == [tuple(KEYS)]


def test_a_run_takes_no_more_shards_than_the_bound(home: Home, monkeypatch: pytest.MonkeyPatch):
    runs = Runs(most=2)
    # One is missing: a run is over neighbours alone.
    build(runs, home, monkeypatch, [*KEYS[:3], *KEYS[4:]])
    assert shards_of(runs) == [tuple(KEYS[:2]), (KEYS[2],), tuple(KEYS[4:])]


def test_the_others_go_on_behind_the_stage_in_which_one_failed(
    home: Home, monkeypatch: pytest.MonkeyPatch
):
    runs = Runs(most=3, bad=KEYS[1], stage="executed_calls")
    with pytest.raises(RunFailedError, match="shard-00001 is bad"):
        build(runs, home, monkeypatch, KEYS)
    behind = ("scored_calls", "filtered_calls", "augmented_texts")
    assert runs.started[2:] == [
        PlannedRun("build_dataset", behind, (KEYS[0],)),
        PlannedRun("build_dataset", behind, (KEYS[2],)),
    ]


def test_only_the_stages_run_that_have_something_to_make(
    home: Home, monkeypatch: pytest.MonkeyPatch
):
    runs = Runs()
    monkeypatch.setattr(f"{__name__}.STAGES", ("augmented_texts", "filtered_calls"))
    build(runs, home, monkeypatch, KEYS)
    stages = ("filtered_calls", "augmented_texts")
    assert runs.started == [PlannedRun("build_dataset", stages, tuple(KEYS))]


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
