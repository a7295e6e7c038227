"""The process of a run on Ray: when it ends itself."""

import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id
from sqlalchemy.exc import OperationalError

from dagster_project.ray import run as run_module
from dagster_project.ray.run import why_over
from tests.conftest import happens

UNREADABLE = OperationalError("select", {}, ConnectionResetError())


@pytest.mark.parametrize(
    ("answers", "ended"),
    [
        # It has the time of a look to end by itself.
        ([None, "it is SUCCESS", "it is SUCCESS"], ["it is SUCCESS"]),
        ([None, None, "it is FAILURE"], []),
        # Records that cannot be read do not end a run.
        ([UNREADABLE, UNREADABLE, UNREADABLE], []),
    ],
)
def test_a_process_ends_at_the_second_look_that_says_its_run_is_over(
    answers: list, ended: list[str], monkeypatch
):
    is_done = Mock(wait=Mock(side_effect=[False] * len(answers) + [True]))
    looks = Mock(side_effect=answers)
    monkeypatch.setattr(run_module, "why_over", looks)
    told: list[str] = []
    monkeypatch.setattr(run_module, "end_at_once", told.append)
    run_module.watch(Mock(), "run", is_done)
    assert (told, looks.call_count) == (ended, len(answers))


def test_a_run_is_over_when_dagster_closed_or_deleted_it():
    with dg.DagsterInstance.ephemeral() as instance:
        for status in ("STARTING", "STARTED", "CANCELING", "FAILURE", "CANCELED", "SUCCESS"):
            run = dg.DagsterRun("any", make_new_run_id(), status=dg.DagsterRunStatus[status])
            why = why_over(instance, instance.add_run(run).run_id)
            is_over = status in ("FAILURE", "CANCELED", "SUCCESS")
            assert why == (f"it is {status}" if is_over else None)
        assert why_over(instance, make_new_run_id()) == "it is no longer in Dagster's records"


def test_the_end_takes_the_processes_of_the_run_with_it(tmp_path):
    # As Ray starts a run: in a session of its own.
    pid = tmp_path / "child"
    code = (
        "import subprocess, sys; from dagster_project.ray.run import end_at_once; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        f"open({str(pid)!r}, 'w').write(str(child.pid)); end_at_once('it is FAILURE')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert "it is FAILURE" in done.stderr
    state = Path(f"/proc/{pid.read_text()}/stat")

    def is_killed() -> bool:
        try:
            # Whoever inherited it may not have buried it yet.
            return state.read_text().split()[2] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    assert happens(is_killed)
