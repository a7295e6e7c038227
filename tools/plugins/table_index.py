"""The index of a table: a file of SQLite that finds a name among millions in milliseconds."""

import json
import sqlite3
import weakref
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from toolformer.base.whole_files import replacing
from tools.errors import ToolUnavailableError
from tools.plugins.table_names import folded
from tools.plugins.table_rows import digest_of

# CRC-32 of anything followed by its own CRC-32: an index ends in that of the rest of the file.
_SOUND = 0x2144DF1C
_BLOCK = 2**20
# Of the facts of a subject, and of the values of one relation, no more different ones are read.
MOST_FACTS = 1000


class Fact(NamedTuple):
    """A value that the table has for a subject; the relation is empty where it has only one."""

    subject: str
    relation: str
    value: str


class TableIndex:
    """Reads an index, which is compared with its checksum first.

    Several threads and processes may read one.

    Args:
        file: As `write_index` made it.

    Raises:
        OSError, sqlite3.Error, ValueError: There is none, or it is damaged.

    Attributes:
        state: Of the table that it was written for.
    """

    def __init__(self, file: Path) -> None:
        if _checksum(file) != _SOUND:
            raise ValueError(f"the index '{file}' is damaged")
        self._connection = sqlite3.connect(
            f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        weakref.finalize(self, self._connection.close)
        self._file = file
        ((state, facts),) = self._connection.execute("select state, facts from about")
        self.state, self.facts = json.loads(str(state)), str(facts)

    def subjects(self, name: str) -> list[str]:
        """The subjects with a folded name; most have one."""
        found = self._column("select names from subjects where folded = ?", name)
        return [subject for names in found for subject in json.loads(names)]

    def relations(self, name: str) -> list[str]:
        """The relations with a folded name: one, or several that are written differently."""
        return self._column("select relation from relations where folded = ?", name)

    def first_relations(self, count: int) -> list[str]:
        """Some names of relations, in alphabetical order."""
        return self._column("select relation from relations order by folded limit ?", count)

    def facts_of(self, subject: str) -> list[Fact]:
        """The facts of a subject in alphabetical order, each once; at most 1,000."""
        found = self._facts("distinct * from facts where subject = ? limit ?", subject, MOST_FACTS)
        return sorted(found)

    def values(self, subject: str, relation: str) -> list[str]:
        """The values of a relation in alphabetical order, each once; at most 1,000."""
        # A key of many equal rows may have another value behind them.
        selected = "distinct * from facts where subject = ? and relation = ? limit ?"
        found = self._facts(selected, subject, relation, MOST_FACTS)
        return sorted(fact.value for fact in found)

    def known(self, names: Iterable[str]) -> set[str]:
        """Those of some folded names that subjects have."""
        found = self._column(
            "select asked.value from json_each(?) as asked "
            "where exists (select 1 from subjects where folded = asked.value)",
            json.dumps(sorted(names)),
        )
        return set(found)

    def first_facts(self, count: int) -> list[Fact]:
        """Facts at the beginning of the table."""
        return self._facts("* from facts order by rowid limit ?", count)

    def _facts(self, selected: str, *values: object) -> list[Fact]:
        return [Fact(*fact) for fact in self._rows(f"select {selected}", *values)]

    def _column(self, statement: str, *values: object) -> list[str]:
        return [value for (value,) in self._rows(statement, *values)]

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise ToolUnavailableError(
                self._file.name.partition(".")[0],
                f"the index of its table, '{self._file}', was damaged after it was opened",
                "Run the command again: the index is rebuilt",
            ) from error


def write_index(file: Path, facts: Iterable[tuple[str, str, str, int]], state: object) -> None:
    """Write an index, whole or not at all.

    Args:
        facts: As `Table.opened` gives them. The digest is of these, whatever became of the table.
        state: Tells the table from others, as JSON holds it.

    Raises:
        OSError, sqlite3.Error: It cannot be written.
    """
    with replacing(file) as temporary:
        connection = sqlite3.connect(temporary)
        try:
            connection.create_function("folded", 1, folded, deterministic=True)
            # A file that was not finished is not used, and no other process reads this one yet.
            for pragma in ("journal_mode = off", "synchronous = off", "cache_size = -200000"):
                connection.execute(f"pragma {pragma}")
            connection.execute("create table facts (subject text, relation text, value text)")
            numbers = array("Q")
            rows = _without_numbers(facts, numbers)
            connection.executemany("insert into facts values (?, ?, ?)", rows)
            connection.executescript(Path(__file__).with_name("table_index.sql").read_text("utf-8"))
            about = json.dumps(state), digest_of(numbers)
            connection.execute("create table about (state text, facts text)")
            connection.execute("insert into about values (?, ?)", about)
            connection.commit()
        finally:
            connection.close()
        # SQLite passes over what follows its last page.
        checksum = _checksum(temporary).to_bytes(4, "little")
        with temporary.open("ab") as stream:
            stream.write(checksum)


def _without_numbers(
    facts: Iterable[Sequence[Any]], numbers: "array[int]"
) -> Iterator[Sequence[Any]]:
    """The facts; their numbers are appended to others."""
    for *fact, number in facts:
        numbers.append(number)
        yield fact


def _checksum(file: Path) -> int:
    """A checksum of a file: SQLite reads a flipped bit of the disk as another text."""
    checksum = 0
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum
