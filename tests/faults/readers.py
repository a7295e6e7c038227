"""Readers of a home while others write: `python -m tests.faults.readers WHOSE ROOT STOP REPORT`.

`ours` asks through the warehouse; `duckdb` opens warehouse.duckdb as people do. Each counts rows
and keys of every table again and again until the file STOP is there, and then writes to REPORT.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.faults.comparison import Damage
from tests.faults.home import REPOSITORY, FaultyHome, environment_of

OURS, PLAIN = "ours", "duckdb"
_PAUSE_SECONDS = 0.05


@dataclass(slots=True)
class ReaderReport:
    """What a reader met.

    Attributes:
        reads: how many answers it got.
        disagreements: answers with more rows than keys.
        errors: how often each kind of error came, by its first line.
    """

    reads: int = 0
    disagreements: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def damage(self, whose: str) -> Damage:
        """Of a reader that must always get a right answer."""
        damage = Damage(doubled=len(self.disagreements))
        damage.remarks += [f"{whose} reader: {each}" for each in self.disagreements[:3]]
        damage.remarks += [f"{whose} reader, {n} times: {text}" for text, n in self.errors.items()]
        if not self.reads:
            damage.remarks.append(f"{whose} reader: no answer at all")
        return damage


@contextmanager
def reading(home: FaultyHome) -> Iterator[dict[str, ReaderReport]]:
    """Two readers while the block runs; their reports are there after it."""
    reports: dict[str, ReaderReport] = {}
    stop = home.root.with_name(f"{home.root.name}.stop")
    files = {whose: stop.with_suffix(f".{whose}.json") for whose in (OURS, PLAIN)}
    readers = [
        subprocess.Popen(
            [sys.executable, "-m", __name__, whose, str(home.root), str(stop), str(file)],
            env=environment_of(home.root),
            cwd=REPOSITORY,
        )
        for whose, file in files.items()
    ]
    try:
        yield reports
    finally:
        stop.touch()
        for reader in readers:
            reader.wait(timeout=60)
    for whose, file in files.items():
        stored = json.loads(file.read_text()) if file.exists() else {}
        errors = Counter(stored.pop("errors", {"the reader died": 1}))
        reports[whose] = ReaderReport(**stored, errors=errors)


def _read_on(whose: str, root: Path, stop: Path, file: Path) -> None:
    from warehouse.schema import tables

    ask = _ask_ours if whose == OURS else _ask_plainly
    report = ReaderReport()
    questions = {
        name: f"select count(*) as n, count(distinct ({', '.join(_quoted(schema.primary_key))})) "
        f"as keys from {name}"
        for name, schema in tables().items()
    }
    while not stop.exists():
        for table, question in questions.items():
            _ask_once(report, table, partial(ask, root, question))
        time.sleep(_PAUSE_SECONDS)
    file.write_text(
        json.dumps(
            {
                "reads": report.reads,
                "disagreements": report.disagreements,
                "errors": report.errors,
            }
        )
    )


def _ask_once(report: ReaderReport, table: str, ask: Callable[[], tuple[int, int]]) -> None:
    import duckdb

    from warehouse.errors import WarehouseError

    try:
        rows, keys = ask()
    except (WarehouseError, duckdb.Error, OSError) as error:
        first_line = str(error).splitlines()[0][:160]
        report.errors[f"{table}: {type(error).__name__}: {first_line}"] += 1
        return
    report.reads += 1
    if rows != keys:
        report.disagreements.append(f"{table} has {rows} rows and {keys} keys")


def _ask_ours(root: Path, question: str) -> tuple[int, int]:
    from dagster_project.home import Home
    from warehouse.warehouse import Warehouse

    home = Home(root)
    rows, keys = Warehouse(home.warehouse, home.database).query(question).row(0)
    return rows, keys


def _ask_plainly(root: Path, question: str) -> tuple[int, int]:
    import duckdb

    from dagster_project.home import Home

    with duckdb.connect(str(Home(root).database), read_only=True) as connection:
        answer = connection.execute(question).fetchone()
    assert answer is not None
    return answer


def _quoted(names: tuple[str, ...]) -> list[str]:
    return [f'"{name}"' for name in names]


if __name__ == "__main__":
    _read_on(sys.argv[1], *map(Path, sys.argv[2:]))
