"""Compares the kept calls of two homes, or of two rounds of one.

Footers are read first: partitions that were made of the same have the same rows, and are not read.
Neither are those that a build is making anew: their decisions stand beside other candidates.
"""

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from warehouse.catalogue import shown_columns
from warehouse.connection import confine, open_connection
from warehouse.errors import ComparisonError, PartitionsChangingError
from warehouse.layout import EMPTY_SHARD, shard_of, split_round
from warehouse.needs import METADATA_VIEW, Needs
from warehouse.reading import (
    Files,
    are_there,
    chosen_files,
    looked_at,
    open_views,
    refuse_damaged,
    refused,
)
from warehouse.schema import sql_texts, table_schema
from warehouse.versions import partition_of

if TYPE_CHECKING:
    import polars as pl

COMPARED_TABLES = frozenset({"documents", "candidate_calls", "executed_calls", "filtered_calls"})
_FOOTERS = Needs(frozenset(), COMPARED_TABLES, frozenset({METADATA_VIEW, "decision_counts"}))
_ROWS = Needs(COMPARED_TABLES, frozenset(), frozenset())
# What two engines may differ by in a loss, in nats.
_SAME_LOSS = 1e-4

# Shard and tool.
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two homes keep.

    Attributes:
        counts: calls by `shard` and `tool`, by `kept_by` (both, first or second) and by `why` only
            one keeps them; see `compared_calls.sql`.
        examples: some that only one keeps, as of `compared_examples.sql`.
        equal_partitions: pairs of partitions that were made of the same, and were not read.
        read_partitions: partitions of both homes whose rows were read.
        unfinished: shard and tool of partitions that a build makes anew, of either home.
        is_same_model: whether one model annotated both.
    """

    counts: "pl.DataFrame"
    examples: "pl.DataFrame"
    equal_partitions: int
    read_partitions: int
    unfinished: tuple[_Key, ...]
    is_same_model: bool


@dataclass(frozen=True, slots=True)
class _Footers:
    """The decided partitions of one round of a home, by shard and tool, and all files of it."""

    folder: Path
    files: Files
    round_number: int
    whole: Mapping[_Key, Mapping[str, object]]
    unfinished: tuple[_Key, ...]

    @classmethod
    def read(cls, folder: Path, round_number: int) -> "_Footers":
        files = chosen_files(folder, _FOOTERS)
        with open_views(folder, _FOOTERS, files) as connection:
            rows = connection.sql(sql_texts("queries")["compared_partitions"]).pl()
        found, rounds = {}, set()
        for row in rows.iter_rows(named=True):
            number, tool = split_round(row["partition"])
            rounds.add(number)
            if number == round_number:
                found[row["shard"], tool] = row
        if not found:
            named = ", ".join(map(str, sorted(rounds)))
            raise ComparisonError(
                f"The home '{folder.parent}' has no decided calls of round {round_number}. "
                + (
                    f"Expected one of its rounds: {named}. Choose it with --rounds."
                    if rounds
                    else "Expected a home that was built. Run `toolformer build` there first."
                )
            )
        whole = {key: row for key, row in found.items() if row["is_whole"]}
        return cls(folder, files, round_number, whole, tuple(found.keys() - whole.keys()))

    def files_of(self, keys: Iterable[_Key]) -> Files:
        """The versions that hold the rows of some shards and tools."""
        wanted = set(keys)
        shards = {shard for shard, _ in wanted}

        def is_read(table: str, path: Path) -> bool:
            shard = shard_of(path)
            if table == "documents" or shard == EMPTY_SHARD:
                return shard in (*shards, EMPTY_SHARD)
            number, tool = split_round(partition_of(path) or "")
            return number == self.round_number and (shard, tool) in wanted

        chosen = {
            table: [path for path in paths if is_read(table, path)]
            for table, paths in self.files.of.items()
        }
        return looked_at(_ROWS, Files(chosen))


def compare_folders(
    first: Path, second: Path, *, rounds: tuple[int, int], examples: int
) -> Comparison:
    """Compares what two warehouses keep; see `Warehouse.compare`."""
    import duckdb
    import polars as pl

    try:
        homes = [_Footers.read(first, rounds[0]), _Footers.read(second, rounds[1])]
    except duckdb.Error as error:
        raise refused(error) from error
    one, two = (home.whole for home in homes)
    equal = {
        key
        for key in one.keys() & two.keys()
        if one[key]["fingerprint"] is not None
        and one[key]["fingerprint"] == two[key]["fingerprint"]
    }
    unfinished = {key for home in homes for key in home.unfinished}
    others = [sorted(home.whole.keys() - equal - unfinished) for home in homes]
    models = [{row["model"] for row in home.whole.values()} for home in homes]
    counts, shown = _of_rows(homes, others, has_equal=bool(equal), examples=examples)
    from_footers = pl.DataFrame(
        [(*key, "both", None, one[key]["kept"]) for key in sorted(equal) if one[key]["kept"]],
        schema=counts.schema,
        orient="row",
    )
    return Comparison(
        counts=pl.concat([counts, from_footers]).sort(counts.columns[:4], nulls_last=False),
        examples=shown,
        equal_partitions=len(equal),
        read_partitions=sum(map(len, others)),
        unfinished=tuple(sorted(unfinished)),
        is_same_model=models[0] == models[1],
    )


def _of_rows(
    homes: list[_Footers], keys: list[list[_Key]], *, has_equal: bool, examples: int
) -> tuple["pl.DataFrame", "pl.DataFrame"]:
    """Counts and examples of the partitions that are read."""
    import duckdb
    import polars as pl

    queries = sql_texts("queries")
    files = [home.files_of(of_home) for home, of_home in zip(homes, keys, strict=True)]
    compared = pl.DataFrame(
        [(home, *key) for home, of_home in enumerate(keys, start=1) for key in of_home],
        schema={"home": pl.Int32, "shard": pl.String, "tool": pl.String},
        orient="row",
    )
    try:
        with (
            tempfile.TemporaryDirectory() as spill,
            open_connection(spill_folder=Path(spill)) as connection,
        ):
            for table in sorted(COMPARED_TABLES):
                columns = shown_columns(table_schema(table))
                rows = (each.sources()[table].rows for each in files)
                of_homes = (
                    f"select {home} as home, {columns} from {source}"
                    for home, source in enumerate(rows, start=1)
                )
                connection.execute(f"create view {table} as {' union all '.join(of_homes)}")
            confine(connection, *(home.folder for home in homes))
            connection.register("compared_partitions", compared)
            if not has_equal and not connection.sql(queries["has_common_text"]).fetchall():
                raise ComparisonError(
                    "The two homes have no text in common. Expected homes of the same sources: a "
                    "text is the same where it was read from the same path, at the same place."
                )
            connection.execute(
                f"create temp table compared_calls as {queries['compared_calls']}",
                {"tolerance": _SAME_LOSS},
            )
            counts = connection.sql(queries["compared_counts"]).pl()
            shown = connection.sql(queries["compared_examples"], params={"examples": examples}).pl()
            return counts, shown
    except duckdb.Error as error:
        if not all(map(are_there, files)):
            raise PartitionsChangingError(
                "Partitions were moved away while their rows were compared: a build runs. Run the "
                "same again, or after the build."
            ) from error
        for each in files:
            refuse_damaged(COMPARED_TABLES, each)
        raise refused(error) from error
