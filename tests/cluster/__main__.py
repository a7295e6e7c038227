"""`python -m tests.cluster FOLDER MODEL`: build a cluster, kill a node, judge the rows.

It runs within `test_cluster.apart`. What is wrong is written to standard error. Exit code 0:
nothing; 1: something; 2: the cluster did not come to its end.
"""

import fcntl
import socket
import struct
import sys
from pathlib import Path

from tests.cluster.cluster import cluster
from tests.cluster.scenario import differences, play, say, start_reference
from tests.processes import ServiceError, finish

_REFERENCE_SECONDS = 240.0
_SET_FLAGS, _UP = 0x8914, 0x1


def run(folder: Path, model: Path) -> list[str]:
    """Play the scenario beside a build of the reference; returns what is wrong in the end."""
    reference = folder / "reference"
    with cluster(folder, model) as made:
        say("two nodes")
        building = start_reference(reference, model, folder / "reference.log")
        wrong = play(made)
        finish(building, "the reference", seconds=_REFERENCE_SECONDS)
        return wrong + differences(made.home, reference)


def main() -> int:
    """Run, and say what is wrong."""
    folder, model = map(Path, sys.argv[1:])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sH14x", b"lo", _UP))
    # Others than its owner work there too: PostgreSQL does not run as root.
    folder.chmod(0o755)
    try:
        wrong = run(folder, model)
    except (ServiceError, RuntimeError) as error:
        # The cause comes last: only the end of a long output is kept.
        sys.stderr.write(f"{last_words(folder)}\n{error}\n")
        return 2
    if wrong:
        sys.stderr.write("\n".join([last_words(folder), *wrong, ""]))
    return int(bool(wrong))


def last_words(folder: Path) -> str:
    """The ends of all logs."""
    logs = [*folder.glob("*.log"), *folder.glob("ray/session_2*/logs/job-driver-*.log")]
    return "\n".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in logs)


if __name__ == "__main__":
    sys.exit(main())
