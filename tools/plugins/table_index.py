"""The index of a table: a file of SQLite that finds a name among millions in milliseconds."""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from toolformer.files.whole_files import replacing
from tools.errors import ToolSettingsError
from tools.plugins.table_names import are_near, folded

# Of the facts of a subject, and of the values of one relation, no more are looked at.
MOST_FACTS = 1000
_MOST_SUBJECTS = 20
# Names with one half in common, among which those that differ by a slip are looked for.
_MOST_CANDIDATES = 10_000
# Behind every character of a name.
_LAST = "\U0010ffff"


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
        about: What it was written with.
    """

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(
            f"{file.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        ((about,),) = self._connection.execute("select content from about")
        self.about = json.loads(about)

    def subjects(self, name: str) -> list[str]:
        """The subjects with a folded name, at most 20."""
        return self._column(
            "select subject from subjects where folded = ? limit ?", name, _MOST_SUBJECTS
        )

    def near_subjects(self, name: str) -> list[str]:
        """The subjects whose folded names differ from one by a slip; see `are_near`.

        The slip lies in one half of the name, so the other is the same. None where more than
        10,000 names share a half with it.
        """
        half = len(name) // 2
        # Letters that changed places may lie in both.
        beginning, end = name[:half], name[half + 1 :][::-1]
        candidates: set[str] = set()
        for column, table, part in (("folded", "subjects", beginning), ("reversed", "ends", end)):
            found = self._column(
                f"select {column} from {table} where {column} between ? and ? limit ?",
                *(part, part + _LAST, _MOST_CANDIDATES + 1),
            )
            if len(found) > _MOST_CANDIDATES:
                return []
            candidates.update(found if table == "subjects" else (each[::-1] for each in found))
        near = sorted(each for each in candidates if are_near(name, each))
        return [subject for each in near for subject in self.subjects(each)]

    def relations(self, name: str) -> list[str]:
        """The relations with a folded name: one, or several that are written differently."""
        return self._column(
            "select relation from relations where folded = ? limit ?", name, _MOST_SUBJECTS
        )

    def first_relations(self, count: int) -> list[str]:
        """Some names of relations, in alphabetical order."""
        return self._column("select relation from relations order by folded limit ?", count)

    def facts_of(self, subject: str) -> list[Fact]:
        """The facts of a subject in alphabetical order, each once; at most 1,000."""
        rows = self._connection.execute(
            "select * from facts where subject = ? limit ?", (subject, MOST_FACTS)
        )
        return sorted({Fact(*row) for row in rows})

    def values(self, subject: str, relation: str) -> list[str]:
        """The values of a relation in alphabetical order, each once; of at most 1,000 rows."""
        found = self._column(
            "select value from facts where subject = ? and relation = ? limit ?",
            *(subject, relation, MOST_FACTS),
        )
        return sorted(set(found))

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
        rows = self._connection.execute("select * from facts order by rowid limit ?", (count,))
        return [Fact(*row) for row in rows]

    def _column(self, statement: str, *values: object) -> list[str]:
        return [value for (value,) in self._connection.execute(statement, values)]


def write_index(file: Path, facts: Iterable[Sequence[str]], about: object) -> None:
    """Write an index, whole or not at all.

    Args:
        facts: Subject, relation and value of each.
        about: What JSON can hold.

    Raises:
        ToolSettingsError: There are no facts.
        OSError, sqlite3.Error: It cannot be written.
    """
    with replacing(file) as temporary:
        connection = sqlite3.connect(temporary)
        try:
            for function in (folded, _reversed):
                name = function.__name__.lstrip("_")
                connection.create_function(name, 1, function, deterministic=True)
            # A file that was not finished is not used, and no other process reads this one yet.
            for pragma in ("journal_mode = off", "synchronous = off", "cache_size = -200000"):
                connection.execute(f"pragma {pragma}")
            connection.execute("create table facts (subject text, relation text, value text)")
            rows = connection.executemany("insert into facts values (?, ?, ?)", facts).rowcount
            if rows < 1:
                raise ToolSettingsError(
                    "the table has no row with a key and a value. Expected at least one"
                )
            connection.executescript(
                resources.files("tools.plugins").joinpath("table_index.sql").read_text("utf-8")
            )
            connection.execute("create table about (content text)")
            connection.execute("insert into about values (?)", (json.dumps(about),))
            connection.commit()
        finally:
            connection.close()


def _reversed(text: str) -> str:
    return text[::-1]
