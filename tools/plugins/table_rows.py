"""Reads the facts of a user's table as text, either in a file or with a query in DuckDB.

This is the only module outside the warehouse that uses DuckDB. DuckDB may read local files, but
installs no extension.
"""

import csv
import glob
import io
import json
import math
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolformer.base.digests import file_digest, number_digest
from tools.errors import ToolSettingsError

if TYPE_CHECKING:
    import duckdb
    import pyarrow

MISSING = ("NULL", "None", "nan", "NaN", "NaT", "<NA>", "#N/A", r"\N")
"""Texts that pandas, databases and spreadsheets write for a missing value."""

_QUERY = re.compile(r"\s*(?:select|from|with)\s", re.IGNORECASE)
_DELIMITERS = ",;\t|"
_COMPRESSED = (".gz", ".zst")
# Line before the header in which spreadsheets name the delimiter.
_SEPARATOR = re.compile(r"sep=.\s*", re.IGNORECASE)
_CONFIG: dict[str, Any] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": "1GB",
    # The default grows with the cores: on 16 cores, threads need more memory than a worker has.
    "threads": 2,
    "async_threads": 2,
    "temp_directory": tempfile.gettempdir(),
    # A Python variable must never be read as a table.
    "python_enable_replacements": False,
}
# Zeros at the end of a number or time.
_ZEROS = re.compile(r"\.0*$|(\.\d*?[1-9])0+$")
_BATCH_ROWS = 10_000
_MAX_REASON_CHARACTERS = 300


@dataclass(frozen=True)
class Table:
    """A file or query, and the columns to read; see `TableTool`."""

    table: str
    key: Sequence[str]
    values: Sequence[str]
    missing: Sequence[str] = MISSING
    folder: str = "."

    def digest(self) -> str:
        """Return a digest of the file's content, or of a query's facts regardless of order."""
        if _QUERY.match(self.table):
            return f"{sum(number_digest(*fact) for fact in self.facts()):x}"
        try:
            return file_digest(self._file)
        except (OSError, ValueError) as error:
            raise self._unreadable(getattr(error, "strerror", error)) from error

    def facts(self) -> Iterator[tuple[str, str, str]]:
        """Yield subject, relation and value of each cell that has a key and a value."""
        import duckdb
        import pyarrow as pa

        count = 0
        try:
            for row in self._rows([*self.key, *self.values]):
                cells = [(cell or "").strip(" \t\r\n") for cell in row]
                subject, *asked = cells[: len(self.key)]
                is_known = subject and all(asked)
                for name, value in zip(self.values, cells[len(self.key) :], strict=True):
                    if is_known and value and value not in self.missing:
                        relation = [*asked, spoken(name)] if len(self.values) > 1 else asked
                        yield subject, ", ".join(relation), value
                        count += 1
        except ToolSettingsError:
            raise
        except (OSError, ValueError, csv.Error, pa.ArrowException, duckdb.Error) as error:
            raise self._unreadable(error) from error
        if count == 0:
            raise ToolSettingsError("the table has no row with a key and a value. Expected one")

    @property
    def _file(self) -> Path:
        # `Path.expanduser` raises for the home of an unknown user.
        return Path(self.folder).absolute() / os.path.expanduser(self.table)  # noqa: PTH111

    def _unreadable(self, error: object) -> ToolSettingsError:
        problem = re.split(r"\n *(?:Possible|LINE|Try|Candidate|This can)", str(error))[0]
        reason = " ".join(problem.split())[:_MAX_REASON_CHARACTERS].rstrip(".")
        return ToolSettingsError(
            f"the table {self.table!r} cannot be read: {reason}. "
            "Expected a complete CSV, TSV, JSONL or Parquet file, with text in UTF-8 and one kind "
            "of line breaks, or a query for DuckDB. Correct the file or the query"
        )

    def _rows(self, wanted: Sequence[str]) -> Iterator[Sequence[str | None]]:
        import duckdb
        import pyarrow as pa

        is_query, file = _QUERY.match(self.table), self._file
        kinds = [each for each in file.suffixes if each not in _COMPRESSED]
        if not is_query and file.suffix in _COMPRESSED:
            # DuckDB does not compare the checksums of compressed files.
            with pa.input_stream(str(file)) as stream:
                while stream.read(2**20):
                    pass
        config = {**_CONFIG, "file_search_path": str(Path(self.folder).absolute())}
        with duckdb.connect(":memory:", config=config) as connection:
            names = None
            if is_query:
                connection.execute("set timezone = 'UTC'")
                # A subquery can only select.
                query = self.table.rstrip().removesuffix(";")
                relation = connection.sql(f"from (\n{query}\n)")
            elif kinds[-1:] == [".parquet"]:
                yield from _parquet_rows(file, wanted)
                return
            elif kinds[-1:] in ([".csv"], [".tsv"]):
                relation, names = _csv_relation(connection, file, wanted)
            elif kinds[-1:] in ([".jsonl"], [".ndjson"]):
                columns = dict.fromkeys(wanted, "JSON")
                name = glob.escape(str(file))
                relation = connection.read_json(name, columns=columns, format="newline_delimited")
            else:
                raise ToolSettingsError(
                    f"the table {self.table!r} has no known file type. Expected a name that ends "
                    "with .csv, .tsv, .jsonl or .parquet, optionally with .gz or .zst after the "
                    "first three, or a query"
                )
            indexes = _column_indexes(names or relation.columns, wanted)
            types = [relation.types[index] for index in indexes]
            for batch in relation.to_arrow_reader(_BATCH_ROWS):
                columns = [batch.column(index) for index in indexes]
                yield from zip(*map(_texts, columns, wanted, types), strict=True)


