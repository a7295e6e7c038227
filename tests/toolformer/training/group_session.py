"""Trains jobs one after the other, in each of two processes.

Starting processes takes seconds, training a tiny model does not: so many jobs share one start.
What came of each entry, the steps and the error if there was one, goes into `results-<rank>.json`.
"""

import errno
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import distributed

from toolformer.errors import ToolformerError
from toolformer.training.process_group import ProcessGroup, join_group
from toolformer.training.trainer import Trainer
from toolformer.training.training_job import TrainingJob
from toolformer.training.training_state import TrainingState


@dataclass(frozen=True)
class Entry:
    """A job, and what is to happen to it.

    Attributes:
        name: of the entry.
        job: what to train.
        stops_at: step at which it is stopped, with a copy of its state in `kept`.
        disk_full_from: step from which the disk of the second process is full.
    """

    name: str
    job: TrainingJob
    stops_at: int | None = None
    disk_full_from: int | None = None


class StopError(Exception):
    """As sudden as a kill, for the folder of the state."""


def full_disk(descriptor):
    raise OSError(errno.ENOSPC, "No space left on device")


def train(entry: Entry, folder: Path, group: ProcessGroup) -> dict:
    """One job in this process; the others do the same."""
    job = entry.job
    steps, error, flush = [], None, os.fsync

    def report(step):
        steps.append(asdict(step))
        if step.step == entry.disk_full_from and group.rank == 1:
            os.fsync = full_disk
        if step.step == entry.stops_at:
            raise StopError

    try:
        state = TrainingState(job.state_folder, fingerprint=job.fingerprint, group=group)
        Trainer(job, group=group).run(state, report)
    except (StopError, ToolformerError) as raised:
        error = f"{type(raised).__name__}: {raised}"
    finally:
        os.fsync = flush
    if entry.stops_at is not None and group.is_first:
        shutil.copytree(job.state_folder, folder / "kept" / entry.name)
    group.wait()
    return {"steps": steps, "error": error}


def train_all(rank: int, folder: Path, entries: list[Entry], port: int) -> None:
    """All entries in one of two processes."""
    torch.set_num_threads(1)
    group = join_group(rank, 2, port=port, device="cpu")
    results = {entry.name: train(entry, folder, group) for entry in entries}
    (folder / f"results-{rank}.json").write_text(json.dumps(results))
    distributed.destroy_process_group()
