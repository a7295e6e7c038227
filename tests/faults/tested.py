"""Faults that need no undisturbed home and stand among the tests: run by pytest, counted here."""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from tests.faults.comparison import Damage
from tests.faults.home import REPOSITORY
from tests.faults.report import Outcome
from tests.faults.undisturbed import Workshop

# The words of the report, and the tests that break it.
TESTED = {
    "bombs": ["tests/faults/test_bombs.py", "tests/toolformer/sources/test_limits.py"],
    "requests from foreign pages": ["tests/dagster_project/test_web_server.py"],
    "workers out of step": ["tests/tools/running/test_worker_process.py"],
}


def run_tests(workshop: Workshop) -> list[Outcome]:
    """Run them; in the short form `make test` does."""
    if workshop.is_short:
        return [Outcome(fault, not_run="`make test` runs them") for fault in TESTED]
    return [_outcome(fault, files) for fault, files in TESTED.items()]


def _outcome(fault: str, files: Sequence[str]) -> Outcome:
    outcome = Outcome(fault)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-n", "2", f"--junit-xml={report}", *files],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        if not report.exists():
            return Outcome(fault, 1, Damage(remarks=[f"pytest did not run: {done.stdout[-800:]}"]))
        (suite,) = ElementTree.parse(report).getroot()
    for case in suite.iter("testcase"):
        if case.find("skipped") is not None:
            outcome.notes.append(f"skipped: {case.get('name')}")
            continue
        broken = case.find("failure") if case.find("failure") is not None else case.find("error")
        remarks = [] if broken is None else [str(broken.get("message"))[:300]]
        outcome.add(str(case.get("name")), Damage(remarks=remarks))
    outcome.seconds = float(suite.get("time", 0.0))
    return outcome