def spoken(column: str) -> str:
    return column.replace("_", " ")


def _csv_relation(
    connection: "duckdb.DuckDBPyConnection", file: Path, wanted: Sequence[str]
) -> tuple["duckdb.DuckDBPyRelation", list[str]]:
    """Open a CSV or TSV file with the delimiter that fits its header; also return column names."""
    import pyarrow as pa

    with io.BufferedReader(pa.input_stream(str(file))) as lines:
        header = lines.readline().decode("utf-8-sig")
        is_separator = _SEPARATOR.fullmatch(header) is not None
        header = lines.readline().decode() if is_separator else header
    names = {mark: next(csv.reader([header], delimiter=mark), []) for mark in _DELIMITERS}
    delimiter = max(names, key=lambda mark: len({*names[mark]} & {*wanted}))
    # DuckDB must not detect the format, since it would skip rows that do not fit. It gets generated
    # column names, since it accepts neither empty names nor names that differ only by case.
    relation = connection.read_csv(
        glob.escape(str(file)),
        auto_detect=False,
        header=True,
        skiprows=int(is_separator),
        delimiter=delimiter,
        quotechar='"',
        escapechar='"',
        comment="",
        columns={f"c{number}": "VARCHAR" for number in range(len(names[delimiter]))},
    )
    return relation, names[delimiter]


def _parquet_rows(file: Path, wanted: Sequence[str]) -> Iterator[Sequence[str | None]]:
    # DuckDB loses the time zone of a time and cannot distinguish a duration from a number.
    from pyarrow import parquet

    with parquet.ParquetFile(file, page_checksum_verification=True) as opened:
        _column_indexes(opened.schema_arrow.names, wanted)
        for batch in opened.iter_batches(_BATCH_ROWS, columns=[*wanted]):
            yield from zip(*(_texts(batch.column(name), name) for name in wanted), strict=True)


def _column_indexes(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    for name in wanted:
        if names.count(name) != 1:
            has = "more than one column" if name in names else "no column"
            raise ToolSettingsError(
                f"the table has {has} {name!r}. Expected one of {', '.join(names)}"
            )
    return [names.index(name) for name in wanted]


def _texts(column: "pyarrow.Array", name: str, duckdb_type: object = None) -> list[str | None]:
    """Write the cells of a column as people do: 1941 for 1941.0, and dates without hours."""
    from pyarrow import compute, types

    kind = column.type
    if str(duckdb_type) == "JSON":
        return [cell and _json_text(cell, name) for cell in column.to_pylist()]
    if types.is_nested(kind) or types.is_binary(kind) or types.is_duration(kind):
        raise _refused(name, kind)
    if types.is_timestamp(kind) and kind.tz:
        # Keeps the date as written, independent of the local time zone.
        column = compute.local_timestamp(column)  # pyright: ignore[reportAttributeAccessIssue]
    cells = column.cast("string").to_pylist()
    if types.is_floating(kind) or types.is_decimal(kind):
        return [cell and _number(cell) for cell in cells]
    if types.is_timestamp(kind) or types.is_time(kind):
        return [cell and _ZEROS.sub(r"\1", cell).removesuffix(" 00:00:00") for cell in cells]
    return cells


def _number(text: str) -> str | None:
    return _ZEROS.sub(r"\1", text) if math.isfinite(float(text)) else None


def _json_text(cell: str, column: str) -> str | None:
    value = json.loads(cell, parse_int=str, parse_float=_number, parse_constant=lambda _: None)
    if isinstance(value, dict | list):
        raise _refused(column, "JSON with lists or objects")
    return str(value).lower() if isinstance(value, bool) else value


def _refused(column: str, kind: object) -> ToolSettingsError:
    return ToolSettingsError(
        f"its column {column!r} is of type {kind}. Expected text, numbers or dates"
    )
