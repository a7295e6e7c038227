"""Compares the kept calls of two homes, or of two rounds of one.

Catalogues are read first: partitions that were made of the same, and whose decisions come to the
same, are not read. Neither are those that a build is making anew: their decisions stand beside
other candidates.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warehouse import reading
from warehouse.connection import confine, open_connection
from warehouse.errors import ComparisonError
from warehouse.layout import partition_of, shard_of, split_round
from warehouse.needs import METADATA_VIEW, Needs
from warehouse.relations import shown_columns
from warehouse.schema import ALL, sql_texts, table_schema

if TYPE_CHECKING:
    import duckdb
    import polars as pl

TABLES = frozenset({"documents", "candidate_calls", "executed_calls", "filtered_calls"})
_VIEWS = frozenset({METADATA_VIEW, "decision_counts"})
_DECIDED = Needs(frozenset(), TABLES, _VIEWS)
_ROWS = Needs(TABLES, frozenset(), frozenset())
_CHOSEN = Needs(TABLES, TABLES, _VIEWS)
_EXAMPLES = 10

# Shard and tool.
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two homes keep.

    Attributes:
        counts: number of `calls` by `shard`, `tool`, `kept_by` and `why`; see `compared_calls.sql`.
        examples: some that only one keeps, see `compared_examples.sql`.
        equal: pairs of partitions that were made of the same, and were not read.
        read: partitions of both homes whose rows were read.
        unfinished: shards and tools that a build makes anew, in either home.
        is_same_model: whether one model annotated both.
    """

    counts: "pl.DataFrame"
    examples: "pl.DataFrame"
    equal: int
    read: int
    unfinished: Sequence[_Key]
    is_same_model: bool


def compare_folders(folders: tuple[Path, Path], rounds: tuple[int, int]) -> Comparison:
    """Compares what two warehouses keep; see `Warehouse.compare`."""
    import duckdb
    import polars as pl

    queries = sql_texts("queries")
    files = [reading.chosen_files(folder, _CHOSEN) for folder in folders]
    try:
        homes = list(map(_decided, folders, files, rounds))
        unfinished = {key for home in homes for key in home if not home[key]["is_whole"]}
        contents = [{(key, row["content"]) for key, row in home.items()} for home in homes]
        # Without a fingerprint nobody has said what rows were made of.
        equal = {key for key, content in contents[0] & contents[1] if content} - unfinished
        keys = [home.keys() - equal - unfinished for home in homes]
        files = list(map(_limited, files, rounds, keys))
        with open_connection() as db:
            _create_views(db, files, keys)
            confine(db, *folders)
            db.execute(queries["compared_calls"])
            by = "shard, tool, kept_by, why"
            counts = db.sql(f"select {by}, count(*) as calls from compared_calls group by all").pl()
            shown = db.sql(queries["compared_examples"], params={"examples": _EXAMPLES}).pl()
    except duckdb.Error as error:
        for folder, each in zip(folders, files, strict=True):
            reading.refuse_changed(folder, each, error)
            reading.refuse_damaged(TABLES, each)
        raise reading.refused(error) from error
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


def _decided(folder: Path, files: reading.Files, round_number: int) -> dict[_Key, dict[str, Any]]:
    """The decided partitions of a round of a home, as of `compared_partitions.sql`."""
    with reading.open_views(folder, _DECIDED, files) as connection:
        rows = connection.sql(sql_texts("queries")["compared_partitions"]).pl()
    of_round = rows.filter(round=round_number)
    if of_round.is_empty():
        named = ", ".join(map(str, rows["round"].unique().sort()))
        expected = f"one of {named}, by --rounds." if named else "a home that was built."
        raise ComparisonError(
            f"The home '{folder.parent}' has no decided calls of round {round_number}. Expected "
            f"{expected} `toolformer build` makes them."
        )
    return {(row["shard"], row["tool"]): row for row in of_round.iter_rows(named=True)}


def _limited(files: reading.Files, round_number: int, keys: Collection[_Key]) -> reading.Files:
    """The versions that hold the rows of some shards and tools."""
    shards = {shard for shard, _ in keys}

    def is_read(path: Path) -> bool:
        shard, (number, name) = str(shard_of(path)), split_round(partition_of(path) or "")
        if name == ALL:
            return shard in shards
        return number == round_number and (shard, name) in keys

    return reading.Files({table: list(filter(is_read, files.of[table])) for table in files.of})


def _create_views(
    connection: "duckdb.DuckDBPyConnection",
    files: Sequence[reading.Files],
    keys: Sequence[Collection[_Key]],
) -> None:
    """Creates views with the rows of both homes, and with what is compared."""
    import polars as pl

    for table in TABLES:
        columns = shown_columns(table_schema(table))
        sources = (each.sources()[table] for each in files)
        homes = (f"select {n} as home, {columns} from {rows}" for n, rows in enumerate(sources, 1))
        connection.execute(f"create view {table} as {' union all '.join(homes)}")
    compared = [(n, *key) for n, of_home in enumerate(keys, 1) for key in of_home]
    schema = {"home": pl.Int32, "shard": pl.String, "tool": pl.String}
    connection.register("compared_partitions", pl.DataFrame(compared, schema, orient="row"))
