"""A reader of a home while others write: it counts rows and keys of every table again and again.

Readers of `warehouse.duckdb` beside writers are tested in `tests/warehouse/test_concurrency.py`.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.comparison import Damage
from tests.homes import SmallHome

_PAUSE_SECONDS = 0.05


@contextmanager
def reading(home: SmallHome) -> Iterator[Damage]:
    """Reads while the block runs; the damage is whole after it."""
    damage, stop = Damage(), threading.Event()
    reader = threading.Thread(target=_read_on, args=(home, damage, stop))
    reader.start()
    try:
        yield damage
    finally:
        stop.set()
        reader.join()


def _read_on(home: SmallHome, damage: Damage, stop: threading.Event) -> None:
    from warehouse.errors import WarehouseError
    from warehouse.schema import tables

    reads, errors = 0, Counter[str]()
    while not stop.wait(_PAUSE_SECONDS):
        for table, schema in tables().items():
            key = ", ".join(f'"{name}"' for name in schema.primary_key)
            question = f"select count(*) as n, count(distinct ({key})) as keys from {table}"
            try:
                rows, keys = home.warehouse.query(question).row(0)
            except (WarehouseError, OSError) as error:
                first_line = str(error).splitlines()[0][:160]
                errors[f"{table}: {type(error).__name__}: {first_line}"] += 1
                continue
            reads += 1
            if rows != keys:
                told = [f"{table} has {rows} rows and {keys} keys"]
                damage.add(Damage(doubled=1, remarks=told))
    damage.remarks += [f"{count} times {text}" for text, count in errors.items()]
    damage.remarks += [] if reads else ["no answer at all"]
