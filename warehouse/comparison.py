"""Compares the kept calls of two homes, or of two rounds of one home.

Partitions are skipped if both catalogues have the same fingerprint and the same decisions, or if a
build is replacing them: their decisions then belong to earlier candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from warehouse.connection import confine, open_connection
from warehouse.errors import ComparisonError
from warehouse.needs import METADATA_VIEW, Needs
from warehouse.reading import Files, Reader, changing, refused
from warehouse.schema import ALL, sql_texts

if TYPE_CHECKING:
    import polars as pl

TABLES = frozenset({"documents", "candidate_calls", "executed_calls", "filtered_calls"})
_VIEWS = frozenset({METADATA_VIEW, "decision_counts"})
_DECIDED = Needs(frozenset(), TABLES, _VIEWS)
_CHOSEN = Needs(TABLES, TABLES, _VIEWS)
_EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class Comparison:
    """Result of comparing the kept calls of two homes.

    Attributes:
        counts: Number of `calls` by `shard`, `tool`, `kept_by` and `why`; see `compared_calls.sql`.
        examples: Some calls that only one home keeps; see `compared_examples.sql`.
        equal: Number of pairs of partitions that are equal according to the catalogues.
        read: Number of partitions, in both homes together, whose rows were read.
        unfinished: Shards and tools that a build is replacing in either home.
    """

    counts: "pl.DataFrame"
    examples: "pl.DataFrame"
    equal: int
    read: int
    unfinished: Sequence[tuple[str, str]]
    is_same_model: bool


def compare_readers(readers: tuple[Reader, Reader], rounds: tuple[int, int]) -> Comparison:
    import duckdb
    import polars as pl

    queries = sql_texts("queries")
    files = [reader.choose(_CHOSEN) for reader in readers]
    decided = pl.concat(map(_decided, (1, 2), readers, files, rounds))
    content, key = pl.col("content"), ("shard", "tool")
    is_whole = pl.col("is_whole").all().over(key)
    # Without a fingerprint it is unknown what the rows were computed from.
    is_equal = ((content.count() == 2) & (content.n_unique() == 1)).over(key)
    equal = decided.filter(is_whole & is_equal, home=1)
    compared = decided.filter(is_whole & ~is_equal)
    read = [
        reader.verified(_limited(each, compared.filter(home=home)))
        for home, (reader, each) in enumerate(zip(readers, files, strict=True), 1)
    ]
    folders = [reader.folder for reader in readers]
    try:
        with open_connection() as db:
            first, second = map(Files.sources, read, folders)
            for table in TABLES:
                db.execute(
                    f"create view {table} as select 1 as home, * from {first[table]} "
                    f"union all by name select 2 as home, * from {second[table]}"
                )
            db.register("compared_partitions", compared)
            confine(db, *folders)
            db.execute(queries["compared_calls"])
            columns = "shard, tool, kept_by, why, count(*) as calls"
            counts = db.sql(f"select {columns} from compared_calls group by all").pl()
            shown = db.sql(queries["compared_examples"], params={"examples": _EXAMPLES}).pl()
    except duckdb.Error as error:
        if any(map(Reader.are_gone, readers, read)):
            raise changing() from error
        raise refused(error) from error
    if equal.is_empty() and set(counts["why"]) == {"text"}:
        raise ComparisonError(
            "No kept call is in a text that both homes have annotated. Expected two homes with the "
            "same sources. Two texts are the same if both were read at the same offset of the same "
            "path and are equal."
        )
    both = pl.lit("both").alias("kept_by"), pl.lit(None).alias("why"), pl.col("kept").alias("calls")
    models = [set(decided.filter(home=home)["model"]) for home in (1, 2)]
    return Comparison(
        pl.concat([counts, equal.select(*key, *both)], how="vertical_relaxed"),
        shown,
        equal=equal.height,
        read=compared.height,
        unfinished=sorted(set(decided.filter(~is_whole).select(key).rows())),
        is_same_model=models[0] == models[1],
    )


def _decided(home: int, reader: Reader, files: Files, round_number: int) -> "pl.DataFrame":
    import polars as pl

    with reader.open_views(_DECIDED, Files({}, files.published)) as connection:
        rows = connection.sql(sql_texts("queries")["compared_partitions"]).pl()
    of_round = rows.filter(round=round_number)
    if of_round.is_empty():
        named = ", ".join(map(str, rows["round"].unique().sort()))
        expected = f"one of the rounds {named} (--rounds)" if named else "a home that was built"
        raise ComparisonError(
            f"The home '{reader.folder.parent}' has no decided calls of round {round_number}. "
            f"Expected {expected}. Run `toolformer build` to make the calls of a round."
        )
    return of_round.with_columns(home=pl.lit(home))


def _limited(files: Files, compared: "pl.DataFrame") -> Files:
    names = set(compared.select("shard", "partition").rows()) | {
        (s, ALL) for s in compared["shard"]
    }
    chosen = {
        table: [(shard, entry) for shard, entry in rows if (shard, entry.name) in names]
        for table, rows in files.rows.items()
    }
    return Files(chosen)
