"""The process of a run on Ray: when it ends itself."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id
from sqlalchemy.exc import OperationalError

from dagster_project.ray import run as run_module
from dagster_project.ray.run import why_over

_SOON = 0.01


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


class Seen:
    """What the looks of a watch see, one after the other; the last one stays."""

    def __init__(self, *answers: str | Exception | None):
        self._answers = list(answers)
        self.looks = 0
        self.has_looked_often = threading.Event()
        self.ended: list[str] = []

    def look(self, *_run: object) -> str | None:
        answer = self._answers[min(self.looks, len(self._answers) - 1)]
        self.looks += 1
        if self.looks > len(self._answers) + 3:
            self.has_looked_often.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self, why: str) -> None:
        self.ended.append(why)
        self.has_looked_often.set()


@pytest.mark.parametrize(
    ("answers", "ended", "looks"),
    [
        ((None, "it is FAILURE"), ["it is FAILURE"], 3),
        # It has the time of a look to end by itself.
        ((None, "it is SUCCESS"), ["it is SUCCESS"], 3),
        ((None,), [], 5),
        # Records that cannot be read do not end a run.
        ((OperationalError("select", {}, ConnectionResetError()),), [], 5),
    ],
)
def test_a_process_ends_at_the_second_look_that_says_its_run_is_over(
    answers, ended, looks, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    seen, is_done = Seen(*answers), threading.Event()
    monkeypatch.setattr(run_module, "why_over", seen.look)
    monkeypatch.setattr(run_module, "end_at_once", seen.end)
    watching = threading.Thread(
        target=run_module.watch, args=(instance, "run", is_done), kwargs={"seconds": _SOON}
    )
    watching.start()
    assert seen.has_looked_often.wait(10)
    is_done.set()
    watching.join()
    assert seen.ended == ended
    assert seen.looks >= looks


def add_run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> str:
    run = dg.DagsterRun(job_name="build_dataset", run_id=make_new_run_id(), status=status)
    return instance.add_run(run).run_id


@pytest.mark.parametrize(
    ("status", "is_over"),
    [
        *((status, False) for status in ("STARTING", "STARTED", "CANCELING")),
        *((status, True) for status in ("FAILURE", "CANCELED", "SUCCESS")),
    ],
)
def test_a_run_is_over_when_dagster_closed_or_deleted_it(
    instance: dg.DagsterInstance, status: str, *, is_over: bool
):
    why = why_over(instance, add_run(instance, dg.DagsterRunStatus[status]))
    assert why == (f"it is {status}" if is_over else None)
    assert why_over(instance, make_new_run_id()) == "it is no longer in Dagster's records"


def test_the_end_takes_the_processes_of_the_run_with_it(tmp_path: Path):
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
    # Killed; whoever inherited it may not have buried it yet.
    assert not state.exists() or state.read_text().split()[2] == "Z"
