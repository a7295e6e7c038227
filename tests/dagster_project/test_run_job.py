"""How a run is started and recorded."""

import sqlite3

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id
from sqlalchemy.exc import OperationalError

from dagster_project.commands.errors import explained_errors
from dagster_project.run_tags import PROCESS_TAG, process_of
from dagster_project.runs.run_job import dagster_instance, failure_of, run_job
from toolformer.home.home import Home


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("database or disk is full", "Free some space"),
        ("malformed database schema (jobs)", "move the folder away"),
        ("unable to open database file", "df -i"),
        ("database is locked", "run the same command again"),
        ("attempt to write a readonly database", "is writable"),
    ],
)
def test_records_that_cannot_be_written_or_read_are_one_paragraph(
    home: Home, capsys, monkeypatch, told: str, words: str
):
    def fail(_reference: object) -> None:
        raise OperationalError("INSERT", {}, sqlite3.OperationalError(told))

    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setattr(dg.DagsterInstance, "from_ref", fail)
    with pytest.raises(SystemExit), explained_errors(), dagster_instance(home):
        pytest.fail("there is no instance")
    assert words in capsys.readouterr().err


def test_a_lost_run_says_what_dagster_says_of_its_end():
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.add_run(dg.DagsterRun("build_dataset", make_new_run_id()))
        instance.report_run_failed(run, "The node was lost.")
        events = [entry.dagster_event for entry in instance.all_logs(run.run_id)]
    error = failure_of([event for event in events if event], run.run_id)
    assert "The node was lost." in str(error)


def test_a_run_of_a_command_is_one_of_the_code_location_that_the_ui_shows(home: Home, monkeypatch):
    monkeypatch.setenv("TOOLFORMER_HOME", str(home.root))
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.setenv("LOGNAME", "anna")
    monkeypatch.setattr("sys.argv", ["cli.py", "ingest", "a b", "\udcff.txt"])
    with dagster_instance(home) as instance:
        run_job(instance, "train", resources={}, assets=["call_statistics"])
        # The filter of its pages.
        ours = dg.RunsFilter(tags={".dagster/repository": "__repository__@toolformer"})
        (run,) = instance.get_runs(ours)
    assert (run.job_name, run.status) == ("train", dg.DagsterRunStatus.SUCCESS)
    assert run.tags["toolformer/user"] == "anna"
    assert run.tags["toolformer/command"] == r"toolformer ingest 'a b' '\udcff.txt'"
    # What the UI does again is no longer the command's.
    assert process_of(run.tags) == run.tags[PROCESS_TAG]
    assert process_of({**run.tags, "dagster/parent_run_id": run.run_id}) is None


def test_what_a_command_records_waits_for_no_disk_and_is_whole_when_it_ends(
    home: Home, monkeypatch
):
    monkeypatch.setenv("DAGSTER_HOME", "")
    index = home.dagster / "history" / "runs" / "index.db"
    log = index.with_name("index.db-wal")
    modes = []

    def record(instance: dg.DagsterInstance, asset: str) -> None:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset))
        with instance.event_log_storage.index_connection() as connection:
            modes.append(connection.exec_driver_sql("PRAGMA synchronous").scalar())

    with dagster_instance(home) as instance:
        record(instance, "first")
        before = index.read_bytes()
        record(instance, "second")
        # The log is not copied into the file behind each event, and a commit is not synced.
        assert (index.read_bytes(), log.stat().st_size > 0) == (before, True)
    assert modes == [1, 1]
    assert not log.exists()
    with dagster_instance(home) as instance:
        assert {key.path[0] for key in instance.all_asset_keys()} == {"first", "second"}
