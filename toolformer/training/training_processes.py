"""Several processes that train one model, started and watched over from here.

    this process ── torchrun.py ── training_worker.py, one per device

Whatever way this process ends, or the call, they end too. Steps, log lines and errors reach the
caller in the thread that called. Does not train and does not write the output.
"""

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from toolformer.errors import (
    CheckpointError,
    ModelNotFoundError,
    OutOfMemoryError,
    TrainingError,
)
from toolformer.training.training_job import TrainingJob
from toolformer.training.training_state import JOB_FOLDER, Progress, StepReport, TrainingState
from toolformer.training.whole_folders import remove, writing

_TORCHRUN = "toolformer.training.torchrun"
_REPOSITORY = Path(__file__).resolve().parents[2]
_ERRORS = {
    error.__name__: error
    for error in (CheckpointError, ModelNotFoundError, OutOfMemoryError, TrainingError)
}
# Of one that was told to end and does not; nothing is lost.
_SECONDS_TO_END = 20.0


def train_in_processes(
    job: TrainingJob,
    state: TrainingState,
    *,
    report: Callable[[StepReport], None],
    log: Callable[[str], None],
) -> Progress:
    """Train a job in `job.parameters.processes` processes.

    Args:
        job: what to do.
        state: of the run, in the folder that the job names.
        report: called after every step, and first for the steps of an interrupted run.
        log: told what the processes say, line by line.

    Returns:
        What `state` tells in the end.

    Raises:
        TrainingError: one of the processes raised it, or ended; or there are fewer devices.
        CheckpointError: the saved state is damaged.
        ModelNotFoundError: there is no usable model to begin with.
        OutOfMemoryError: model and micro-batch do not fit a device.
    """
    _check_devices(job)
    folder = job.state_folder / JOB_FOLDER
    with writing(folder):
        remove([folder])
        folder.mkdir()
    try:
        with writing(folder):
            job.write(folder)
        failures = _run(job, folder, report, log)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if failures:
        state.remove_leftovers()
        raise _error(failures, job, state)
    progress = state.load_progress()
    if progress is None or progress.step < job.parameters.steps:
        raise TrainingError("Training ended before its last step; this is a fault of the program.")
    return progress


def _run(
    job: TrainingJob,
    folder: Path,
    report: Callable[[StepReport], None],
    log: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Run the processes to their end; what they and torchrun told of failures."""
    failures: list[dict[str, Any]] = []
    family = _Family(folder, job.parameters.processes)
    try:
        for source, line in family.said():
            content = _message(line) if source == "channel" else None
            if content is None:
                log(line)
            elif content.pop("kind") == "step":
                report(StepReport(**content))
            else:
                failures.append(content)
    finally:
        family.end()
    if family.exit_code and not failures:
        # torchrun itself was killed.
        failures.append({"rank": None, "exit_code": family.exit_code})
    return failures


def _message(line: str) -> dict[str, Any] | None:
    """What a line of the channel says; None where a library printed it before it was ours."""
    with contextlib.suppress(ValueError):
        content = json.loads(line)
        if isinstance(content, dict) and "kind" in content:
            return content
    return None


class _Family:
    """torchrun and the processes that it started."""

    def __init__(self, folder: Path, processes: int):
        self._process = subprocess.Popen(
            [sys.executable, "-m", _TORCHRUN, str(folder), str(processes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(processes),
            # A Ctrl-C in a terminal reaches the parent alone, which then ends these.
            start_new_session=True,
        )
        self._lines: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._pipes = {"channel": self._process.stdout, "log": self._process.stderr}
        for source, pipe in self._pipes.items():
            threading.Thread(target=self._drain, args=(source, pipe), daemon=True).start()
        threading.Thread(target=self._close_behind, daemon=True).start()
        self._open = len(self._pipes)

    @property
    def exit_code(self) -> int:
        """Of torchrun, which has ended."""
        return self._process.wait()

    def said(self, patience: float | None = None) -> Iterator[tuple[str, str]]:
        """Where each line was said, `channel` or `log`, and the line, until all have ended.

        Args:
            patience: seconds to wait for a line; None waits as long as they run.
        """
        while self._open:
            try:
                source, line = self._lines.get(timeout=patience)
            except queue.Empty:
                return
            if line:
                yield source, line.decode("utf-8", errors="replace").rstrip()
            else:
                # Held by all of them, so it ends with the last one.
                self._open -= 1

    def end(self) -> None:
        """End all of them, and wait until they have."""
        if not self._open:
            # Only torchrun's own last breath is left.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_SECONDS_TO_END)
        self._close_stdin()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for _ in self.said(_SECONDS_TO_END):
            pass

    def _drain(self, source: str, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                self._lines.put((source, line))
        self._lines.put((source, b""))

    def _close_behind(self) -> None:
        # Where torchrun was killed, nobody else would end those that it started.
        self._process.wait()
        self._close_stdin()

    def _close_stdin(self) -> None:
        """What each of them waits for, to end by itself."""
        if self._process.stdin is not None:
            self._process.stdin.close()


def _environment(processes: int) -> dict[str, str]:
    """Ours, with this package to be found, and each process with its share of the cores."""
    import torch

    path = os.pathsep.join(filter(None, (str(_REPOSITORY), os.environ.get("PYTHONPATH"))))
    threads = max(1, torch.get_num_threads() // processes)
    return {
        **os.environ,
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(threads),
    }


def _check_devices(job: TrainingJob) -> None:
    import torch

    processes = job.parameters.processes
    if job.device.startswith("cuda") and processes > torch.cuda.device_count():
        raise TrainingError(
            f"training.processes is {processes}, but there are {torch.cuda.device_count()} CUDA "
            "devices; expected at most one process per device. Set training.processes to that."
        )


def _error(failures: Sequence[dict[str, Any]], job: TrainingJob, state: TrainingState) -> Exception:
    """The error to raise: what a process said of itself before what its end did to others."""
    for failure in failures:
        if error := _ERRORS.get(str(failure.get("error"))):
            return error(failure["message"])
    step = state.saved_step
    begins = f"goes on behind step {step}" if step else "begins anew: no state was saved yet"
    remedy = f"Nothing that was saved is lost: run again, and it {begins}."
    ended = [each for each in failures if "exit_code" in each]
    # A process that misses another one fails too, but with an error; torchrun ends it by SIGTERM.
    for each in ended:
        if each["exit_code"] < 0 and each["exit_code"] != -signal.SIGTERM:
            name = _signal_name(-each["exit_code"])
            why = " (the system does that where memory runs out)" if name == "SIGKILL" else ""
            return TrainingError(f"{_name(each, job)} was ended by {name}{why}. {remedy}")
    for each in failures:
        if each.get("message"):
            return TrainingError(
                f"A process of the training failed: {each['message']}. Its traceback is in the "
                f"log. {remedy}"
            )
    first = ended[0]
    return TrainingError(
        f"{_name(first, job)} ended with exit code {first['exit_code']}; see the log. {remedy}"
    )


def _name(failure: Mapping[str, Any], job: TrainingJob) -> str:
    if failure["rank"] is None:
        return "torchrun, which watches over the processes of the training,"
    return f"Process {failure['rank']} of the {job.parameters.processes} processes of the training"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
