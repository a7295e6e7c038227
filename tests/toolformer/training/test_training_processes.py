"""How processes that train are started, watched over and ended."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.toolformer.training.tiny import DEVELOPMENT, PARAMETERS, ROWS
from toolformer.errors import CheckpointError, TrainingError
from toolformer.forward.language_model import LanguageModel
from toolformer.ground.kept_digests import damaged_files
from toolformer.training import training_processes
from toolformer.training.finetuning import finetune
from toolformer.training.training_job import TrainingJob
from toolformer.training.training_processes import train_in_processes
from toolformer.training.training_state import TrainingState

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[3]
SETTINGS = replace(PARAMETERS, learning_rate=1e-3, processes=2)


def is_running(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    # One that ended and was not waited for runs no more.
    return state != "Z"


def running(module: str, folder: Path) -> list[int]:
    """Process ids of a module whose job lies below a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            command = (entry / "cmdline").read_bytes().decode()
            if module in command and str(folder) in command:
                found.append(int(entry.name))
    return found


def workers_of(folder: Path) -> dict[int, int]:
    """Process ids of the workers, by rank."""
    found = {}
    for pid in running("training_worker", folder):
        environment = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        (rank,) = (each[5:] for each in environment if each.startswith("RANK="))
        found[int(rank)] = pid
    return found


def wait_until_ended(process_ids) -> None:
    deadline = time.monotonic() + 20
    while any(map(is_running, process_ids)):
        assert time.monotonic() < deadline, "a process survived"
        time.sleep(0.05)


@pytest.fixture
def train(base, tmp_path):
    """Finetune in two processes; gives the reports and what was logged."""

    def train(name="tuned", *, report=lambda _: None, log=lambda _: None, **changes):
        reports, lines = [], []

        def take(step):
            reports.append(step)
            report(step)

        def take_line(line):
            lines.append(line)
            log(line)

        finetune(
            base,
            tmp_path / name,
            ROWS,
            DEVELOPMENT,
            parameters=replace(SETTINGS, **changes),
            bos_token=None,
            resume_folder=tmp_path / f"{name}-state",
            fingerprint="f1",
            facts={},
            report=take,
            device="cpu",
            log=take_line,
        )
        return reports, lines

    return train


def test_a_worker_that_is_killed_is_named_and_the_run_goes_on_from_its_state(train, tmp_path):
    settings = {"steps": 60, "save_every": 10, "evaluate_every": 30}
    workers, before = {}, []

    def find(line):
        if "of 2 (data_parallel) on cpu" in line:
            workers.update(workers_of(tmp_path))

    def kill_one(step):
        before.append(step)
        if step.step == 17:
            os.kill(workers[1], signal.SIGKILL)

    with pytest.raises(TrainingError) as raised:
        train(report=kill_one, log=find, **settings)
    assert "Process 1 of the 2 processes of the training was ended by SIGKILL" in str(raised.value)
    saved = int(str(raised.value).partition("goes on behind step ")[2].rstrip("."))
    assert saved in range(10, 60, 10)
    wait_until_ended(workers.values())
    assert not (tmp_path / "tuned").exists()
    assert not list((tmp_path / "tuned-state").glob("*.tmp"))

    reports, lines = train(**settings)
    assert [report.step for report in reports] == list(range(1, 61))
    # Those that had been done behind the saved state were done again.
    assert reports[: len(before)] == before
    assert sum("on cpu, float32" in line for line in lines) == 2
    record = json.loads((tmp_path / "tuned" / "toolformer.json").read_text())
    assert record["parameters"]["processes"] == 2
    assert [row["loss"] for row in record["history"]] == [report.loss for report in reports]
    assert damaged_files(tmp_path / "tuned") == {}
    assert LanguageModel.load(tmp_path / "tuned", device="cpu").tokenizer.encode("w5") == [5]
    assert list((tmp_path / "tuned-state").iterdir()) == []


