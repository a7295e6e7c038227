"""How a run is started, without starting one."""

import sqlite3
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id
from sqlalchemy.exc import OperationalError

from dagster_project.commands.errors import errors_told
from dagster_project.home import Home
from dagster_project.runs.run_job import dagster_instance, failure_of


def open_instance(told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_reference: object) -> None:
        raise OperationalError("INSERT", {}, sqlite3.OperationalError(told))

    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setattr(dg.DagsterInstance, "from_ref", fail)
    with errors_told(), dagster_instance(Home(tmp_path)):
        pytest.fail("there is no instance")


def test_a_disk_too_full_for_dagsters_records_is_one_paragraph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        open_instance("database or disk is full", tmp_path, monkeypatch)
    told = capsys.readouterr().err
    assert "The disk is full" in told
    assert "Free some space" in told


def test_damaged_records_of_dagster_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        open_instance("malformed database schema (jobs)", tmp_path, monkeypatch)
    message = capsys.readouterr().err
    assert "are damaged: malformed database schema (jobs)" in message
    assert "Move the folder aside" in message


def test_a_lost_run_says_what_dagster_says_of_its_end():
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.add_run(dg.DagsterRun("build_dataset", make_new_run_id()))
        instance.report_run_failed(run, "The node was lost.")
        events = [entry.dagster_event for entry in instance.all_logs(run.run_id)]
    error = failure_of([event for event in events if event], run.run_id)
    assert "The node was lost." in str(error)
    assert (error.finished_shards, error.failed_assets) == ((), ())
