"""Runs select statements over the views.

The versions of all partitions are chosen before the statement runs, so it reads a snapshot. Only a
single select statement is accepted, and the connection can read neither files outside the warehouse
nor the network.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from warehouse.connection import open_connection, temporary_tables
from warehouse.errors import PartitionsChangingError, QueryError
from warehouse.needs import Needs, counts_only_needs, needs_of, parsed
from warehouse.reading import Files, Reader, changing, refused
from warehouse.relations import create_published, create_statistics_views
from warehouse.schema import sql_texts

if TYPE_CHECKING:
    import duckdb
    import polars as pl
    import pyarrow as pa

_T = TypeVar("_T")

_MAX_ATTEMPTS = 4
_ROWS_PER_BATCH = 4096

_READING_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})

_SIGNED = {"tinyint", "smallint", "integer", "bigint", "hugeint"}
_UNSIGNED = {"utinyint", "usmallint", "uinteger", "ubigint"}
_KEPT_TYPES = {"boolean", "varchar", "float", "double", "decimal", *_SIGNED, *_UNSIGNED}


def run_query(
    reader: Reader,
    sql: str,
    fetch: Callable[["duckdb.DuckDBPyRelation"], _T],
    parameters: Mapping[str, object] | None = None,
    *,
    verifies_digests: bool = True,
) -> _T:
    """Run one select statement, with parameters as `$name`, over the tables and views.

    Numbers, booleans, lists and structs keep their types; all other values, such as dates, become
    DuckDB's text. `fetch` reads the rows, and is called again if files were replaced meanwhile.
    `verifies_digests` checks the digests of all files first, which reads every file completely.

    Raises:
        QueryError: The statement is not a single select, or DuckDB refused it.
        DamagedPartitionError: A partition that the statement reads is damaged or missing.
        PartitionsChangingError: Partitions were replaced during every attempt.
    """
    import duckdb

    needs = needs_of(sql)
    files = _chosen(reader, needs, verifies_digests=verifies_digests)
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
        f"{_MAX_ATTEMPTS} attempts of the query (last error: {failure}). Run it again, or wait for "
        "the end of the build."
    ) from failure


def _chosen(reader: Reader, needs: Needs, *, verifies_digests: bool = True) -> Files:
    files = reader.choose(needs)
    return reader.verified(files) if verifies_digests else files


def _newer(reader: Reader, needs: Needs, files: Files, error: Exception) -> Files:
    newer = _chosen(reader, needs)
    # Nothing was replaced, so the statement caused the error.
    if newer.rows == files.rows:
        raise refused(error) from error
    return newer


@contextmanager
def preloaded_counts(
    reader: Reader,
) -> Iterator[Callable[[str, Mapping[str, object]], "pl.DataFrame"]]:
    """Read the counts of all partitions once and yield a function that queries only them."""
    needs = counts_only_needs()
    with open_connection() as connection:
        create_published(connection, needs, reader.published(needs))
        create_statistics_views(connection, needs.views)
        yield lambda sql, values: frame_of(_selection(connection, sql, values))


def query_frames(
    name: str, frames: Mapping[str, "pl.DataFrame"], **values: object
) -> "pl.DataFrame":
    """Run `queries/<name>.sql` over frames instead of tables."""
    with temporary_tables() as connection:
        for table, rows in frames.items():
            connection.register(table, rows)
        return connection.sql(sql_texts("queries")[name], params=values).pl()


@contextmanager
def stream_query(
    reader: Reader, sql: str, parameters: Mapping[str, object] | None = None
) -> Iterator["pa.RecordBatchReader"]:
    """Run a query of the project and yield its rows as a stream, for results larger than memory.

    It raises the errors of `run_query` but makes only one attempt, because the caller may already
    have used rows when partitions are replaced.
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
        # The error may also come from the caller's block.
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
            f"The query has the statements: {', '.join(kinds) or 'none'}. Expected a single "
            "statement that reads, such as `select … from documents`. To write files or change "
            "settings, open warehouse.duckdb in DuckDB."
        )
    relation = connection.sql(_without_semicolons(sql), params=dict(parameters or {}))
    names = relation.columns
    if len(set(names)) < len(names):
        duplicate = next(name for name in names if names.count(name) > 1)
        raise QueryError(
            f"The result has two columns named '{duplicate}'. Expected distinct names. Give one of "
            "them another name with `as`."
        )
    # Polars cannot represent every date, time, interval and wide number.
    columns = [
        duckdb.SQLExpression(f"#{number}").cast(_polars_type(kind)).alias(name)
        for number, (name, kind) in enumerate(zip(names, relation.types, strict=True), start=1)
    ]
    return relation.select(*columns)


def frame_of(relation: "duckdb.DuckDBPyRelation") -> "pl.DataFrame":
    """Return the rows as a frame; wide integers, as from `sum`, become Int64 if they fit."""
    import polars as pl

    frame = relation.pl()
    for name, kind in frame.schema.items():
        if isinstance(kind, pl.Decimal) and kind.scale == 0:
            with suppress(pl.exceptions.InvalidOperationError):
                frame = frame.with_columns(pl.col(name).cast(pl.Int64))
    return frame


def _without_semicolons(sql: str) -> str:
    # The statement becomes a subquery, which a semicolon would end, even one before a comment.
    import duckdb

    text = bytearray(sql.encode())
    for offset, _ in duckdb.tokenize(sql):
        if text[offset] == ord(";"):
            text[offset] = ord(" ")
    return text.decode()


def _polars_type(kind: Any) -> Any:
    import duckdb
    from duckdb.sqltypes import VARCHAR

    if kind.id in _KEPT_TYPES:
        return kind
    if kind.id in ("list", "array"):
        return duckdb.list_type(_polars_type(kind.children[0][1]))
    if kind.id == "struct":
        return duckdb.struct_type({name: _polars_type(inner) for name, inner in kind.children})
    return VARCHAR