def test_no_worker_survives_the_kill_of_the_process_that_started_it(base, tmp_path):
    script = f"""
from dataclasses import replace
from pathlib import Path
from tests.toolformer.training.tiny import DEVELOPMENT, PARAMETERS, ROWS
from toolformer.training.finetuning import finetune
finetune(
    Path({str(base)!r}), Path({str(tmp_path / "tuned")!r}), ROWS, DEVELOPMENT,
    parameters=replace(PARAMETERS, steps=10**6, processes=2, parallelism="fsdp"),
    bos_token=None, resume_folder=Path({str(tmp_path / "state")!r}), fingerprint="f1", facts={{}},
    report=lambda step: print(step.step, flush=True), device="cpu",
)
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == "1\n"
            workers = workers_of(tmp_path)
        finally:
            parent.kill()
    assert set(workers) == {0, 1}
    wait_until_ended(workers.values())


def test_what_a_worker_has_to_tell_reaches_the_caller(train, tmp_path):
    with pytest.raises(TrainingError, match=r"at step \d+ is nan.*batch-\d+\.json'\.$"):
        train(steps=20, learning_rate=1e30)
    assert len(list((tmp_path / "tuned-state").glob("batch-*.json"))) == 1
    assert not list((tmp_path / "tuned-state").glob("*.tmp"))


@pytest.fixture
def play(base, tmp_path, monkeypatch):
    """Train with somebody else in torchrun's place; gives the pid of the worker it starts."""
    monkeypatch.setattr(training_processes, "_TORCHRUN", "tests.toolformer.training.fake_torchrun")
    seen = []

    def play(part, *, report=lambda _: None, log=lambda _: None):
        def take_line(line):
            seen.append(line)
            log(line)

        job = TrainingJob(
            base=base,
            rows=ROWS,
            development=DEVELOPMENT,
            parameters=SETTINGS,
            bos_token=None,
            device="cpu",
            state_folder=tmp_path,
            fingerprint=part,
        )
        state = TrainingState(tmp_path, fingerprint=part)
        train_in_processes(
            job,
            state,
            report=report,
            log=take_line,
        )

    yield play
    (pid,) = (int(line.split()[1]) for line in seen if line.startswith("worker"))
    wait_until_ended([pid])
    assert not (tmp_path / "job.tmp").exists()


def test_an_interrupted_call_ends_the_processes(play):
    def interrupt(line):
        if line.startswith("worker"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play("waits", log=interrupt)


def test_processes_end_where_torchrun_is_killed(play, tmp_path):
    def kill_torchrun(step):
        (pid,) = running("fake_torchrun", tmp_path)
        os.kill(pid, signal.SIGKILL)

    with pytest.raises(TrainingError, match=r"^torchrun, which watches.*SIGKILL.*begins anew"):
        play("waits", report=kill_torchrun)


@pytest.mark.parametrize(
    ("part", "error", "expected"),
    [
        ("error", CheckpointError, r"^The state is damaged\.$"),
        ("unnamed", TrainingError, r"failed: RuntimeError: ü+ …\. Its traceback is in the log\."),
        ("exit", TrainingError, "Process 1 of the 2 processes .* exit code 3; see the log"),
        ("silent", TrainingError, "^torchrun, which watches .* exit code 1; see the log"),
        ("killed", TrainingError, "Process 1 of the 2 .* SIGKILL .*memory runs out.*run again"),
    ],
)
def test_a_failure_is_told_in_the_words_of_who_knows_best(play, part, error, expected):
    lines = []
    with pytest.raises(error, match=expected):
        play(part, log=lines.append)
    # What libraries print is no message.
    assert {"early", "late"} <= set(lines)


def test_more_processes_than_graphics_devices_are_refused(base, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(TrainingError, match=r"processes is 2, but there are 1 CUDA devices"):
        finetune(
            base,
            tmp_path / "tuned",
            ROWS,
            DEVELOPMENT,
            parameters=SETTINGS,
            bos_token=None,
            resume_folder=tmp_path / "state",
            fingerprint="f1",
            facts={},
            report=lambda _: None,
            device="cuda",
        )
