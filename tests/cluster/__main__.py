"""`python -m tests.cluster FOLDER --model MODEL`: a cluster is built, shaken, and judged.

It puts itself into namespaces (`namespace.apart`). The report, `FOLDER/report.json`, has what
happened and when, and what is wrong; the exit code is 1 where something is.
"""

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.cluster import namespace, verdict
from tests.cluster.cluster import Cluster, cluster
from tests.cluster.observed import RunRecord, published
from tests.cluster.processes import ServiceError
from tests.cluster.scenario import Course, play
from tests.cluster.work import command, finish, start_reference, write_settings

REPORT = "report.json"
_REFERENCE_SECONDS, _SEED_SECONDS = 240.0, 120.0
_WORDS_SHOWN = 3000


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it.

    Attributes:
        moments: what was reached, with seconds.
        killed: runs that were killed, by how.
        published: partitions that each run published.
        runs: all of them, in the order in which they were created; times as in `moments`.
        wrong: what is not as it should be.
    """

    moments: list[tuple[float, str]]
    killed: dict[str, str]
    published: dict[str, int]
    runs: list[RunRecord]
    wrong: list[str]


def judge(made: Cluster, course: Course, reference: Path) -> Report:
    """Look at everything once all has ended."""
    home = verdict.seen_by_a_newcomer(made)
    by_run: Counter[str] = Counter()
    for table in ("documents", "candidate_calls", "executed_calls", "filtered_calls"):
        by_run += published(home, table)
    wrong = [
        *verdict.vacuous(course, made, by_run),
        *verdict.wrong_rows(home, reference),
        *verdict.not_made_once(verdict.publications(made), home, has_locks=made.store is None),
        *verdict.torn(home),
        *verdict.left_over(made),
    ]
    course.reached("judged")
    return Report(course.moments, course.killed, dict(by_run), course.timed(made), wrong)


def run(folder: Path, *, model: Path, with_store: bool, with_outages: bool) -> Report:
    """Build the cluster and the reference, let it happen, judge.

    Raises:
        ServiceError: something does not start, or does not come to its end.
    """
    course = Course()
    reference = folder / "reference"
    building = start_reference(reference, model, folder / "reference.log")
    with cluster(folder, model=model, with_store=with_store) as made:
        course.reached("nodes")
        write_settings(made.home_of(made.head))
        if made.store is not None:
            seeding = made.head.run(command("cli", "cluster", "seed"), log="seed")
            finish(seeding, "cluster seed", seconds=_SEED_SECONDS)
            course.reached("store has the settings")
        play(made, course, with_outages=with_outages)
        finish(building, "the reference", seconds=_REFERENCE_SECONDS)
        return judge(made, course, reference)


def main() -> int:
    """Run inside of namespaces; outside of them, start this again inside."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("folder", type=Path, help="empty, with a short path")
    parser.add_argument("--model", type=Path, required=True, help="the embedded one, converted")
    parser.add_argument("--store", action="store_true", help="data in S3, not in a shared folder")
    parser.add_argument(
        "--outages", action="store_true", help="store and PostgreSQL are away for some seconds too"
    )
    parser.add_argument("--is-apart", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if not chosen.is_apart:
        # In place of this process, so that whoever kills it kills them all.
        apart = namespace.apart([sys.executable, "-m", __spec__.name, *sys.argv[1:], "--is-apart"])
        os.execvp(apart[0], apart)
    namespace.raise_loopback()
    # Others than its owner work there too: PostgreSQL does not run as root.
    chosen.folder.chmod(0o755)
    tempfile.tempdir = str(chosen.folder)
    try:
        report = run(
            chosen.folder,
            model=chosen.model,
            with_store=chosen.store,
            with_outages=chosen.outages,
        )
    except (ServiceError, RuntimeError) as error:
        sys.stderr.write(f"{error}\n{last_words(chosen.folder)}\n")
        return 2
    (chosen.folder / REPORT).write_text(json.dumps(asdict(report), indent=2))
    if report.wrong:
        sys.stderr.write("\n".join([*report.wrong, last_words(chosen.folder), ""]))
    return int(bool(report.wrong))


def last_words(folder: Path) -> str:
    """The ends of all logs."""
    logs = [*folder.glob("*.log"), *folder.glob("logs/*.log")]
    logs += folder.glob("*/ray/session_2*/logs/job-driver-*.log")
    return "\n".join(
        f"--- {log.name}\n{log.read_text(errors='replace')[-_WORDS_SHOWN:]}" for log in logs
    )


if __name__ == "__main__":
    sys.exit(main())
