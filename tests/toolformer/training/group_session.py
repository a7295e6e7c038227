"""Trains jobs one after the other, in each process that `torchrun` starts of this module.

    python -m torch.distributed.run … -m tests.toolformer.training.group_session FOLDER

Starting processes takes seconds, training a tiny model does not: so many jobs share one start. The
folder holds `plan.json`, a list of entries with a name, the folder of a job, and what is to happen:
`stops_at` a step, with a copy of its state in the folder's `kept`; from a step on the disk of the
second process is full (`disk_full_from`). What came of each, the steps and the error if there was
one, goes into `results-<rank>.json`.
"""

import errno
import json
import os
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

from toolformer.errors import ToolformerError
from toolformer.training.process_group import group_of
from toolformer.training.trainer import Trainer
from toolformer.training.training_job import TrainingJob
from toolformer.training.training_state import TrainingState


class StopError(Exception):
    """As sudden as a kill, for the folder of the state."""


def full_disk(descriptor):
    raise OSError(errno.ENOSPC, "No space left on device")


def train(entry: dict) -> dict:
    """One job in this process; the others do the same."""
    job = TrainingJob.read(Path(entry["job"]))
    # Several entries may go on with one job, divided otherwise.
    parameters = replace(job.parameters, parallelism=entry["parallelism"])
    job = replace(job, parameters=parameters)
    group = group_of(parameters.parallelism, job.device)
    steps, error, flush = [], None, os.fsync

    def report(step):
        steps.append(asdict(step))
        if step.step == entry.get("disk_full_from") and group.rank == 1:
            os.fsync = full_disk
        if step.step == entry.get("stops_at"):
            raise StopError

    try:
        state = TrainingState(job.state_folder, fingerprint=job.fingerprint, group=group)
        Trainer(job, group=group).run(state, report)
    except (StopError, ToolformerError) as raised:
        error = f"{type(raised).__name__}: {raised}"
    finally:
        os.fsync = flush
    if "stops_at" in entry and group.is_first:
        shutil.copytree(job.state_folder, Path(entry["job"]) / "kept")
    group.wait()
    return {"steps": steps, "error": error}


def main():
    from torch import distributed

    folder = Path(sys.argv[1])
    plan = json.loads((folder / "plan.json").read_text())
    results = {entry["name"]: train(entry) for entry in plan}
    rank = os.environ["RANK"]
    (folder / f"results-{rank}.json").write_text(json.dumps(results))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
