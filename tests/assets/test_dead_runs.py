"""Runs whose process was killed; `tests/faults` kills whole commands and compares their rows."""

import json

import dagster as dg
import pytest
from filelock import Timeout

from dagster_project.run_tags import LAUNCHED_BY_UI_TAG, PROCESS_TAG
from dagster_project.runs.run_job import close_dead_runs, dagster_instance, prepare_dagster_home
from toolformer.home.home import Home
from toolformer.home.resources.toolbox import ToolboxResource


@pytest.fixture
def home(tmp_path, monkeypatch) -> Home:
    home = Home(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(home.dagster))
    prepare_dagster_home(home)
    return home


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def test_runs_of_a_process_that_lives_and_of_another_machine_are_left_alone(home: Home):
    process = "process-abc"
    with dg.DagsterInstance.get() as instance:
        # Who started the last is not known: it may be the UI's, and going on.
        run, *others = (
            instance.create_run_for_job(_job(), tags=tags)
            for tags in ({PROCESS_TAG: process}, {PROCESS_TAG: "process-elsewhere"}, {})
        )
        with home.process_lock(process):
            assert close_dead_runs(instance, home) == []
        assert close_dead_runs(instance, home) == [run.run_id]
        assert status(instance, run) == dg.DagsterRunStatus.FAILURE
        left = {status(instance, other) for other in others}
        assert left == {dg.DagsterRunStatus.NOT_STARTED}
    with dagster_instance(home):
        assert len(list((home.root / "locks").glob("process-*"))) == 1
    assert not list((home.root / "locks").glob("process-*"))


def test_a_run_of_the_ui_is_judged_by_the_machine_that_does_it(home: Home, tmp_path):
    server = json.dumps({"host": "localhost", "socket": "/tmp/of-the-machine-that-does-it"})
    elsewhere = Home(home.root, cache=tmp_path / "elsewhere")
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(_job(), tags={LAUNCHED_BY_UI_TAG: server})
        with home.run_lock(run.run_id):
            assert close_dead_runs(instance, home) == []
        assert close_dead_runs(instance, elsewhere) == []
        assert close_dead_runs(instance, home) == [run.run_id]


def test_a_run_holds_its_lock_while_it_goes_on(home: Home, monkeypatch):
    monkeypatch.setenv("TOOLFORMER_HOME", str(home.root))

    @dg.asset
    def looks(context: dg.AssetExecutionContext, toolbox: ToolboxResource) -> None:
        with pytest.raises(Timeout):
            home.run_lock(context.run.run_id).acquire(timeout=0)

    assert dg.materialize([looks], resources={"toolbox": ToolboxResource()}).success
    assert not list((home.root / "locks").iterdir())


def test_process_locks_that_nobody_holds_are_removed(home: Home):
    dead, living = "process-dead", "process-living"
    with home.process_lock(living), dg.DagsterInstance.ephemeral() as instance:
        (home.root / "locks" / f"{dead}.lock").touch()
        assert close_dead_runs(instance, home) == []
        assert [file.stem for file in (home.root / "locks").glob("process-*")] == [living]


def test_a_dagster_yaml_that_is_there_is_left_as_it_is(home: Home):
    written = home.dagster / "dagster.yaml"
    assert "max_concurrent_runs" in written.read_text()
    written.write_text("telemetry: {enabled: false}\n")
    prepare_dagster_home(home)
    assert written.read_text() == "telemetry: {enabled: false}\n"


def _job() -> dg.JobDefinition:
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def empty_job() -> None:
        nothing()

    return empty_job
