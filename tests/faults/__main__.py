"""`python -m tests.faults`: breaks homes in every way it knows, and tells what came of it.

Exit code 0: nothing was lost, doubled, wrong or left over; 1: something was; 2: the harness itself
does not work.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.concurrency import cross_commands
from tests.faults.disk import fill_disks
from tests.faults.flips import flip_bits
from tests.faults.history import change_history
from tests.faults.kills import kill_commands, kill_search
from tests.faults.tries import Outcome, print_table
from tests.faults.undisturbed import HarnessError, prepare

PARTS = {
    "kills": kill_commands,
    "search": kill_search,
    "disk": fill_disks,
    "concurrency": cross_commands,
    "flips": flip_bits,
    "history": change_history,
}


def main() -> int:
    """Parse the command line, run the parts one after the other, report."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few of each, in three minutes")
    parser.add_argument("--seed", type=int, default=0, help="of all choices")
    parser.add_argument("--only", action="append", choices=list(PARTS), help="repeatable")
    chosen = parser.parse_args()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(
        prefix="toolformer-faults-", ignore_cleanup_errors=True
    ) as folder:
        began = time.monotonic()
        try:
            workshop = prepare(Path(folder), seed=chosen.seed, is_short=chosen.short)
            for name in chosen.only or PARTS:
                outcomes += PARTS[name](workshop)
                sys.stderr.write(f"{name}: done after {time.monotonic() - began:.0f} s\n")
        except HarnessError as error:
            sys.stderr.write(f"{error}\n")
            return 2
    print_table(outcomes)
    return int(any(outcome.damage for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
