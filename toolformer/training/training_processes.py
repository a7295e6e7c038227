"""Trains a job in this process, or starts and supervises one process per device.

The first worker reports its steps through a queue, and every worker reports its errors there.
Workers end when `train_job` returns or this process ends, for whatever reason.
"""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import ProcessContext, ProcessException, spawn

from toolformer.base.loading import is_out_of_memory
from toolformer.errors import OutOfMemoryError, ToolformerError, TrainingError
from toolformer.training.process_group import join_group
from toolformer.training.progress import Progress, StepReport
from toolformer.training.trainer import Trainer
from toolformer.training.training_job import TrainingJob
from toolformer.training.training_state import TrainingState

# Interval for polling the queue and the state of the workers.
_POLL_SECONDS = 0.1
# Time that the other workers have to report their errors after one has failed.
_SECONDS_TO_END = 5.0


def train_job(job: TrainingJob, report: Callable[[StepReport], None]) -> Progress:
    """Train a job, from its saved state if there is one.

    `report` is called first for each completed step of an interrupted run, then after every step.
    """
    state = TrainingState(job.state_folder, fingerprint=job.digest)
    progress = state.load_progress()
    if progress is not None and progress.is_over(job.steps):
        # Skip loading the model: the training is finished.
        for step in progress.history:
            report(step)
        return progress
    processes, devices = job.settings.processes, torch.cuda.device_count()
    if processes == 1:
        # Dropout draws from the global generators, whose state is restored afterwards.
        with torch.random.fork_rng(devices=range(devices)), _explaining_out_of_memory(job):
            return Trainer(job).run(state, report)
    if job.device.startswith("cuda") and processes > devices:
        raise TrainingError(
            f"training.processes is {processes}, but there are {devices} CUDA devices. Expected at "
            f"most one process per device. Set training.processes to at most {devices}."
        )
    # Rendezvous of the workers. It ends with this process, so a worker that starts later fails.
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    queue = get_context("spawn").SimpleQueue()
    threads = max(1, torch.get_num_threads() // processes)
    context = spawn(_work, (job, store.port, threads, queue), processes, join=False)
    assert context is not None
    try:
        has_ended = False
        while not has_ended:
            try:
                has_ended = context.join(_POLL_SECONDS, grace_period=_SECONDS_TO_END)
            finally:
                # An error in the queue takes precedence over the exit status of its process.
                _report_messages(queue, report)
    except ProcessException as error:
        raise _error(error, context, state) from error
    finally:
        started: list[Any] = list(context.processes)
        for process in started:
            process.kill()
            process.join()
        state.remove_leftovers()
    progress = state.load_progress()
    assert progress is not None
    return progress


def _report_messages(queue: Any, report: Callable[[StepReport], None]) -> None:
    while not queue.empty():
        message = queue.get()
        if isinstance(message, ToolformerError):
            raise message
        report(message)


def _work(rank: int, job: TrainingJob, port: int, threads: int, queue: Any) -> None:
    """Train the job together with the other workers; this function runs in each worker."""
    # PyTorch sends SIGINT when the parent ends. Workers of a script that runs in the background
    # would otherwise ignore this signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(threads)
    device = f"cuda:{rank}" if job.device.startswith("cuda") else job.device
    try:
        with _explaining_out_of_memory(job):
            group = join_group(rank, job.settings.processes, port=port, device=device)
            state = TrainingState(job.state_folder, fingerprint=job.digest, group=group)
            sys.stderr.write(f"Process {rank + 1} of {group.size} on {device}, {job.precision}.\n")
            trainer = Trainer(job, device=device, group=group)
            # All workers compute the same steps, so only the first one reports them.
            trainer.run(state, queue.put if group.is_first else lambda _: None)
            group.wait()
    except ToolformerError as error:
        queue.put(error)
        sys.exit(1)
    distributed.destroy_process_group()


def _error(error: ProcessException, context: ProcessContext, state: TrainingState) -> TrainingError:
    """Return the error to raise. A process killed by a signal is named before its victims."""
    rank, reason = error.error_index, f"failed: {error.msg.strip().splitlines()[-1]}"
    for number, process in enumerate(context.processes):
        # When one process has failed, the others are ended by SIGTERM.
        if process.exitcode < 0 and process.exitcode != -signal.SIGTERM:
            rank, reason = number, f"was ended by {signal.Signals(-process.exitcode).name}"
            break
    if reason.endswith("SIGKILL"):
        reason += " (usually because memory ran out)"
    saved = state.load_progress()
    resumes = (
        f"resumes after step {saved.step}"
        if saved
        else "starts from the beginning, since no state was saved yet"
    )
    return TrainingError(
        f"Process {rank} of the {len(context.processes)} training processes {reason}. "
        f"Run the same command again: training {resumes}."
    )


@contextmanager
def _explaining_out_of_memory(job: TrainingJob) -> Iterator[None]:
    """Convert a library's out-of-memory error to an `OutOfMemoryError` that says what to do."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"Device {job.device!r} ran out of memory while training {job.base.name!r} with "
            f"micro-batches of {job.settings.micro_batch_tokens} tokens. Lower "
            "training.micro_batch_tokens, set training.gradient_checkpointing or "
            "training.lora_rank, or shard the model across several GPUs (training.processes). "
            "Training resumes from the last saved state."
        ) from error
