"""The index of a table: its facts by folded subject, in a file of SQLite that appears whole."""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from toolformer.files.whole_files import replacing
from tools.plugins.table_names import are_near, folded

_SCHEMA = """
create table facts (folded text, asked text, subject text, relation text, value text);
create table ends (reversed text);
create table relations (asked text primary key, relation text);
create table about (content text);
"""
_INDEXES = """
create index facts_by_name on facts (folded, asked);
insert into ends select distinct reverse(folded) from facts;
create index ends_by_name on ends (reversed);
insert or ignore into relations select distinct asked, relation from facts;
"""
# Above every character of a name.
_LAST = chr(0x10FFFF)


class Fact(NamedTuple):
    """What a table says: a value of a relation of a subject."""

    subject: str
    relation: str
    value: str


class TableIndex:
    """Reads an index.

    Args:
        file: As `write_index` made it.
    """

    def __init__(self, file: Path) -> None:
        self.connection = sqlite3.connect(
            f"file:{file}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        ((about,),) = self.connection.execute("select content from about")
        self.about: dict[str, object] = json.loads(about)

    def facts(self, name: str, asked: str | None = None) -> list[Fact]:
        """The facts of all subjects with a folded name, or of one relation, in alphabetical order."""
        rows = self.connection.execute(
            "select distinct subject, relation, value from facts where folded = ?1 and "
            "(?2 is null or asked = ?2) order by all_columns limit 1000".replace(
                "all_columns", "subject, relation, value"
            ),
            (name, asked),
        )
        return [Fact(*row) for row in rows]

    def known(self, names: Iterable[str]) -> set[str]:
        """Those of the folded names that subjects have."""
        rows = self.connection.execute(
            "select asked.value from json_each(?) as asked where exists "
            "(select 1 from facts where folded = asked.value)",
            (json.dumps(list(names)),),
        )
        return {name for (name,) in rows}

    def near(self, name: str) -> list[str]:
        """The folded names that differ by a slip of writing; see `are_near`."""
        half = max(1, len(name) // 2 - 1)
        end = name[: half - len(name) - 1 : -1]
        starts = self.connection.execute(
            "select distinct folded from facts where folded between ?1 and ?2 "
            "and length(folded) between ?3 - 1 and ?3 + 1",
            (name[:half], name[:half] + _LAST, len(name)),
        )
        ends = self.connection.execute(
            "select reversed from ends where reversed between ?1 and ?2 "
            "and length(reversed) between ?3 - 1 and ?3 + 1",
            (end, end + _LAST, len(name)),
        )
        found = {each for (each,) in starts} | {each[::-1] for (each,) in ends}
        return sorted(each for each in found if are_near(name, each))

    def relation(self, asked: str) -> str | None:
        """The name of a relation by its folded one; None where the table has none."""
        row = self.connection.execute(
            "select relation from relations where asked = ?", (asked,)
        ).fetchone()
        return row and row[0]

    def some_facts(self, count: int) -> list[Fact]:
        """The first facts of the table, of a subject each."""
        rows = self.connection.execute(
            "select subject, relation, value from facts where rowid <= ? group by folded order by rowid",
            (count,),
        )
        return [Fact(*row) for row in rows]

    def relations(self) -> list[str]:
        """The first names of relations, in alphabetical order."""
        rows = self.connection.execute("select relation from relations order by 1 limit 10")
        return [name for (name,) in rows]


def write_index(file: Path, facts: Iterable[Sequence[str]], about: dict[str, object]) -> None:
    """Write an index.

    Args:
        facts: Subject, relation and value of each.
        about: What the index says of itself.
    """
    with replacing(file) as temporary:
        connection = sqlite3.connect(temporary)
        try:
            connection.create_function("reverse", 1, lambda text: text[::-1], deterministic=True)
            connection.execute("pragma journal_mode = off")
            connection.execute("pragma synchronous = off")
            connection.execute("pragma cache_size = -200000")
            connection.executescript(_SCHEMA)
            longest = 0

            def rows():
                nonlocal longest
                names: dict[str, str] = {}
                for subject, relation, value in facts:
                    name = folded(subject)
                    longest = max(longest, name.count(" ") + 1)
                    asked = names.get(relation)
                    if asked is None:
                        asked = names[relation] = folded(relation)
                    yield name, asked, subject, relation, value

            connection.executemany("insert into facts values (?, ?, ?, ?, ?)", rows())
            connection.executescript(_INDEXES)
            connection.execute(
                "insert into about values (?)", (json.dumps({**about, "longest": longest}),)
            )
            connection.commit()
        finally:
            connection.close()
