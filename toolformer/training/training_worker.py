"""`python -m toolformer.training.training_worker JOB`: one of several processes that train.

`torchrun` starts it and says by its environment which one it is. Does not write the output: the
process that waits for all of them does.
"""

import os
import sys
from dataclasses import asdict
from pathlib import Path

from toolformer.errors import ToolformerError
from toolformer.training.process_group import group_of
from toolformer.training.trainer import Trainer, memory_explained
from toolformer.training.training_job import TrainingJob
from toolformer.training.training_state import StepReport, TrainingState
from toolformer.training.worker_channel import Channel, end_with_parent


def main() -> None:
    """Train the job with the others."""
    end_with_parent()
    channel = Channel()
    try:
        job = TrainingJob.read(Path(sys.argv[1]))
        with memory_explained(job):
            _train(job, channel)
    except ToolformerError as error:
        channel.send("error", error=type(error).__name__, message=str(error))
        sys.exit(1)
    except Exception as error:
        # What has no name of ours has a traceback, on standard error.
        channel.send("error", error=None, message=f"{type(error).__name__}: {error}")
        raise


def _train(job: TrainingJob, channel: Channel) -> None:
    from torch import distributed

    is_cuda = job.device.startswith("cuda")
    device = f"cuda:{os.environ['LOCAL_RANK']}" if is_cuda else job.device
    group = group_of(job.parameters.parallelism, device)
    state = TrainingState(job.state_folder, fingerprint=job.fingerprint, group=group)
    trainer = Trainer(job, device=device, group=group)
    # The steps are the same in all of them.
    sys.stderr.write(
        f"Process {group.rank + 1} of {group.size} ({job.parameters.parallelism}) on {device}, "
        f"{trainer.precision}.\n"
    )

    def report(step: StepReport) -> None:
        if group.is_first:
            channel.send("step", **asdict(step))

    trainer.run(state, report)
    group.wait()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
