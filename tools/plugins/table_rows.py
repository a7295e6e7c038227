"""Reads the rows of a user's table as text: a file, or a query of DuckDB.

The only module outside of the warehouse that uses DuckDB, which reads all of the formats.
"""

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolformer.files.named_files import check_regular
from tools.errors import ToolSettingsError

if TYPE_CHECKING:
    import duckdb

_QUERY = re.compile(r"\s*(?:select|from|with)\s", re.IGNORECASE)
_CSV = "read_csv($file, all_varchar = true, header = true, delim = '{}', quote = '\"', escape = '\"', comment = '', hive_partitioning = false)"
_JSON = (
    "read_json($file, format = 'newline_delimited', maximum_depth = 1, sample_size = -1, "
    "hive_partitioning = false)"
)
_READERS = {
    "csv": _CSV.format(","),
    "tsv": _CSV.format("\t"),
    "jsonl": _JSON,
    "ndjson": _JSON,
    "parquet": "read_parquet($file, hive_partitioning = false)",
}
_COMPRESSIONS = ("gz", "zst")
_CONFIG: dict[str, Any] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "memory_limit": "1GB",
}
_LARGEST_FILE = 4 * 10**9
_BATCH = 100_000


def is_query(table: str) -> bool:
    """Whether the setting `table` is a query and no file."""
    return _QUERY.match(table) is not None


class TableReader:
    """Reads columns of a table; close it after use.

    Args:
        table: A file, or a query.
        folder: Where relative paths in a query begin.

    Raises:
        ToolSettingsError: The table cannot be read; without the name of the tool.
    """

    def __init__(self, table: str, columns: Sequence[str], *, folder: str) -> None:
        import duckdb

        self.connection = duckdb.connect(":memory:", config=_CONFIG)
        self.connection.execute("set python_enable_replacements = false")
        self.connection.execute("set enable_progress_bar = false")
        self.connection.execute("set file_search_path = $folder", {"folder": folder})
        self.connection.execute("set lock_configuration = true")
        self.table = table
        source, parameters = (table, {}) if is_query(table) else _source(Path(table))
        try:
            if is_query(table):
                _check_reads(self.connection, table)
                source = f"({table.strip().rstrip(';')}\n)"
            relation = self.connection.sql(f"from {source}", params=parameters)
            known = dict(zip(relation.columns, relation.types, strict=True))
            missing = [column for column in columns if column not in known]
            if missing:
                raise ToolSettingsError(
                    f"the table has no column {missing[0]!r}. It has {', '.join(known)}"
                )
            texts = ", ".join(_as_text(column, str(known[column])) for column in columns)
            self.statement, self.parameters = f"select {texts} from {source}", parameters
        except duckdb.Error as error:
            raise _refused(table, error) from error

    def __iter__(self) -> Iterator[tuple[str | None, ...]]:
        """Yield the rows: text of each column, None for NULL and for text that is empty."""
        import duckdb

        try:
            rows = self.connection.execute(self.statement, self.parameters)
            while batch := rows.fetchmany(_BATCH):
                yield from batch
        except duckdb.Error as error:
            raise _refused(self.table, error) from error

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def _source(file: Path) -> tuple[str, dict[str, str]]:
    try:
        check_regular(file)
        size = file.stat().st_size
    except OSError as error:
        raise ToolSettingsError(f"the table {str(file)!r} cannot be read: {error}") from error
    suffixes = [suffix.lstrip(".").lower() for suffix in file.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSIONS:
        suffixes.pop()
    reader = _READERS.get(suffixes[-1] if suffixes else "")
    if reader is None:
        raise ToolSettingsError(
            f"the table {file.name!r} is of no known kind. Expected a name that ends in "
            f"{', '.join(_READERS)}, perhaps with .gz or .zst behind, or a query"
        )
    if size > _LARGEST_FILE:
        raise ToolSettingsError(
            f"the table {file.name!r} has {size / 10**9:.1f} GB. Expected at most "
            f"{_LARGEST_FILE / 10**9:g} GB: write the rows and columns that calls ask for to a "
            "Parquet file"
        )
    return reader, {"file": glob.escape(str(file))}


def _check_reads(connection: "duckdb.DuckDBPyConnection", query: str) -> None:
    import duckdb

    statements = connection.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(statement.type.name for statement in statements)
        raise ToolSettingsError(f"the query is {kinds}. Expected one select")


def _as_text(column: str, kind: str) -> str:
    """An expression of SQL that writes a column as people do."""
    name = '"' + column.replace('"', '""') + '"'
    text = f"{name}::varchar"
    short = r"regexp_replace(regexp_replace({}, '(\.\d*?)0+$', '\1'), '\.$', '')"
    if kind == "JSON":
        text = (
            f"case json_type({name}) when 'VARCHAR' then {name} ->> '$' when 'NULL' then null "
            f"when 'DOUBLE' then {short.format(f'{name}::double::varchar')} "
            f"when 'OBJECT' then error('objects') when 'ARRAY' then error('lists') "
            f"else {text} end"
        )
    elif kind.startswith(("FLOAT", "DOUBLE", "DECIMAL")):
        text = f"case when {text} not in ('nan', 'inf', '-inf') then {short.format(text)} end"
    elif kind.startswith("TIMESTAMP"):
        text = rf"regexp_replace({text}, ' 00:00:00(\+00)?$', '')"
    elif "(" in kind and not kind.startswith("ENUM") or "[" in kind or kind == "BLOB":
        raise ToolSettingsError(
            f"the column {column!r} is of type {kind}. Expected text, numbers or dates"
        )
    return f"nullif(trim({text}), '') as {name}"


def _refused(table: str, error: Exception) -> ToolSettingsError:
    return ToolSettingsError(
        f"the table {table!r} cannot be read: {' '.join(str(error).split())[:300]}"
    )
