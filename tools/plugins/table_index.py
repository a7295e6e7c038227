"""The index of a table: a file of SQLite that finds a name among millions in milliseconds."""

import json
import sqlite3
import weakref
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from toolformer.base.atomic_files import replacing
from toolformer.base.digests import hex_digest
from tools.plugins.table_names import folded
from tools.plugins.table_rows import Table

# Most distinct facts of a subject, and values of one relation, that are read.
MAX_FACTS = 1000
_VERSION = 5


class Fact(NamedTuple):
    """A value that the table has for a subject; the relation is empty if a call names none."""

    subject: str
    relation: str
    value: str


class TableIndex:
    """Finds the facts of a table. Several threads and processes may read one file.

    Args:
        folder: Holds the file, which is written unless it is there.
        name: Of the tool.

    Raises:
        ToolSettingsError: The table cannot be read.

    Attributes:
        content: A digest of what was read, and how.
    """

    def __init__(self, folder: Path, name: str, table: Table) -> None:
        read_as = (_VERSION, table.key, table.values, table.missing)
        self.content = hex_digest(*read_as, table.digest(), size=8)
        of_settings = f"{name}.{hex_digest(table, size=8)}"
        file = folder / f"{of_settings}.{self.content}.sqlite"
        try:
            self._open(file)
        except sqlite3.Error:
            earlier = list(folder.glob(f"{of_settings}.*.sqlite"))
            _write_index(file, table.facts())
            self._open(file)
            for each in earlier:
                each.unlink(missing_ok=True)

    def _open(self, file: Path) -> None:
        name = f"{file.absolute().as_uri()}?mode=ro&immutable=1"
        self._connection = sqlite3.connect(name, uri=True, check_same_thread=False)
        weakref.finalize(self, self._connection.close)
        # SQLite opens a file when it first reads it.
        self.first_facts(1)

    def subjects(self, name: str) -> list[str]:
        """Return the subjects with a folded name; most have one."""
        found = self._column("select names from subjects where folded = ?", name)
        return [subject for names in found for subject in json.loads(names)]

    def relations(self, name: str) -> list[str]:
        """Return the relations with a folded name: one, or several that are written differently."""
        return self._column("select relation from relations where folded = ?", name)

    def first_relations(self, count: int) -> list[str]:
        """Return some names of relations, in alphabetical order."""
        return self._column("select relation from relations order by folded limit ?", count)

    def facts_of(self, subject: str) -> list[Fact]:
        """Return the distinct facts of a subject in alphabetical order, at most 1,000."""
        return sorted(self._facts("distinct * from facts where subject = ?", subject))

    def values(self, subject: str, relation: str) -> list[str]:
        """Return the distinct values of a relation in alphabetical order, at most 1,000."""
        found = self._facts(
            "distinct * from facts where subject = ? and relation = ?", subject, relation
        )
        return sorted(fact.value for fact in found)

    def known(self, names: Iterable[str]) -> set[str]:
        """Return those of some folded names that subjects have."""
        found = self._column(
            "select asked.value from json_each(?) as asked "
            "where exists (select 1 from subjects where folded = asked.value)",
            json.dumps(sorted(names)),
        )
        return set(found)

    def first_facts(self, count: int) -> list[Fact]:
        """Return facts at the beginning of the table."""
        return self._facts("* from facts order by rowid", most=count)

    def _facts(self, selected: str, *values: object, most: int = MAX_FACTS) -> list[Fact]:
        rows = self._connection.execute(f"select {selected} limit ?", (*values, most))
        return [Fact(*row) for row in rows]

    def _column(self, statement: str, *values: object) -> list[str]:
        return [value for (value,) in self._connection.execute(statement, values)]


def _write_index(file: Path, facts: Iterable[tuple[str, str, str]]) -> None:
    """Write an index, whole or not at all."""
    with replacing(file) as temporary, closing(sqlite3.connect(temporary)) as connection:
        connection.create_function("folded", 1, folded, deterministic=True)
        # An unfinished file is never used, and no other process reads this one yet.
        for pragma in ("journal_mode = off", "synchronous = off", "cache_size = -200000"):
            connection.execute(f"pragma {pragma}")
        connection.execute("create table facts (subject text, relation text, value text)")
        connection.executemany("insert into facts values (?, ?, ?)", facts)
        connection.executescript(Path(__file__).with_name("table_index.sql").read_text("utf-8"))
        connection.commit()
