"""`python -m toolformer.training.torchrun JOB PROCESSES`: what `torchrun --standalone` does.

It starts the processes, watches them, and ends the others when one fails, by torchrun's own
interface: unlike its command line that tells which process failed and how, as data. Does not
train and is not to be called by hand: `toolformer.training.training_processes` does.
"""

import sys
import uuid

from toolformer.training.worker_channel import Channel, end_with_parent

# Those that do not end when told are killed after this. States appear whole, so nothing is lost.
_SECONDS_TO_END = 5


def main() -> None:
    """Start the processes and wait for them."""
    job, processes = sys.argv[1], int(sys.argv[2])
    end_with_parent()
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The processes inherit the parent's pipes; this one keeps nothing but its own way to it.
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        # Else the machine's own name is looked up, which need not be found.
        local_addr="localhost",
        # A second try without a person would end as the first one did.
        max_restarts=0,
        shutdown_timeout=_SECONDS_TO_END,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "toolformer.training.training_worker", job)
    except ChildFailedError as error:
        channel = Channel()
        for rank, failure in error.failures.items():
            channel.send("ended", rank=rank, exit_code=failure.exitcode)
        sys.exit(1)


if __name__ == "__main__":
    main()
