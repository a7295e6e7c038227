"""Several processes that train one model, started and watched over by `torch.multiprocessing`.

    this process ── one process per device, which puts its steps and errors into a queue

Whatever way this process ends, or the call, they end too.
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

# How often steps are reported and ended processes noticed.
_POLL_SECONDS = 0.1
# For the others to say what they know when one has failed; nothing is lost by ending them.
_SECONDS_TO_END = 5.0


def train_job(job: TrainingJob, report: Callable[[StepReport], None]) -> Progress:
    """Train a job in this very process, or in several, which end before this call does.

    Args:
        job: what to train; what is left of it where its folder has a state.
        report: called after every step, and first for those that were done before.

    Raises:
        TrainingError: one of several processes ended; or there are fewer devices than processes.
        ToolformerError: as `finetune` does.
    """
    state = TrainingState(job.state_folder, fingerprint=job.digest)
    progress = state.load_progress()
    if progress is not None and progress.is_over(job.steps):
        # No model is loaded for a training that has ended.
        for step in progress.history:
            report(step)
        return progress
    processes, devices = job.settings.processes, torch.cuda.device_count()
    if processes == 1:
        # Dropout draws from the global generators; they are given back as they were.
        with torch.random.fork_rng(devices=range(devices)), _memory_explained(job):
            return Trainer(job).run(state, report)
    if job.device.startswith("cuda") and processes > devices:
        raise TrainingError(
            f"training.processes is {processes}, but there are {devices} CUDA devices; expected at "
            "most one process per device. Set training.processes to that."
        )
    # The processes meet here: one that comes after this process has ended finds nobody.
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    queue = get_context("spawn").SimpleQueue()
    threads = max(1, torch.get_num_threads() // processes)
    context = spawn(_work, (job, store.port, threads, queue), processes, join=False)
    assert context is not None
    try:
        is_ended = False
        while not is_ended:
            try:
                is_ended = context.join(_POLL_SECONDS, grace_period=_SECONDS_TO_END)
            finally:
                # An error that a process has put there wins over the notice that it failed.
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
    """Train the job with the others: what each of the processes does."""
    # What the end of the parent sends; a script that runs in the background ignores it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(threads)
    device = f"cuda:{rank}" if job.device.startswith("cuda") else job.device
    try:
        with _memory_explained(job):
            group = join_group(rank, job.settings.processes, port=port, device=device)
            state = TrainingState(job.state_folder, fingerprint=job.digest, group=group)
            sys.stderr.write(f"Process {rank + 1} of {group.size} on {device}, {job.precision}.\n")
            trainer = Trainer(job, device=device, group=group)
            # The steps are the same in all of them.
            trainer.run(state, queue.put if group.is_first else lambda _: None)
            group.wait()
    except ToolformerError as error:
        queue.put(error)
        sys.exit(1)
    distributed.destroy_process_group()


def _error(error: ProcessException, context: ProcessContext, state: TrainingState) -> TrainingError:
    """Return the error to raise: a process that a signal ended before those that missed it."""
    rank, reason = error.error_index, f"failed: {error.msg.strip().splitlines()[-1]}"
    for number, process in enumerate(context.processes):
        # The others are ended by SIGTERM when one has failed.
        if process.exitcode < 0 and process.exitcode != -signal.SIGTERM:
            rank, reason = number, f"was ended by {signal.Signals(-process.exitcode).name}"
            break
    if reason.endswith("SIGKILL"):
        reason += " (the system does that where memory runs out)"
    saved = state.load_progress()
    begins = f"goes on behind step {saved.step}" if saved else "begins anew: no state was saved yet"
    return TrainingError(
        f"Process {rank} of the {len(context.processes)} processes of the training {reason}. "
        f"Nothing that was saved is lost: run again, and it {begins}."
    )


@contextmanager
def _memory_explained(job: TrainingJob) -> Iterator[None]:
    """Say what to do where a model and its training do not fit into memory.

    Raises:
        OutOfMemoryError: instead of the library's own error.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"The memory of device {job.device!r} does not hold {job.base.name!r}, its gradients "
            f"and a micro-batch of {job.settings.micro_batch_tokens} tokens. Lower "
            "training.micro_batch_tokens, set training.gradient_checkpointing or a "
            "training.lora_rank, or divide the model among several GPUs (training.processes). "
            "Saved steps are kept."
        ) from error
