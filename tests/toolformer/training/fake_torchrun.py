"""Stands where torchrun does, without torch: starts one worker of its own and says what it is told.

The job's fingerprint tells which part to play.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from toolformer.training.worker_channel import Channel, end_with_parent

STEP = {"loss": 1.0, "learning_rate": 1.0, "tokens": 1, "development_perplexity": None}


def main():
    role = sys.argv[1]
    end_with_parent()
    if role == "worker":
        time.sleep(600)
    part = json.loads((Path(role) / "job.json").read_text())["fingerprint"]
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.toolformer.training.fake_torchrun", "worker"],
        # As torchrun does: a signal to our group does not reach it.
        start_new_session=True,
    )
    sys.stderr.write(f"worker {worker.pid}\n")
    print("early", flush=True)  # noqa: T201
    channel = Channel()
    print("late", flush=True)  # noqa: T201
    channel.send("step", step=1, **STEP)
    if part == "waits":
        time.sleep(600)
    worker.kill()
    if part == "error":
        channel.send("error", error=None, message="RuntimeError: Connection closed by peer")
        channel.send("error", error="CheckpointError", message="The state is damaged.")
    if part == "unnamed":
        channel.send("error", error=None, message=f"RuntimeError: {'ü' * 9000}")
    if part == "exit":
        channel.send("ended", rank=1, exit_code=3)
    if part == "killed":
        channel.send("error", error=None, message="RuntimeError: Connection closed by peer")
        channel.send("ended", rank=0, exit_code=1)
        channel.send("ended", rank=1, exit_code=-9)
    sys.exit(1)


if __name__ == "__main__":
    main()
