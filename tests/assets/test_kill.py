"""A build that is killed: nothing is lost or left over, and the next one goes on at once."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from dagster_project.home import Home
from dagster_project.runs.run_job import (
    PROCESS_TAG,
    close_dead_runs,
    dagster_instance,
    prepare_dagster_home,
)
from tests.assets.conftest import MakeHome, PipelineHome, assert_equal_builds
from toolformer.forward.checkpoint import COST

UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


def wait_until(happened: Callable[[], bool], *, seconds: float) -> float:
    """Seconds waited until something happened."""
    began = time.monotonic()
    while not happened():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.02)
    return time.monotonic() - began


def finished_steps(home: PipelineHome) -> list[Path]:
    files = (home.home.checkpoints / "candidate_calls").rglob("*.json")
    return sorted(file for file in files if file.stem != COST)


@pytest.mark.model
@pytest.mark.java
@pytest.mark.slow
def test_a_build_killed_while_sampling_goes_on_and_ends_with_equal_rows(
    prepared_home: PipelineHome, built_home: PipelineHome, copy_of: MakeHome, tmp_path: Path
):
    home = copy_of(prepared_home)
    command = [sys.executable, "-m", "dagster_project.cli", "build"]
    log = tmp_path / "log"
    with log.open("w") as output:
        killed = subprocess.Popen(
            command, env=home.environment(), stdout=output, stderr=output, start_new_session=True
        )
        try:
            wait_until(lambda: bool(finished_steps(home)) or killed.poll() is not None, seconds=120)
        finally:
            os.killpg(killed.pid, signal.SIGKILL)
            killed.wait()
    steps = finished_steps(home)
    assert steps, log.read_text()
    runs = home.run_ids("build_dataset")
    with home.instance() as instance:
        assert instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED)) == 1

    began_at = time.time()
    done = home.command("build")
    assert done.returncode == 0, done.stderr
    with home.instance() as instance:
        (new_run,) = set(home.run_ids("build_dataset")) - set(runs)
        messages = {
            entry.user_message: entry.timestamp
            for entry in instance.all_logs(new_run)
            if "going on after" in entry.user_message
        }
        assert len(messages) == 1, messages
        ((message, said_at),) = messages.items()
        assert f"going on after {len(steps)} finished steps" in message
        # Before a silent daemon would have been waited for.
        assert said_at - began_at < 100
        # The killed run is not taken for one that still goes on.
        (old_run,) = runs
        record = instance.get_run_by_id(old_run)
        assert record is not None
        assert record.status == dg.DagsterRunStatus.FAILURE
        assert instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED)) == 0
    assert_equal_builds(home.all_rows(), built_home.all_rows())
    assert not list(home.home.root.rglob("*.tmp"))
    assert not finished_steps(home)
    assert not list((home.home.root / "locks").glob("process-*"))


def test_runs_of_a_process_that_lives_are_left_alone(tmp_path: Path):
    home = Home(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home.dagster))
        prepare_dagster_home(home)
        with dg.DagsterInstance.get() as instance:
            tags = {PROCESS_TAG: "process-abc"}
            run = instance.create_run_for_job(_job(), tags=tags)
            others = instance.create_run_for_job(_job())
            with home.process_lock("process-abc"):
                assert close_dead_runs(instance, home) == []
            assert close_dead_runs(instance, home) == [run.run_id]
            closed, left = (instance.get_run_by_id(each.run_id) for each in (run, others))
            assert closed is not None
            assert closed.status == dg.DagsterRunStatus.FAILURE
            # Who started it is not known: it may be the UI's, and going on.
            assert left is not None
            assert left.status == dg.DagsterRunStatus.NOT_STARTED
        with dagster_instance(home):
            assert len(list((tmp_path / "locks").glob("process-*"))) == 1
        assert not list((tmp_path / "locks").glob("process-*"))


def _job() -> dg.JobDefinition:
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def empty_job() -> None:
        nothing()

    return empty_job
