"""Runs whose process was killed; `tests/faults` kills whole commands and compares their rows."""

import json
import socket
import tempfile
from pathlib import Path

import dagster as dg
import pytest

from dagster_project.home import Home
from dagster_project.run_tags import LAUNCHED_BY_UI_TAG, PROCESS_TAG
from dagster_project.runs.run_job import (
    close_dead_runs,
    dagster_instance,
    prepare_dagster_home,
)
from toolformer.files.whole_files import host_digits


def test_runs_of_a_process_that_lives_are_left_alone(tmp_path: Path):
    home = Home(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home.dagster))
        prepare_dagster_home(home)
        with dg.DagsterInstance.get() as instance:
            process = f"process-{host_digits()}-abc"
            tags = {PROCESS_TAG: process}
            run = instance.create_run_for_job(_job(), tags=tags)
            others = instance.create_run_for_job(_job())
            with home.process_lock(process):
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


def test_runs_of_another_machine_are_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home = Home(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(home.dagster))
    prepare_dagster_home(home)
    with dg.DagsterInstance.get() as instance:
        here, elsewhere = (
            instance.create_run_for_job(_job(), tags={PROCESS_TAG: f"process-{machine}-abc"})
            for machine in (host_digits(), "0ther0")
        )
        assert close_dead_runs(instance, home) == [here.run_id]
        left = instance.get_run_by_id(elsewhere.run_id)
        assert left is not None
        assert left.status == dg.DagsterRunStatus.NOT_STARTED


def test_process_locks_that_nobody_holds_are_removed(tmp_path: Path):
    home = Home(tmp_path)
    dead, living = (f"process-{host_digits()}-{name}" for name in ("dead", "living"))
    with home.process_lock(living), dg.DagsterInstance.ephemeral() as instance:
        (tmp_path / "locks" / f"{dead}.lock").touch()
        assert close_dead_runs(instance, home) == []
        assert [file.stem for file in (tmp_path / "locks").iterdir()] == [living]


def test_a_dagster_yaml_that_is_there_is_left_as_it_is(tmp_path: Path):
    home = Home(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home.dagster))
        prepare_dagster_home(home)
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
