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

# Of the facts of a subject, and of the values of one relation, no more different ones are read.
MOST_FACTS = 1000


class Fact(NamedTuple):
    """A value that the table has for a subject; the relation is empty where it has only one."""

    subject: str
    relation: str
    value: str


class TableIndex:
    """Reads an index; several threads and processes may read one.

    Args:
        file: As `write_index` made it.

    Raises:
        sqlite3.Error, ValueError: There is none.

    Attributes:
        state: Of the table that it was written for.
    """

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(
            f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        weakref.finalize(self, self._connection.close)
        self._file = file
        ((state, facts),) = self._connection.execute("select state, facts from about")
        self.state, self.facts = json.loads(str(state)), str(facts)

    def subjects(self, name: str) -> list[str]:
        """The subjects with a folded name; most have one."""
        found = self._rows("select names, checked from subjects where folded = ?", name)
        if any(_checksum(name, str(names)) != check for names, check in found):
            raise self._damaged()
        return [subject for names, _ in found for subject in json.loads(names)]

    def relations(self, name: str) -> list[str]:
        """The relations with a folded name: one, or several that are written differently."""
        found = self._column("select relation from relations where folded = ?", name)
        if any(folded(each) != name for each in found):
            raise self._damaged()
        return found

    def first_relations(self, count: int) -> list[str]:
        """Some names of relations, in alphabetical order."""
        return self._column("select relation from relations order by folded limit ?", count)

    def facts_of(self, subject: str) -> list[Fact]:
        """The facts of a subject in alphabetical order, each once; at most 1,000."""
        found = self._facts("distinct * from facts where subject = ? limit ?", subject, MOST_FACTS)
        if any(fact.subject != subject for fact in found):
            raise self._damaged()
        return sorted(set(found))

    def values(self, subject: str, relation: str) -> list[str]:
        """The values of a relation in alphabetical order, each once; at most 1,000."""
        # A key of many equal rows may have another value behind them.
        selected = "distinct * from facts where subject = ? and relation = ? limit ?"
        found = self._facts(selected, subject, relation, MOST_FACTS)
        if any(fact[:2] != (subject, relation) for fact in found):
            raise self._damaged()
        return sorted({fact.value for fact in found})

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
        rows = self._rows(f"select {selected}", *values)
        if any(_checksum(*map(str, fact)) != check for *fact, check in rows):
            raise self._damaged()
        return [Fact(*fact) for *fact, _ in rows]

    def _column(self, statement: str, *values: object) -> list[str]:
        found = [value for (value,) in self._rows(statement, *values)]
        if not all(isinstance(value, str) for value in found):
            raise self._damaged()
        return found

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise self._damaged() from error

    def _damaged(self) -> ToolUnavailableError:
        return ToolUnavailableError(
            self._file.name.partition(".")[0],
            f"the index of its table, '{self._file}', is damaged",
            "Remove that file: it is made again",
        )


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
            connection.create_function("checksum", 2, _checksum, deterministic=True)
            # A file that was not finished is not used, and no other process reads this one yet.
            for pragma in ("journal_mode = off", "synchronous = off", "cache_size = -200000"):
                connection.execute(f"pragma {pragma}")
            connection.execute(
                "create table facts (subject text, relation text, value text, checked integer)"
            )
            numbers = array("Q")
            rows = _checked(facts, numbers)
            connection.executemany("insert into facts values (?, ?, ?, ?)", rows)
            connection.executescript(Path(__file__).with_name("table_index.sql").read_text("utf-8"))
            about = json.dumps(state), digest_of(numbers)
            connection.execute("create table about (state text, facts text)")
            connection.execute("insert into about values (?, ?)", about)
            connection.commit()
        finally:
            connection.close()


def _checked(facts: Iterable[Sequence[Any]], numbers: "array[int]") -> Iterator[Sequence[Any]]:
    """The facts with their checksums; their numbers are appended to others."""
    for *fact, number in facts:
        numbers.append(number)
        yield *fact, _checksum(*fact)


def _checksum(*texts: str) -> int:
    """A checksum of a row: SQLite reads a flipped bit of the disk as another text."""
    return zlib.crc32("\n".join(texts).encode())
