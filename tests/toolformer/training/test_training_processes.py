"""How processes that train are started, watched over and ended."""

import contextlib
import json
import os
import subprocess
import sys
from functools import partial

import psutil
import pytest

from tests.conftest import REPOSITORY, happens
from tests.toolformer.training.tiny import ROWS
from toolformer.errors import TrainingError
from toolformer.forward.language_model import LanguageModel
from toolformer.training.training_rows import TrainingRow

pytestmark = pytest.mark.slow


def children_of(parent: int) -> list[psutil.Process]:
    """The training processes that a process has started, in their order."""
    found = []
    for child in psutil.Process(parent).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return sorted(found, key=lambda child: child.pid)


def is_running(process: psutil.Process) -> bool:
    # One that ended and was not waited for runs no more.
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def all_end(processes: list[psutil.Process]) -> bool:
    return happens(lambda: not any(map(is_running, processes)))


@pytest.fixture
def train(run):
    """Finetune in two processes."""
    return partial(run, learning_rate=1e-3, processes=2)


def test_a_worker_that_is_killed_is_named_and_the_run_goes_on_from_its_state(train, tmp_path):
    settings = {"steps": 24, "save_every": 10, "evaluations": 2}
    workers, before = [], []

    def kill_one(step):
        before.append(step)
        if step.step == 17:
            workers.extend(children_of(os.getpid()))
            workers[1].kill()

    with pytest.raises(TrainingError) as raised:
        train(told=kill_one, **settings)
    assert "Process 1 of the 2 training processes was ended by SIGKILL" in str(raised.value)
    saved = int(str(raised.value).partition("resumes after step ")[2].rstrip("."))
    assert saved in (10, 20)
    assert all_end(workers)
    assert not (tmp_path / "tuned").exists()
    assert not list((tmp_path / "tuned-state").glob("*.tmp"))

    _, reports = train(**settings)
    assert [report.step for report in reports] == list(range(1, 25))
    # Those that had been done behind the saved state were done again.
    assert reports[: len(before)] == before
    record = json.loads((tmp_path / "tuned" / "toolformer.json").read_text())
    assert record["parameters"]["processes"] == 2
    assert [row["loss"] for row in record["history"]] == [report.loss for report in reports]
    assert LanguageModel.load(tmp_path / "tuned", device="cpu").tokenizer.encode("$") == [5]
    assert list((tmp_path / "tuned-state").iterdir()) == []


def test_no_worker_survives_the_kill_of_the_process_that_started_it(base, tmp_path):
    script = f"""
from pathlib import Path
from tests.toolformer.training.tiny import training_job
from toolformer.training.finetuning import finetune
state = Path({str(tmp_path / "state")!r})
job = training_job(Path({str(base)!r}), state, steps=10**6, processes=2)
report = lambda step: print(step.step, flush=True)
finetune(job, Path({str(tmp_path / "tuned")!r}), facts={{}}, report=report)
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == "1\n"
            workers = children_of(parent.pid)
        finally:
            parent.kill()
    assert len(workers) == 2
    assert all_end(workers)


def test_an_interrupted_call_ends_the_processes(train):
    workers = []

    def interrupt(step):
        workers.extend(children_of(os.getpid()))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(steps=10**6, told=interrupt)
    assert len(workers) == 2
    assert all_end(workers)


class FaultyKinds(bytes):
    """Raises in the processes that train: only they look at each token."""

    def __iter__(self):
        raise RuntimeError("a fault of a library")


def test_a_process_that_fails_is_named_with_the_reason(train):
    expected = r"Process \d of the 2 .* failed: RuntimeError: a fault of .* again.* the beginning"
    with pytest.raises(TrainingError, match=expected):
        train(rows=[TrainingRow(row.ids, FaultyKinds(row.kinds)) for row in ROWS])
