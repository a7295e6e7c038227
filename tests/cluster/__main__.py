"""`python -m tests.cluster FOLDER MODEL`: a cluster is built, shaken, and judged.

It runs within `namespace.apart`. What is wrong is said on standard error. Exit code 0: nothing;
1: something; 2: the cluster did not come to its end.
"""

import sys
import tempfile
from pathlib import Path

from tests.cluster import namespace, verdict
from tests.cluster.cluster import cluster
from tests.cluster.scenario import Course, play
from tests.cluster.work import start_reference, write_settings
from tests.homes import command
from tests.processes import ServiceError, finish

_REFERENCE_SECONDS, _SEED_SECONDS = 240.0, 120.0
_WORDS_SHOWN = 3000


def run(folder: Path, model: Path) -> list[str]:
    """Build the cluster and the reference, let it happen; what is wrong in the end."""
    course = Course()
    reference = folder / "reference"
    with cluster(folder, model) as made:
        course.reached("nodes")
        building = start_reference(reference, model, folder / "reference.log")
        write_settings(made.head.disk / "home")
        seeding = made.head.run(command("cli", "cluster", "seed"), log="seed")
        finish(seeding, "cluster seed", seconds=_SEED_SECONDS)
        course.reached("store has the settings")
        play(made, course)
        finish(building, "the reference", seconds=_REFERENCE_SECONDS)
        course.reached("reference")
        wrong = verdict.wrong(made, course, reference)
        course.reached("verdict")
        return wrong


def main() -> int:
    """Run, and say what is wrong."""
    folder, model = map(Path, sys.argv[1:])
    namespace.raise_loopback()
    # Others than its owner work there too: PostgreSQL does not run as root.
    folder.chmod(0o755)
    tempfile.tempdir = str(folder)
    try:
        wrong = run(folder, model)
    except (ServiceError, RuntimeError) as error:
        # What is wrong comes last: the end of a long output is what is kept of it.
        sys.stderr.write(f"{last_words(folder)}\n{error}\n")
        return 2
    if wrong:
        sys.stderr.write("\n".join([last_words(folder), *wrong, ""]))
    return int(bool(wrong))


def last_words(folder: Path) -> str:
    """The ends of all logs."""
    logs = [*folder.glob("*.log"), *folder.glob("logs/*.log")]
    logs += folder.glob("*/ray/session_2*/logs/job-driver-*.log")
    return "\n".join(
        f"--- {log.name}\n{log.read_text(errors='replace')[-_WORDS_SHOWN:]}" for log in logs
    )


if __name__ == "__main__":
    sys.exit(main())
