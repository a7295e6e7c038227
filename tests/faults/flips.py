"""Single flipped bits in catalogues and Parquet files: no reader gets a wrong row.

One bit is flipped at a time, and what was written is put back. A strict reader must raise an error
that names the shard or the file. A lenient one must leave it out, and name it in the log. `damage`,
which `toolformer doctor` reports, must list the file and no other. All of them run in this process,
so that thousands of bits take minutes.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb

from tests.faults.tries import Outcome
from tests.faults.undisturbed import Workshop
from warehouse import damage, reading
from warehouse.catalogue import Entry, read_catalogue, shards_in
from warehouse.connection import sql_name
from warehouse.counting import COUNTS
from warehouse.errors import DamagedPartitionError
from warehouse.layout import catalogue_file
from warehouse.schema import table_schema
from warehouse.warehouse import Warehouse

_FLIPS, _FEW = 2000, 100
_Rows = list[tuple]


def flip_bits(workshop: Workshop) -> list[Outcome]:
    """Flip bits of catalogues, then of Parquet files, in a copy of the finished home."""
    flips = _Flips(workshop.finished.copy(workshop.place("flips")).warehouse)
    chance, count = workshop.chance("flips"), _FEW if workshop.is_short else _FLIPS
    return [
        _tried("flipped bits: catalogues", flips.of_a_catalogue, chance, count),
        _tried("flipped bits: Parquet files", flips.of_a_file, chance, count),
    ]


def _tried(
    fault: str, flip: Callable[[random.Random], Iterator[str]], chance: random.Random, count: int
) -> Outcome:
    outcome, began, answers = Outcome(fault, tried=count), time.monotonic(), 0
    for _ in range(count):
        for wrong in flip(chance):
            answers += 1
            outcome.damage.wrong += bool(wrong)
            outcome.damage.remarks += filter(None, [wrong])
    outcome.seconds = time.monotonic() - began
    outcome.notes.append(f"{answers:,} answers, {outcome.damage.wrong} of them wrong")
    return outcome


class _Flips:
    """Flips a bit in a warehouse. Of each answer it yields what is wrong with it, or nothing."""

    def __init__(self, warehouse: Warehouse):
        self.strict, self.lenient = warehouse, warehouse.skipping_damage()
        self.folder = warehouse.folder
        self.published: list[tuple[str, Entry]] = [
            (shard, entry)
            for shard in shards_in(self.folder)
            for entry in read_catalogue(self.folder, shard).entries()
        ]
        self.counts = {name: warehouse.fetch_rows(f"from {name}") for name in COUNTS}

    def of_a_catalogue(self, chance: random.Random) -> Iterator[str]:
        """Ask for metadata of the shard, for rows of one of its tables, and for counts."""
        shard = chance.choice(shards_in(self.folder))
        file = Path(catalogue_file(self.folder, shard))
        entries = [entry for key, entry in self.published if key == shard]
        with _Flipped(file, chance) as place:
            yield self._of_doctor(file, place)
            for entry in entries:
                for warehouse in (self.strict, self.lenient):
                    found = warehouse.partition_metadata(entry.table, shard, entry.name)
                    yield f"{place}: {entry.table} has metadata" if found else ""
            table = chance.choice(entries).table
            others = [each for each in self.published if each[0] != shard]
            yield from self._of_rows(f"'{shard}'", place, table, others)
            for name in COUNTS:
                if COUNTS[name] == table:
                    columns, rows = self.counts[name]
                    kept = [row for row in rows if row[columns.index("shard")] != shard]
                    yield from self._of_query(f"'{shard}'", place, f"from {name}", kept)

    def of_a_file(self, chance: random.Random) -> Iterator[str]:
        """Ask for the rows of the partition, and for those of its table."""
        shard, entry = chance.choice([each for each in self.published if each[1].rows])
        file = self.folder / str(entry.path(shard))
        flipped = _Flipped(file, chance)
        with flipped as place:
            yield self._of_doctor(file, place)
            yield _refusal(
                lambda: self.strict.read_partition(entry.table, shard, entry.name), file.name, place
            )
            flipped.repeat()
            kept = [each for each in self.published if each != (shard, entry)]
            yield from self._of_rows(file.name, place, entry.table, kept, flipped.repeat)

    def _of_doctor(self, file: Path, place: str) -> str:
        found = self.strict.damage()
        return "" if list(found) == [file] else f"{place}: doctor names {list(found)}"

    def _of_rows(
        self,
        name: str,
        place: str,
        table: str,
        kept: Sequence[tuple[str, Entry]],
        repeat: Callable[[], None] = lambda: None,
    ) -> Iterator[str]:
        files = [f"{self.folder}/{e.path(key)}" for key, e in kept if e.table == table and e.rows]
        # The folder says of which shard rows are.
        columns = (each for each in table_schema(table).column_names if each != "shard")
        shown = ", ".join(f"{sql_name(column)}::varchar" for column in columns)
        rows: _Rows = []
        if files:
            source = duckdb.read_parquet(files, hive_partitioning=False)
            rows = source.project(shown).fetchall()
        statement = f"select columns(*) from (select {shown} from {table})"
        yield from self._of_query(name, place, statement, rows, repeat)

    def _of_query(
        self,
        name: str,
        place: str,
        statement: str,
        expected: _Rows,
        repeat: Callable[[], None] = lambda: None,
    ) -> Iterator[str]:
        yield _refusal(lambda: self.strict.fetch_rows(statement), name, place)
        repeat()
        log = _Log()
        logging.getLogger(reading.__name__).addHandler(log)
        _, found = self.lenient.fetch_rows(statement)
        logging.getLogger(reading.__name__).removeHandler(log)
        reading._log_once.cache_clear()
        is_right = sorted(map(repr, found)) == sorted(map(repr, expected))
        yield "" if is_right else f"{place}: other rows of {statement}"
        yield "" if any(name in line for line in log.lines) else f"{place}: logs {log.lines}"


def _refusal(ask: Callable[[], object], name: str, place: str) -> str:
    try:
        ask()
    except DamagedPartitionError as error:
        return "" if name in str(error) else f"{place}: {error}"
    return f"{place}: a strict reader gets an answer"


class _Flipped:
    """A bit of a file, flipped in a block; gives its place."""

    def __init__(self, file: Path, chance: random.Random):
        self.file, self.content = file, file.read_bytes()
        self.byte, self.bit = chance.randrange(len(self.content)), chance.randrange(8)

    def __enter__(self) -> str:
        self.repeat()
        return f"{self.file.name}, bit {self.bit} of byte {self.byte}"

    def repeat(self) -> None:
        """Write the flipped content, which a reader may have set aside, as if nobody had read."""
        content = bytearray(self.content)
        content[self.byte] ^= 1 << self.bit
        self._write(content)

    def __exit__(self, *_: object) -> None:
        self._write(self.content)

    def _write(self, content: bytes | bytearray) -> None:
        self.file.write_bytes(content)
        self.file.with_name(f"{self.file.name}.damaged").unlink(missing_ok=True)
        # A process compares each file once.
        damage._verified.clear()
        damage._damaged.clear()


class _Log(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message."""
        self.lines.append(record.getMessage())
