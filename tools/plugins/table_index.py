"""Indexes a table in an SQLite file, which finds a name among millions in milliseconds."""

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

# Maximum number of distinct facts that are read per subject, and of values per relation.
MAX_FACTS = 1000
_VERSION = 5


class Fact(NamedTuple):
    """One value of a subject; the relation is empty if calls of the tool name none."""

    subject: str
    relation: str
    value: str


class TableIndex:
    """Finds the facts of a table; several threads and processes may read one index file.

    Attributes:
        content: Digest of the table's content and of the settings with which it is read.
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
        # SQLite opens the file only at the first query, so query it now.
        self.first_facts(1)

    def subjects(self, name: str) -> list[str]:
        """Return all subjects with the same folded name."""
        found = self._column("select names from subjects where folded = ?", name)
        return [subject for names in found for subject in json.loads(names)]

    def relations(self, name: str) -> list[str]:
        """Return all relations with the same folded name."""
        return self._column("select relation from relations where folded = ?", name)

    def first_relations(self, count: int) -> list[str]:
        return self._column("select relation from relations order by folded limit ?", count)

    def facts_of(self, subject: str) -> list[Fact]:
        """Return at most 1,000 distinct facts of a subject in alphabetical order."""
        return sorted(self._facts("distinct * from facts where subject = ?", subject))

    def values(self, subject: str, relation: str) -> list[str]:
        """Return at most 1,000 distinct values of a relation in alphabetical order."""
        found = self._facts(
            "distinct * from facts where subject = ? and relation = ?", subject, relation
        )
        return sorted(fact.value for fact in found)

    def known(self, names: Iterable[str]) -> set[str]:
        """Return the folded names that belong to a subject."""
        found = self._column(
            "select asked.value from json_each(?) as asked "
            "where exists (select 1 from subjects where folded = asked.value)",
            json.dumps(sorted(names)),
        )
        return set(found)

    def first_facts(self, count: int) -> list[Fact]:
        return self._facts("* from facts order by rowid", most=count)

    def _facts(self, selected: str, *values: object, most: int = MAX_FACTS) -> list[Fact]:
        rows = self._connection.execute(f"select {selected} limit ?", (*values, most))
        return [Fact(*row) for row in rows]

    def _column(self, statement: str, *values: object) -> list[str]:
        return [value for (value,) in self._connection.execute(statement, values)]


def _write_index(file: Path, facts: Iterable[tuple[str, str, str]]) -> None:
    with replacing(file) as temporary, closing(sqlite3.connect(temporary)) as connection:
        connection.create_function("folded", 1, folded, deterministic=True)
        # Safe, because an unfinished file is never used and no other process reads it yet.
        for pragma in ("journal_mode = off", "synchronous = off", "cache_size = -200000"):
            connection.execute(f"pragma {pragma}")
        connection.execute("create table facts (subject text, relation text, value text)")
        connection.executemany("insert into facts values (?, ?, ?)", facts)
        connection.executescript(Path(__file__).with_name("table_index.sql").read_text("utf-8"))
        connection.commit()
