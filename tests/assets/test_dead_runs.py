"""Runs whose process was killed; `tests/faults` kills whole commands and compares their rows."""

import json
import socket
import tempfile
from pathlib import Path

import dagster as dg
import pytest

from dagster_project.run_tags import LAUNCHED_BY_UI_TAG, PROCESS_TAG
from dagster_project.runs.run_job import (
    close_dead_runs,
    dagster_instance,
    prepare_dagster_home,
)
from toolformer.files.whole_files import host_digits
from toolformer_home.home import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    home = Home(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(home.dagster))
    prepare_dagster_home(home)
    return home


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def test_runs_of_a_process_that_lives_and_of_another_machine_are_left_alone(home: Home):
    process = f"process-{host_digits()}-abc"
    with dg.DagsterInstance.get() as instance:
        # Who started the last is not known: it may be the UI's, and going on.
        run, *others = (
            instance.create_run_for_job(_job(), tags=tags)
            for tags in ({PROCESS_TAG: process}, {PROCESS_TAG: "process-0ther0-abc"}, {})
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


def test_a_run_of_the_ui_is_left_alone_until_its_server_has_ended_whatever_the_clock_says():
    # In a folder with a short name, as sockets need it.
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral() as instance:
        path = f"{folder}/socket"
        run = instance.create_run_for_job(
            _job(), tags={LAUNCHED_BY_UI_TAG: json.dumps({"host": "localhost", "socket": path})}
        )
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            # No daemon has signed on for long, as after a sleep of the machine.
            assert close_dead_runs(instance, Home(Path(folder))) == []
        assert close_dead_runs(instance, Home(Path(folder))) == [run.run_id]


def test_process_locks_that_nobody_holds_are_removed(home: Home):
    dead, living = (f"process-{host_digits()}-{name}" for name in ("dead", "living"))
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
