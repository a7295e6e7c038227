"""The warehouse as the rest of the project sees it: one object over one folder.

Does not hold anything open between calls, so any number of processes may use the same folder.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from warehouse import catalogue, damage, slices
from warehouse.adoption import adopt_slices
from warehouse.connection import sql_name
from warehouse.layout import (
    SliceInfo,
    empty_slice_path,
    list_slices,
    remove_stale_files,
    split_round,
)
from warehouse.query import run_query
from warehouse.schema import tables
from warehouse.standalone import write_standalone_database
from warehouse.streaming import stream_query

if TYPE_CHECKING:
    import pyarrow as pa


class Warehouse:
    """DuckDB over one Parquet file per slice.

    Args:
        folder: Folder of the slices.
        database_file: DuckDB file with the same views, for people and their tools.
    """

    def __init__(self, folder: Path, database_file: Path):
        self.folder = folder.absolute()
        self.database_file = database_file.absolute()

    def prepare(self) -> None:
        """Makes the warehouse ready for readers; does nothing where it is already.

        Writes the zero-row slices, adopts slices of older homes, removes what killed writers left
        behind, and writes the database file anew when a view or the folder has changed.

        Raises:
            StorageError: The disk refused a write.
            DamagedSliceError: The database file is out of date and a slice cannot be read.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_stale_files(self.folder, self.database_file)
        adopt_slices(self.folder)
        for table in tables():
            slices.ensure_empty_slice(self.folder, table)
        catalogue.write_database(self.folder, self.database_file)

    def adopt_slices(self) -> None:
        """Makes versions of the slices of an older home; `prepare` does so too."""
        adopt_slices(self.folder)

    def replace_slice(
        self,
        table: str,
        shard: str,
        slice_name: str,
        frame: pl.DataFrame,
        *,
        metadata: Mapping[str, str],
    ) -> int:
        """Replaces a slice by the rows of a frame, all at once; returns the number of rows.

        Args:
            table: Name of the table.
            shard: Shard key; `all` for a table that is not cut by shard.
            slice_name: Tool, or what else the table is cut by.
            frame: The rows, in the order they are to have; columns are matched by name.
            metadata: Facts kept in the file beside the rows, such as the fingerprint.

        Raises:
            UnknownTableError: There is no such table.
            SliceNameError: The shard or the name cannot be part of a path.
            SliceValidationError: A row breaks a constraint; the old slice is untouched.
            StorageError: The disk refused the write; the old slice is untouched.
        """
        return slices.replace_slice(self.folder, table, shard, slice_name, frame, metadata=metadata)

    def slice_metadata(self, table: str, shard: str, slice_name: str) -> dict[str, str] | None:
        """Returns the metadata written with a slice; None where there is no slice.

        Raises:
            DamagedSliceError: The file is truncated or no Parquet file.
        """
        return slices.slice_metadata(self.folder, table, shard, slice_name)

    def slice_version(
        self, table: str, shard: str, slice_name: str
    ) -> tuple[str, dict[str, str]] | None:
        """Returns what tells a slice from others in its place, and its metadata; None without one.

        Raises:
            DamagedSliceError: The file is not as it was written.
        """
        return slices.slice_version(self.folder, table, shard, slice_name)

    def read_slice(self, table: str, shard: str, slice_name: str) -> pl.DataFrame:
        """Returns the rows of one slice in the order they were written.

        Raises:
            SliceNotFoundError: The slice does not exist.
            DamagedSliceError: The file is truncated or no Parquet file.
        """
        return slices.read_slice(self.folder, table, shard, slice_name)

    def read_slices(
        self, table: str, shard: str, *, round_number: int | None = None
    ) -> pl.DataFrame:
        """Returns the rows of all slices of one shard; no rows, but typed, where there is none.

        Args:
            table: Name of the table.
            shard: Shard key.
            round_number: Only the slices of this sampling round; by default those of all rounds.

        Raises:
            DamagedSliceError: A file is truncated or no Parquet file.
        """
        return slices.read_slices(self.folder, table, shard, round_number=round_number)

    def slices(self, table: str, shard: str | None = None) -> list[SliceInfo]:
        """Lists the slices of a table, of one shard or of all."""
        return list_slices(self.folder, table, shard)

    def slice_names(self, table: str, shard: str, *, round_number: int) -> list[str]:
        """Lists the names of a shard's slices of one sampling round, without the round."""
        named = [split_round(info.name) for info in self.slices(table, shard)]
        return [name for number, name in named if number == round_number]

    def retire_shard(self, shard: str) -> Path | None:
        """Moves all slices of a shard aside; returns their new folder, None where there are none.

        Raises:
            StorageError: The file system refused.
        """
        return damage.retire_shard(self.folder, shard)

    def restore_shard(self, shard: str) -> int:
        """Moves the slices of a retired shard back; returns how many, 0 where there are none.

        Raises:
            StorageError: The file system refused.
        """
        return damage.restore_shard(self.folder, shard)

    def query(self, sql: str, parameters: Mapping[str, object] | None = None) -> pl.DataFrame:
        """Runs one select statement over the tables and statistics views.

        Args:
            sql: The statement; values stand in it as `$name`.
            parameters: The values.

        Raises:
            QueryError: The statement is no single select or DuckDB refused it.
            DamagedSliceError: A slice of a table in the statement cannot be read.
            SlicesChangingError: Slices were replaced at every attempt.
            StorageError: The warehouse was not prepared and cannot be.
        """
        for table in catalogue.tables_in(sql):
            if empty_slice_path(self.folder, table) is None:
                slices.ensure_empty_slice(self.folder, table)
        return run_query(self.folder, sql, parameters)

    def view(self, name: str, *, round_number: int | None = None) -> pl.DataFrame:
        """Returns the rows of a statistics view in its own order.

        Args:
            name: Of a file in `warehouse/views`.
            round_number: Only the rows of this sampling round, without the column `round`.

        Raises: See `query`.
        """
        if round_number is None:
            return self.query(f"select * from {sql_name(name)}")
        statement = f"select * exclude (round) from {sql_name(name)} where round = $round"
        return self.query(statement, {"round": round_number})

    def ask(self, name: str, **values: object) -> pl.DataFrame:
        """Returns the rows of a query of the project.

        Args:
            name: Of a file in `warehouse/queries`.
            values: What stands in it as `$name`.

        Raises: See `query`.
        """
        return self.query(_text_of(name), values)

    def stream(self, name: str, **values: object) -> AbstractContextManager["pa.RecordBatchReader"]:
        """Gives the rows of a query of the project batch by batch; see `stream_query`.

        Args:
            name: Of a file in `warehouse/queries`.
            values: What stands in it as `$name`.
        """
        return stream_query(self.folder, _text_of(name), values)

    def write_standalone(self, file: Path, *, round_number: int | None = None) -> dict[str, int]:
        """Copies all rows into one DuckDB file; see `write_standalone_database`."""
        return write_standalone_database(self.folder, file, round_number=round_number)

    def damaged_slices(self, table_names: Iterable[str] | None = None) -> list[Path]:
        """Returns the slices that are not as they were written; None looks at all tables."""
        return damage.damaged_slices(self.folder, table_names)

    def set_aside(self, path: Path) -> Path:
        """Moves a damaged slice out of the warehouse and returns where it went.

        Raises:
            SliceNotFoundError: The path is no file of the warehouse.
            StorageError: The file system refused.
        """
        target = damage.set_aside(self.folder, path)
        for table in tables():
            slices.ensure_empty_slice(self.folder, table)
        return target


def _text_of(query: str) -> str:
    file = resources.files("warehouse").joinpath("queries", f"{query}.sql")
    return file.read_text(encoding="utf-8")
