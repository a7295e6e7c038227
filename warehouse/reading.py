"""Opens the views over chosen versions of partitions, for statements that read."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from warehouse.catalogue import Source, create_views, file_list_source
from warehouse.connection import confine, open_connection
from warehouse.counting import COUNTS, rows_of_lists
from warehouse.errors import PartitionsChangingError, QueryError
from warehouse.layout import EMPTY_SHARD, files_of, shard_of
from warehouse.needs import Needs, everything
from warehouse.older_files import columns_lacking
from warehouse.partitions import damaged_error
from warehouse.remembered import remembered_counts
from warehouse.schema import table_schema
from warehouse.versions import is_damaged

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class Files:
    """The versions to read.

    Attributes:
        of: By table; the first one of each has all columns, or there is none without rows.
        are_older: Whether others may lack some, which are NULL then; else DuckDB refuses to read
            these. With it, every footer is read before the first row.
    """

    of: Mapping[str, Sequence[Path]]
    are_older: bool = False

    def sources(self) -> dict[str, Source]:
        """Returns where the tables are read from."""
        return {
            table: file_list_source(table_schema(table), paths, unites=self.are_older)
            for table, paths in self.of.items()
        }


def chosen_files(
    folder: Path,
    needs: Needs,
    shards: Collection[str] | None = None,
) -> Files:
    """Returns the newest versions of the partitions that are read; see `files_of`.

    Without those of no rows that are damaged: whoever may write the warehouse mends them.
    """
    return Files(
        {
            table: [
                path
                for path in files_of(folder, table, shards)
                if shard_of(path) != EMPTY_SHARD or not is_damaged(path)
            ]
            for table in needs.tables
        }
    )


def refuse_damaged(table_names: Iterable[str], files: Files) -> None:
    """Reads the versions of some tables as a whole and compares their digests.

    Before anything is decoded, since flipped bits can decode to other rows. What is read of footers
    has digests of its own.

    Raises:
        DamagedPartitionError: Some are not as they were written; names these.
    """
    paths = (path for table in table_names for path in files.of[table])
    if damaged := [path for path in paths if _is_damaged(path)]:
        raise damaged_error(damaged)


def _is_damaged(path: Path) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        # Swept or moved meanwhile.
        return False
    except OSError:
        return True
    state = (path, status.st_ino, status.st_size, status.st_mtime_ns)
    if state not in _intact and is_damaged(path):
        return True
    _intact.add(state)
    return False


# Versions that this process has compared, as the file system told of them then.
_intact: set[tuple[Path, int, int, int]] = set()


def are_there(files: Files) -> bool:
    """Returns whether none of the versions was moved away or swept meanwhile."""
    return all(path.exists() for paths in files.of.values() for path in paths)


def refuse_changed(files: Files, error: Exception) -> None:
    """Explains an error by versions that were moved away or swept meanwhile.

    Raises:
        PartitionsChangingError: Some were.
    """
    if not are_there(files):
        raise PartitionsChangingError(
            "Partitions were moved away while their rows were read: a build runs. Run the same "
            "again, or after the build."
        ) from error


def looked_at(needs: Needs, files: Files) -> Files:
    """Returns the same, with whether a version of which rows are read lacks a column.

    Raises:
        LayoutError: It may not be NULL.
    """
    lacking = [
        columns_lacking(table_schema(table), files.of[table]) for table in sorted(needs.rows)
    ]
    return replace(files, are_older=any(lacking))


@contextmanager
def open_views(
    folder: Path, needs: Needs, files: Files, *, remembers: bool = False, keeps_counts: bool = False
) -> Iterator["duckdb.DuckDBPyConnection"]:
    """Opens a connection with the views over these versions, which sees no other file.

    Args:
        remembers: Whether counts are taken from what was read before; for the partitions of all
            shards.
        keeps_counts: Whether those that were not are kept for the next statement.

    Raises:
        duckdb.Error: A version is damaged, or was moved away at that moment.
    """
    with open_connection() as connection:
        remembered = {}
        # A statement that asks what there is would see the relations of these as well.
        remembers = remembers and needs != everything()
        for name in sorted(needs.views & COUNTS.keys()) if remembers else ():
            if counted := files.of[COUNTS[name]]:
                relation = f"remembered_{name}"
                counts = remembered_counts(connection, folder, name, counted, is_kept=keeps_counts)
                connection.register(relation, counts)
                remembered[name] = rows_of_lists(relation)
        create_views(connection, needs, files.sources(), remembered)
        confine(connection, folder)
        yield connection


def refused(error: Exception) -> QueryError:
    """Returns what is said of a statement that DuckDB does not run."""
    return QueryError(f"DuckDB refused the query: {error}\nCorrect the statement and run it again.")
