"""Files that were written before their table had all the columns that it has now."""

from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from warehouse.errors import LayoutError
from warehouse.schema import ColumnSchema, TableSchema


def columns_not_in(schema: TableSchema, path: Path, present: Collection[str]) -> list[ColumnSchema]:
    """Returns the columns of a table that a file of it lacks; its rows are NULL there.

    Args:
        path: The file, for the error.
        present: Names of the columns that it has.

    Raises:
        LayoutError: One of them may not be NULL.
    """
    absent = [column for column in schema.columns if column.name not in present]
    for column in absent:
        if column.is_required:
            raise LayoutError(
                f"'{path}' was written by another version of toolformer: it lacks column "
                f"'{column.name}' of table '{schema.name}', which every row needs. Remove the "
                "file, then run the command that made it again, such as `toolformer build` or "
                "`toolformer evaluate`, which makes what is missing."
            )
    return absent


def columns_lacking(schema: TableSchema, paths: Iterable[Path]) -> list[ColumnSchema]:
    """Returns the columns that some of a table's files lack; opens the footers of all.

    Raises:
        LayoutError: One of them may not be NULL.
    """
    import polars as pl

    lacking = []
    for path in paths:
        # Swept or moved meanwhile: whoever reads it notices.
        with suppress(FileNotFoundError):
            lacking += columns_not_in(schema, path, pl.read_parquet_schema(path))
    return lacking
