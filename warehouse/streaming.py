"""Gives the rows of a query batch by batch, for results that may be larger than memory.

Does not repeat a query whose slices were moved away: its first rows are used by then.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from warehouse.errors import SlicesChangingError
from warehouse.needs import needs_of
from warehouse.reading import are_there, chosen_files, open_views, refused

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_PER_BATCH = 4096


@contextmanager
def stream_query(
    folder: Path, sql: str, parameters: Mapping[str, object] | None = None
) -> Iterator["pa.RecordBatchReader"]:
    """Runs a query of the project; its rows can be read inside the block.

    Args:
        folder: Folder of the warehouse.
        sql: One select statement; values stand in it as `$name`.
        parameters: The values.

    Yields:
        The batches, with their schema. Sorting spills to the disk beside the slices.

    Raises:
        DamagedSliceError: A slice cannot be read.
        SlicesChangingError: A slice was moved away while rows were read.
        QueryError: DuckDB refused the statement, or could not go on with it.
    """
    import duckdb
    import pyarrow as pa

    needs = needs_of(sql)
    files = chosen_files(folder, needs)
    try:
        with open_views(folder, needs, files) as connection:
            relation = connection.sql(sql, params=dict(parameters or {}))
            yield relation.to_arrow_reader(_ROWS_PER_BATCH)
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        # An error of whoever reads comes by here as well.
        if not are_there(files):
            raise SlicesChangingError(
                "Slices were moved away while their rows were read: a build runs. Run the same "
                "again, or after the build."
            ) from error
        if isinstance(error, duckdb.Error):
            raise refused(error) from error
        raise
