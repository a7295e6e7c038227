"""Readers of a home while others write.

`ours` asks through the warehouse; `duckdb` opens warehouse.duckdb as people do. Each counts rows
and keys of every table again and again.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.faults.comparison import Damage
from tests.homes import SmallHome

OURS, PLAIN = "ours", "duckdb"
_PAUSE_SECONDS = 0.05


@dataclass(slots=True)
class ReaderReport:
    """What a reader met: answers, those with more rows than keys, and errors by first line."""

    reads: int = 0
    disagreements: list[str] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    def damage(self) -> Damage:
        """Of a reader that must always get a right answer."""
        told = self.disagreements[:3] + [f"{n} times {text}" for text, n in self.errors.items()]
        told += [] if self.reads else ["no answer at all"]
        return Damage(doubled=len(self.disagreements), remarks=told)


@contextmanager
def reading(home: SmallHome) -> Iterator[dict[str, ReaderReport]]:
    """Two readers while the block runs; their reports are whole after it."""
    asking = {OURS: _ask_ours, PLAIN: _ask_plainly}
    reports = {whose: ReaderReport() for whose in asking}
    stop = threading.Event()
    readers = [
        threading.Thread(target=_read_on, args=(ask, home, reports[whose], stop))
        for whose, ask in asking.items()
    ]
    for reader in readers:
        reader.start()
    try:
        yield reports
    finally:
        stop.set()
        for reader in readers:
            reader.join()


def _read_on(
    ask: Callable[[SmallHome, str], tuple],
    home: SmallHome,
    report: ReaderReport,
    stop: threading.Event,
) -> None:
    import duckdb

    from warehouse.errors import WarehouseError
    from warehouse.schema import tables

    while not stop.wait(_PAUSE_SECONDS):
        for table, schema in tables().items():
            key = ", ".join(f'"{name}"' for name in schema.primary_key)
            question = f"select count(*) as n, count(distinct ({key})) as keys from {table}"
            try:
                rows, keys = ask(home, question)
            except (WarehouseError, duckdb.Error, OSError) as error:
                first_line = str(error).splitlines()[0][:160]
                report.errors[f"{table}: {type(error).__name__}: {first_line}"] += 1
                continue
            report.reads += 1
            if rows != keys:
                report.disagreements.append(f"{table} has {rows} rows and {keys} keys")


def _ask_ours(home: SmallHome, question: str) -> tuple:
    return home.warehouse.query(question).row(0)


def _ask_plainly(home: SmallHome, question: str) -> tuple:
    import duckdb

    with duckdb.connect(str(home.home.database), read_only=True) as connection:
        return connection.sql(question).fetchall()[0]
