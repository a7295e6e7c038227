"""Compares the kept calls of two homes, or of two rounds of one.

Catalogues are read first. Partitions with equal fingerprints and equal decisions are not read, nor
are those that a build is making again, whose decisions belong to other candidates.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from warehouse.connection import confine, open_connection
from warehouse.errors import ComparisonError, PartitionsChangingError
from warehouse.layout import name_in_round
from warehouse.needs import METADATA_VIEW, Needs
from warehouse.reading import Files, Reader, refused
from warehouse.relations import shown_columns
from warehouse.schema import ALL, sql_texts, table_schema

if TYPE_CHECKING:
    import duckdb
    import polars as pl

TABLES = frozenset({"documents", "candidate_calls", "executed_calls", "filtered_calls"})
_VIEWS = frozenset({METADATA_VIEW, "decision_counts"})
_DECIDED = Needs(frozenset(), TABLES, _VIEWS)
_CHOSEN = Needs(TABLES, TABLES, _VIEWS)
_EXAMPLES = 10

# Shard and tool.
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Kept calls of two homes.

    Attributes:
        counts: number of `calls` by `shard`, `tool`, `kept_by` and `why`; see `compared_calls.sql`.
        examples: some that only one keeps, see `compared_examples.sql`.
        equal: number of pairs of partitions that are equal by their catalogues.
        read: number of partitions of both homes whose rows were read.
        unfinished: shards and tools that a build makes again, in either home.
        is_same_model: whether one model annotated both.
    """

    counts: "pl.DataFrame"
    examples: "pl.DataFrame"
    equal: int
    read: int
    unfinished: Sequence[_Key]
    is_same_model: bool


def compare_readers(readers: tuple[Reader, Reader], rounds: tuple[int, int]) -> Comparison:
    """Compare the kept calls of two warehouses; see `Warehouse.compare`."""
    import duckdb
    import polars as pl

    queries = sql_texts("queries")
    files = [reader.choose(_CHOSEN) for reader in readers]
    try:
        homes = list(map(_decided, readers, files, rounds))
        unfinished = {key for home in homes for key in home if not home[key]["is_whole"]}
        contents = [{(key, row["content"]) for key, row in home.items()} for home in homes]
        # Without a fingerprint nobody has said what rows were made of.
        equal = {key for key, content in contents[0] & contents[1] if content} - unfinished
        keys = [home.keys() - equal - unfinished for home in homes]
        folders = [reader.folder for reader in readers]
        limited = map(_limited, files, rounds, keys)
        read = [reader.verified(each) for reader, each in zip(readers, limited, strict=True)]
        with open_connection() as db:
            _create_views(db, list(map(Files.sources, read, folders)), keys)
            confine(db, *folders)
            db.execute(queries["compared_calls"])
            columns = "shard, tool, kept_by, why, count(*) as calls"
            counts = db.sql(f"select {columns} from compared_calls group by all").pl()
            shown = db.sql(queries["compared_examples"], params={"examples": _EXAMPLES}).pl()
    except duckdb.Error as error:
        if any(reader.choose(_CHOSEN) != each for reader, each in zip(readers, files, strict=True)):
            raise PartitionsChangingError(
                "Partitions were replaced while they were compared: a build runs. Run the same "
                "again, or after the build."
            ) from error
        raise refused(error) from error
    if not equal and set(counts["why"]) == {"text"}:
        raise ComparisonError(
            "No kept call stands in a text that both homes have annotated. Expected homes of the "
            "same sources: a text is the same if it was read from the same place of the same path, "
            "and nobody edited it in between."
        )
    not_read = [(*key, "both", None, homes[0][key]["kept"]) for key in equal]
    models = [{row["model"] for row in home.values()} for home in homes]
    return Comparison(
        pl.concat([counts, pl.DataFrame(not_read, counts.schema, orient="row")]),
        shown,
        equal=len(equal),
        read=sum(map(len, keys)),
        unfinished=sorted(unfinished),
        is_same_model=models[0] == models[1],
    )


def _decided(reader: Reader, files: Files, round_number: int) -> dict[_Key, dict[str, Any]]:
    """Return the decided partitions of a round of a home, as of `compared_partitions.sql`."""
    with reader.open_views(_DECIDED, Files({}, files.published)) as connection:
        rows = connection.sql(sql_texts("queries")["compared_partitions"]).pl()
    of_round = rows.filter(round=round_number)
    if of_round.is_empty():
        named = ", ".join(map(str, rows["round"].unique().sort()))
        expected = f"one of {named}, by --rounds." if named else "a home that was built."
        raise ComparisonError(
            f"The home '{reader.folder.parent}' has no decided calls of round {round_number}. "
            f"Expected {expected} `toolformer build` makes them."
        )
    return {(row["shard"], row["tool"]): row for row in of_round.iter_rows(named=True)}


def _limited(files: Files, round_number: int, keys: Collection[_Key]) -> Files:
    """Return the partitions that hold the rows of some shards and tools."""
    names = {(shard, name_in_round(round_number, tool)) for shard, tool in keys}
    names |= {(shard, ALL) for shard, _ in keys}
    chosen = {
        table: [(shard, entry) for shard, entry in rows if (shard, entry.name) in names]
        for table, rows in files.rows.items()
    }
    return Files(chosen)


def _create_views(
    connection: "duckdb.DuckDBPyConnection",
    sources: Sequence[Mapping[str, str]],
    keys: Sequence[Collection[_Key]],
) -> None:
    """Create views of the rows of both homes, and of the shards and tools that are compared."""
    import polars as pl

    for table in TABLES:
        columns = shown_columns(table_schema(table))
        homes = (
            f"select {n} as home, {columns} from {of[table]}" for n, of in enumerate(sources, 1)
        )
        connection.execute(f"create view {table} as {' union all '.join(homes)}")
    compared = [(n, *key) for n, of_home in enumerate(keys, 1) for key in of_home]
    schema = {"home": pl.Int32, "shard": pl.String, "tool": pl.String}
    connection.register("compared_partitions", pl.DataFrame(compared, schema, orient="row"))
