"""Opens the views over chosen versions of partitions, for statements that read."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from warehouse.connection import confine, open_connection
from warehouse.errors import PartitionsChangingError, QueryError
from warehouse.labels import read_label_lines
from warehouse.layout import is_damaged
from warehouse.needs import LABELS, METADATA_VIEW, Needs
from warehouse.partitions import damaged_error, lost_error
from warehouse.published import catalogues, files_of, path_of
from warehouse.relations import create_label_lines, create_published, create_views, file_list_source
from warehouse.schema import table_schema

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class Files:
    """What is read, as the catalogues named it at one moment.

    Attributes:
        of: The files by table.
        published: Of the partitions whose catalogues are asked the table, shard, name, metadata
            and counts, these as JSON.
    """

    of: Mapping[str, Sequence[Path]]
    published: Sequence[tuple[str, str, str, str, str]] = ()

    def sources(self) -> dict[str, str]:
        """Returns the SQL behind `from` that reads the tables."""
        return {
            table: file_list_source(table_schema(table), paths) for table, paths in self.of.items()
        }


def chosen_files(folder: Path, needs: Needs, shards: Collection[str] | None = None) -> Files:
    """Returns the newest versions of the partitions that are read.

    Args:
        shards: Only those of these shards, of tables that are cut by shard; by default all.

    Raises:
        DamagedPartitionError: A catalogue is not what was written.
    """
    of: dict[str, list[Path]] = {table: [] for table in sorted(needs.rows)}
    published: list[tuple[str, str, str, str, str]] = []
    for catalogue in catalogues(folder, needs.tables, shards):
        for table, name in catalogue.lines:
            if table in needs.rows:
                entry = catalogue.entry(table, name)
                path = entry and path_of(folder, entry, catalogue.shard)
                of[table] += [path] if path else []
            if table in needs.published:
                texts = catalogue.texts(table, name, with_metadata=METADATA_VIEW in needs.views)
                published.append((table, catalogue.shard, name, *texts))
    return Files(of, published)


def refuse_damaged(table_names: Iterable[str], files: Files) -> None:
    """Reads the versions of some tables as a whole and compares their digests.

    Before anything is decoded, since flipped bits can decode to other rows. Catalogues have seals.

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


def are_moved(folder: Path, files: Files) -> bool:
    """Whether some files were moved away or swept meanwhile.

    Raises:
        DamagedPartitionError: Some are missing that the catalogues name still.
    """
    missing = {path for paths in files.of.values() for path in paths if not path.exists()}
    if missing and (lost := missing.intersection(files_of(folder, list(files.of)))):
        raise lost_error(sorted(lost))
    return bool(missing)


def refuse_changed(folder: Path, files: Files, error: Exception) -> None:
    """Explains an error by versions that are lost, or were moved away or swept meanwhile.

    Raises:
        DamagedPartitionError, PartitionsChangingError: Some are, or were.
    """
    if are_moved(folder, files):
        raise PartitionsChangingError(
            "Partitions were moved away while their rows were read: a build runs. Run the same "
            "again, or after the build."
        ) from error


@contextmanager
def open_views(folder: Path, needs: Needs, files: Files) -> Iterator["duckdb.DuckDBPyConnection"]:
    """Opens a connection with the views over these versions, which sees no other file.

    Raises:
        duckdb.Error: A version is damaged, or was moved away at that moment.
    """
    with open_connection() as connection:
        create_published(connection, files.published)
        if LABELS in needs.views:
            create_label_lines(connection, read_label_lines(folder))
        create_views(connection, needs, files.sources())
        confine(connection, folder)
        yield connection


def refused(error: Exception) -> QueryError:
    """Returns what is said of a statement that DuckDB does not run."""
    return QueryError(f"DuckDB refused the query: {error}\nCorrect the statement and run it again.")
