"""`python -m tests.faults`: breaks homes in every way it knows, and tells what came of it.

Exit code 0: nothing was lost, doubled, wrong or left over; 1: something was; 2: the harness itself
does not work.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.concurrency import cross_commands
from tests.faults.disk import fill_disks
from tests.faults.flips import flip_bits
from tests.faults.kills import kill_commands
from tests.faults.report import Outcome, print_table, write_json
from tests.faults.search import kill_search
from tests.faults.sources import lose_sources
from tests.faults.stored import change_history
from tests.faults.tested import run_tests
from tests.faults.undisturbed import HarnessError, Workshop, prepare

PARTS: dict[str, Callable[[Workshop], list[Outcome]]] = {
    "kills": kill_commands,
    "search": kill_search,
    "disk": fill_disks,
    "concurrency": cross_commands,
    "flips": flip_bits,
    "history": change_history,
    "sources": lose_sources,
    "tests": run_tests,
}


def main() -> int:
    """Parse the command line, run the parts, report."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few of each, in three minutes")
    parser.add_argument("--seed", type=int, default=0, help="of all choices")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="repeatable")
    parser.add_argument("--json", type=Path, help="write the report there too")
    parser.add_argument("--keep", type=Path, help="work in this new folder, and leave it there")
    chosen = parser.parse_args()
    folder = chosen.keep or Path(tempfile.mkdtemp(prefix="toolformer-faults-"))
    try:
        outcomes = run(folder, seed=chosen.seed, is_short=chosen.short, only=chosen.only)
    except HarnessError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    finally:
        if chosen.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print_table(outcomes)
    if chosen.json is not None:
        write_json(outcomes, chosen.json)
    return int(any(outcome.damage for outcome in outcomes))


def run(folder: Path, *, seed: int, is_short: bool, only: list[str] | None = None) -> list[Outcome]:
    """Run the parts one after the other."""
    began = time.monotonic()
    workshop = prepare(folder, seed=seed, is_short=is_short)
    _tell("undisturbed", began)
    outcomes: list[Outcome] = []
    for name in only or PARTS:
        began = time.monotonic()
        outcomes += PARTS[name](workshop)
        _tell(name, began)
    return outcomes


def _tell(name: str, began: float) -> None:
    """Seconds of a part; processor time of all so far says how long an idle machine would take."""
    spent = sum(os.times()[:4])
    took = time.monotonic() - began
    sys.stderr.write(f"{name}: {took:.0f} s; {spent:.0f} s of processor time so far\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
