"""Runs one reading statement over the views.

The versions of the partitions are chosen once, before the statement runs, so each partition is read
as it was at one moment. Of a user's statements only a single select is accepted, and the connection
sees no file outside the warehouse and no network.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from warehouse.connection import open_connection, temporary_tables
from warehouse.errors import PartitionsChangingError, QueryError
from warehouse.needs import Needs, needs_of, of_counts, parsed
from warehouse.reading import Files, Reader, changing, refused
from warehouse.relations import create_published, create_statistics_views
from warehouse.schema import sql_texts

if TYPE_CHECKING:
    import duckdb
    import polars as pl
    import pyarrow as pa

_T = TypeVar("_T")

# One run and three repetitions.
_MAX_ATTEMPTS = 4
_ROWS_PER_BATCH = 4096

_READING_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})

_WHOLE_NUMBERS = {"tinyint", "smallint", "integer", "bigint", "hugeint"}
_UNSIGNED = {"utinyint", "usmallint", "uinteger", "ubigint"}
_KEPT_TYPES = {"boolean", "varchar", "float", "double", "decimal", *_WHOLE_NUMBERS, *_UNSIGNED}


def run_query(
    reader: Reader,
    sql: str,
    fetch: Callable[["duckdb.DuckDBPyRelation"], _T],
    parameters: Mapping[str, object] | None = None,
    *,
    is_compared: bool = True,
) -> _T:
    """Run one select statement over the tables and views.

    Args:
        sql: The statement, with parameters as `$name`.
        fetch: Takes the rows, such as `frame_of`. Called again if files were replaced meanwhile.
            Dates, and whatever else is no number, truth value, list or struct, are the text that
            DuckDB writes.
        is_compared: Whether the digests of all files are compared first, which reads them whole.

    Raises:
        QueryError: The statement is no single select or DuckDB refused it.
        DamagedPartitionError: A partition of a table in the statement cannot be read.
        PartitionsChangingError: Partitions were replaced at every attempt.
    """
    import duckdb

    needs = needs_of(sql)
    files = _chosen(reader, needs, is_compared=is_compared)
    failure: duckdb.Error | None = None
    for _ in range(_MAX_ATTEMPTS):
        try:
            with reader.open_views(needs, files) as connection:
                return fetch(_selection(connection, sql, parameters))
        except (
            duckdb.CatalogException,
            duckdb.ParserException,
            duckdb.BinderException,
            duckdb.PermissionException,
            duckdb.ConversionException,
        ) as error:
            raise refused(error) from error
        except duckdb.Error as error:
            files = _newer(reader, needs, files, error)
            failure = error
    raise PartitionsChangingError(
        f"Partitions of {', '.join(sorted(needs.tables))} were replaced during each of "
        f"{_MAX_ATTEMPTS} attempts of the query (last error: {failure}). Run it again, or after "
        "the build."
    ) from failure


def _chosen(reader: Reader, needs: Needs, *, is_compared: bool = True) -> Files:
    files = reader.choose(needs)
    return reader.verified(files) if is_compared else files


def _newer(reader: Reader, needs: Needs, files: Files, error: Exception) -> Files:
    """Return the files that replaced those over which DuckDB failed.

    Raises:
        DamagedPartitionError: A file is damaged or missing.
        QueryError: Nothing was replaced, so the statement is at fault.
    """
    newer = _chosen(reader, needs)
    if newer.rows == files.rows:
        raise refused(error) from error
    return newer


@contextmanager
def counts_at_once(
    reader: Reader,
) -> Iterator[Callable[[str, Mapping[str, object]], "pl.DataFrame"]]:
    """Read the counts of all partitions once, for any number of statements over them.

    Yields:
        A function that runs a statement of the project that reads nothing but counts, with its
        parameters.

    Raises:
        DamagedPartitionError: A catalogue is damaged.
    """
    needs = of_counts()
    with open_connection() as connection:
        create_published(connection, needs, reader.published(needs))
        create_statistics_views(connection, needs.views)
        yield lambda sql, values: frame_of(_selection(connection, sql, values))


def ask_frames(name: str, frames: Mapping[str, "pl.DataFrame"], **values: object) -> "pl.DataFrame":
    """Run a query of `queries/` over frames in place of its tables."""
    with temporary_tables() as connection:
        for table, rows in frames.items():
            connection.register(table, rows)
        return connection.sql(sql_texts("queries")[name], params=values).pl()


@contextmanager
def stream_query(
    reader: Reader, sql: str, parameters: Mapping[str, object] | None = None
) -> Iterator["pa.RecordBatchReader"]:
    """Run a query of the project whose rows can be read inside the block, however many.

    It is not repeated if partitions are replaced: its first rows are used by then.

    Yields:
        The batches, with their schema. Sorting spills where TMPDIR says.

    Raises:
        DamagedPartitionError: A partition cannot be read.
        PartitionsChangingError: A superseded file was removed while rows were read.
        QueryError: DuckDB refused the statement, or could not go on with it.
    """
    import duckdb
    import pyarrow as pa

    needs = needs_of(sql)
    files = _chosen(reader, needs)
    try:
        with reader.open_views(needs, files) as connection:
            relation = connection.sql(sql, params=dict(parameters or {}))
            yield relation.to_arrow_reader(_ROWS_PER_BATCH)
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        # An error of whoever reads comes by here as well.
        if reader.are_gone(files):
            _chosen(reader, needs)
            raise changing() from error
        if isinstance(error, duckdb.Error):
            raise refused(error) from error
        raise


def _selection(
    connection: "duckdb.DuckDBPyConnection", sql: str, parameters: Mapping[str, object] | None
) -> "duckdb.DuckDBPyRelation":
    import duckdb

    statements = connection.extract_statements(sql)
    nodes = parsed(sql)[0]
    if len(statements) != 1 or not nodes or nodes - _READING_NODES:
        kinds = [each.type.name for each in statements] + sorted(nodes - _READING_NODES)
        raise QueryError(
            "Only a single statement that reads is accepted, such as `select … from documents`; "
            f"got: {', '.join(kinds) or 'nothing'}. To write files or change settings, open "
            "warehouse.duckdb in DuckDB."
        )
    relation = connection.sql(_without_semicolons(sql), params=dict(parameters or {}))
    names = relation.columns
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise QueryError(
            f"The result has two columns '{twice}'; expected one name per column. "
            "Give one of them another name with `as`."
        )
    # Polars lacks a value for some dates, times, intervals and wide numbers.
    columns = [
        duckdb.SQLExpression(f"#{number}").cast(_held_by_polars(kind)).alias(name)
        for number, (name, kind) in enumerate(zip(names, relation.types, strict=True), start=1)
    ]
    return relation.select(*columns)


def frame_of(relation: "duckdb.DuckDBPyRelation") -> "pl.DataFrame":
    """Return the rows; wide integers, such as those of `sum`, become Int64 if they fit."""
    import polars as pl

    frame = relation.pl()
    for name, kind in frame.schema.items():
        if isinstance(kind, pl.Decimal) and kind.scale == 0:
            with suppress(pl.exceptions.InvalidOperationError):
                frame = frame.with_columns(pl.col(name).cast(pl.Int64))
    return frame


def _without_semicolons(sql: str) -> str:
    """Blank the semicolons, so that the statement can be a subquery even if a comment follows."""
    import duckdb

    text = bytearray(sql.encode())
    for offset, _ in duckdb.tokenize(sql):
        if text[offset] == ord(";"):
            text[offset] = ord(" ")
    return text.decode()


def _held_by_polars(kind: Any) -> Any:
    import duckdb
    from duckdb.sqltypes import VARCHAR

    if kind.id in _KEPT_TYPES:
        return kind
    if kind.id in ("list", "array"):
        return duckdb.list_type(_held_by_polars(kind.children[0][1]))
    if kind.id == "struct":
        return duckdb.struct_type({name: _held_by_polars(inner) for name, inner in kind.children})
    return VARCHAR
