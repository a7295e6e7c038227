"""Reads the facts of a user's table as text: of a file, or of a query of DuckDB.

The only module besides the warehouse that uses DuckDB, which knows the formats. It installs
nothing, fetches nothing and writes nothing.
"""

import csv
import glob
import io
import itertools
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from toolformer.base.named_files import check_regular
from tools.errors import ToolSettingsError

if TYPE_CHECKING:
    import duckdb

LARGEST_FILE = 2 * 10**9
"""In bytes."""

_QUERY = re.compile(r"\s*(?:select|from|with)\s", re.IGNORECASE)
_CSV = "read_csv({}, auto_detect = false, comment = '', quote = {}, escape = {}, delim = {}"
_JSON = "read_json({}, format = 'newline_delimited', maximum_depth = 1, sample_size = -1)"
# How spreadsheets say what separates columns, in a line in front of the names.
_SEPARATOR = re.compile(r"sep=(.)", re.IGNORECASE)
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_READERS = {"jsonl": _JSON, "ndjson": _JSON, "parquet": "read_parquet({})"}
_CONFIG: dict[str, Any] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "memory_limit": "1GB",
    # Else one and four for each core, and starting those of 16 cores needs more than a worker has.
    "threads": 2,
    "async_threads": 2,
}
_BATCH = 10_000
# Of what DuckDB says of a file, in characters.
_LONGEST_REASON = 300
_EXPECTED = "Expected text, numbers or dates"
_NESTED = ("STRUCT", "MAP", "UNION")
_BLOCK = 2**20
_COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
# A text, a name or another word of a query.
_WORD = re.compile(r"""'[^']*'|"[^"]*"|[^\s(),;'"\[\]{}]+""")


class Table:
    """A table, and the columns that are read of it.

    Args:
        table: A file, or a query.
        key: Columns that name a fact, that of the subject first.
        values: Columns that hold a value each.
        folder: Where relative paths begin.
        missing: Values that stand for none.
        most: Facts that it may have.
    """

    def __init__(
        self,
        table: str,
        key: Sequence[str],
        values: Sequence[str],
        folder: Path,
        *,
        missing: Sequence[str],
        most: int,
    ) -> None:
        self.table = table
        self.key = list(key)
        self.values = list(values)
        self.folder = folder.absolute()
        self.missing = list(missing)
        self.most = most
        self.is_query = _QUERY.match(table) is not None

    def state(self) -> object:
        """What is another where the facts are: size and times of a file, a query's digest.

        Raises:
            ToolSettingsError: It cannot be read, or is too large.
        """
        if self.is_query:
            with self.opened() as facts:
                return digest_of(number for *_, number in facts)
        file = self._file()
        try:
            check_regular(file)
            status = file.stat()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ToolSettingsError(
                f"the table {str(file)!r} cannot be read ({reason}). Expected a file"
            ) from error
        if status.st_size > LARGEST_FILE:
            raise ToolSettingsError(
                f"the table '{file}' has {status.st_size / 10**9:.1f} GB. Expected at most "
                f"{LARGEST_FILE / 10**9:g} GB; write what calls ask for to a Parquet file"
            )
        return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]

    @contextmanager
    def opened(self) -> Iterator[Iterator[tuple[str, str, str, int]]]:
        """Open the table: give subject, relation and value of each fact, and their digest.

        Raises:
            ToolSettingsError: It cannot be read, in the block too; without the name of the tool.
        """
        import duckdb

        copies = tempfile.TemporaryDirectory(prefix="toolformer-table-")
        connection = duckdb.connect(":memory:", config=_CONFIG)
        try:
            # A Python variable must never answer for a table.
            for setting in ("python_enable_replacements", "enable_progress_bar"):
                connection.execute(f"set {setting} = false")
            connection.execute("set temp_directory = $1", [tempfile.gettempdir()])
            connection.execute("set file_search_path = $1", [str(self.folder)])
            connection.execute("set lock_configuration = true")
            if self.is_query:
                source, names = _query(connection, self.table), None
            else:
                source, names = self._reader(connection, Path(copies.name))
            described = connection.execute(f"describe from {source}").fetchall()
            columns = [_Column(row[0], row[1]) for row in described]
            of_name = dict(zip(names or [each.name for each in columns], columns, strict=True))
            absent = [name for name in (*self.key, *self.values) if name not in of_name]
            if absent:
                raise ToolSettingsError(
                    f"the table has no column {absent[0]!r}. Expected one of {', '.join(of_name)}"
                )
            if Path(self.table).suffix == ".parquet" and not self.is_query:
                of_name = _with_arrow_types(self._file(), of_name)
            self._check_compressed()
            yield self._read(connection.execute(self._facts(source, of_name)))
        except duckdb.Error as error:
            told = re.split(r"\n *(?:Possible|LINE|Please|Delimiter|file = )", str(error))[0]
            reason = "; ".join(filter(None, map(str.strip, told.split("\n"))))
            raise ToolSettingsError(
                f"the table {self.table!r} cannot be read: {reason[:_LONGEST_REASON].rstrip('.')}. "
                "Expected a whole CSV, TSV, JSONL or Parquet file in UTF-8, or a query of such "
                "files; correct it"
            ) from error
        finally:
            connection.close()
            copies.cleanup()

    def _check_compressed(self) -> None:
        """Read compressed files once more, also those that a query names.

        DuckDB neither compares the checksums of gzip nor sees that a .zst file breaks off.
        """
        words = _WORD.findall(self.table) if self.is_query else [glob.escape(self.table)]
        for name in (word.strip("'\"") for word in words):
            is_compressed = os.path.splitext(name)[1].lower() in _COMPRESSED  # noqa: PTH122
            pattern = str(self.folder / os.path.expanduser(name)) if is_compressed else ""  # noqa: PTH111
            for file in glob.glob(pattern, recursive=True):  # noqa: PTH207
                try:
                    with _unpacked(file) as stream:
                        while stream.read(_BLOCK):
                            pass
                except OSError as error:
                    raise ToolSettingsError(
                        f"the table '{file}' is damaged ({error}). Expected a whole file; make or "
                        "copy it again"
                    ) from error

    def _read(self, facts: "duckdb.DuckDBPyConnection") -> Iterator[tuple[str, str, str, int]]:
        count = 0
        while batch := facts.fetchmany(_BATCH):
            count += len(batch)
            if count > self.most:
                raise ToolSettingsError(
                    f"the table has more than {self.most:,} values. Expected at most so many; "
                    "leave out rows or columns that no text asks for"
                )
            yield from batch
        if count == 0:
            raise ToolSettingsError("the table has no row with a key and a value. Expected one")

    def _facts(self, source: str, columns: Mapping[str, "_Column"]) -> str:
        """A statement that gives subject, relation and value of each cell that has one."""
        key = [_as_text(name, columns[name]) for name in self.key]
        values = [_as_text(name, columns[name], self.missing) for name in self.values]
        asked = [[_literal(spoken(column))] if len(values) > 1 else [] for column in self.values]
        relations = [_joined([*key[1:], *name]) for name in asked]
        # Only a wide table needs several facts of a row, which take DuckDB longer.
        cells = [
            f"unnest([{', '.join(parts)}])" if len(parts) > 1 else parts[0]
            for parts in (relations, values)
        ]
        return f"""
            select subject, relation, value, md5_number_lower(facts::varchar) as number from (
                select {key[0]} as subject, {cells[0]} as relation, {cells[1]} as value
                from {source} where {" and ".join(f"{part} is not null" for part in key)}
            ) as facts where value is not null"""

    def _file(self) -> Path:
        # Not by `Path`, which raises for the home of an unknown user.
        return self.folder / os.path.expanduser(self.table)  # noqa: PTH111

    def _reader(
        self, connection: "duckdb.DuckDBPyConnection", copies: Path
    ) -> tuple[str, list[str] | None]:
        """The function of DuckDB that reads the file, and the names of its columns if others."""
        file = self._file()
        kinds = [suffix[1:].lower() for suffix in file.suffixes]
        kind = next((each for each in reversed(kinds) if each not in ("gz", "zst")), "")
        name = _literal(glob.escape(str(file)))
        if kind in _READERS:
            return _READERS[kind].format(name), None
        if kind not in _DELIMITERS:
            raise ToolSettingsError(
                f"the table '{file}' is of no known kind. Expected a name that ends in .csv, .tsv, "
                ".jsonl or .parquet, of text perhaps with .gz or .zst behind, or a query"
            )
        # Nothing is guessed: what a guess leaves out would be missing without a word.
        name = _literal(glob.escape(str(_with_one_line_end(file, copies))))
        lines = connection.execute(
            f"from {_CSV.format(name, *map(_literal, ('', '', chr(31))))}, header = false, "
            "strict_mode = false, columns = {line: 'varchar'}) limit 2"
        ).fetchall()
        first, second = [line or "" for (line,) in (*lines, ("",), ("",))[:2]]
        separator = _SEPARATOR.fullmatch(first)
        delimiter = separator[1] if separator else _DELIMITERS[kind]
        header = second if separator else first
        names = next(csv.reader((header,), delimiter=delimiter), [])
        wanted = {*self.key, *self.values}
        if not names or any(names.count(each) > 1 for each in wanted):
            raise ToolSettingsError(
                f"the table '{file}' begins with {header!r}. Expected a line with a name for each "
                "column, and each that is read once"
            )
        # DuckDB takes no empty name, and none that another has but for case.
        columns = ", ".join(f"c{number}: 'varchar'" for number in range(len(names)))
        quotes = map(_literal, ('"', '"', delimiter))
        reader = f"{_CSV.format(name, *quotes)}, header = true, skip = {1 if separator else 0}"
        return f"{reader}, columns = {{{columns}}})", names


def digest_of(numbers: Iterable[int]) -> str:
    """A digest of facts by the number of each, whatever their order."""
    return f"{sum(numbers):x}"


def spoken(column: str) -> str:
    """The name of a column in a call."""
    return column.replace("_", " ")


def _query(connection: "duckdb.DuckDBPyConnection", query: str) -> str:
    """A query as what a statement selects from, where DuckDB takes nothing that writes."""
    import duckdb

    statements = connection.extract_statements(query)
    kinds = [statement.type for statement in statements]
    if kinds != [duckdb.StatementType.SELECT]:
        raise ToolSettingsError(
            f"the query is {', '.join(kind.name for kind in kinds)}. Expected one select; a tool "
            "writes nothing"
        )
    # A semicolon has no place in what is selected from, and a comment may stand behind it.
    text = bytearray(query.encode())
    for offset, _ in duckdb.tokenize(query):
        if text[offset] == ord(";"):
            text[offset] = ord(" ")
    return f"(\n{text.decode()}\n)"


class _Column(NamedTuple):
    """A column: its name in statements, DuckDB's type, and the time zone that it was written in."""

    name: str
    kind: str
    zone: str = "UTC"


def _with_arrow_types(file: Path, columns: Mapping[str, _Column]) -> dict[str, _Column]:
    """Columns with what Parquet itself cannot say of them, and Arrow notes beside it."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        schema = parquet.read_schema(file)
    except (OSError, pa.ArrowException) as error:
        raise ToolSettingsError(
            f"the table '{file}' cannot be read: {error}. Expected a whole Parquet file"
        ) from error
    found = dict(columns)
    for field in schema:
        if field.name in found and pa.types.is_duration(field.type):
            found[field.name] = columns[field.name]._replace(kind="DURATION")
        elif field.name in found and pa.types.is_timestamp(field.type) and field.type.tz:
            found[field.name] = columns[field.name]._replace(zone=field.type.tz)
    return found


def _with_one_line_end(file: Path, folder: Path) -> Path:
    """The file; a copy where it has both kinds of line ends, of which DuckDB takes one."""
    returns, ends, most = 0, 0, LARGEST_FILE // _BLOCK
    # What cannot be read is told when its rows are.
    with suppress(OSError):
        with _unpacked(file) as stream:
            for block in itertools.islice(iter(partial(stream.read, _BLOCK), b""), most):
                returns += block.count(b"\r\n")
                ends += block.count(b"\n")
                most -= 1
        if most and 0 < returns < ends:
            copy = folder / "table.csv"
            with _unpacked(file) as stream, copy.open("wb") as copied:
                lines = io.BufferedReader(stream)
                copied.writelines(line.replace(b"\r\n", b"\n") for line in lines)
            return copy
    return file


def _unpacked(file: str | Path) -> Any:
    """A file's content, unpacked; OSError where a checksum does not fit, or the file breaks off."""
    import pyarrow as pa

    return pa.input_stream(str(file), compression=_COMPRESSED.get(Path(file).suffix.lower()))


def _as_text(column: str, described: _Column, missing: Sequence[str] = ()) -> str:
    """An expression that writes a column as people do: 1941 for 1941.0, and days without hours."""
    kind = described.kind
    name = '"' + described.name.replace('"', '""') + '"'
    text = f"{name}::varchar"
    if kind == "JSON":
        refusal = f"error({_literal(f'its column {column!r} holds lists or objects. {_EXPECTED}')})"
        text = (
            f"case json_type({name}) when 'NULL' then null when 'VARCHAR' then {name} ->> '$' "
            f"when 'DOUBLE' then {_finite(text)} "
            f"when 'OBJECT' then {refusal} when 'ARRAY' then {refusal} else {text} end"
        )
    elif kind.startswith(("FLOAT", "DOUBLE", "DECIMAL")):
        text = _finite(text)
    elif kind.startswith("TIMESTAMP"):
        if kind == "TIMESTAMP WITH TIME ZONE":
            # The day that was written, wherever it is read.
            text = f"{_local_time(name, described.zone)}::varchar"
        text = rf"regexp_replace({text}, ' 00:00:00$', '')"
    elif kind in ("BLOB", "DURATION") or kind.endswith("]") or kind.startswith(_NESTED):
        raise ToolSettingsError(f"its column {column!r} is of type {kind}. {_EXPECTED}")
    text = f"trim({text}, ' \t\r\n')"
    for word in ("", *missing):
        text = f"nullif({text}, {_literal(word)})"
    return text


def _local_time(name: str, zone: str) -> str:
    offset = re.fullmatch(r"([+-])(\d\d):(\d\d)", zone)
    if offset is None:
        return f"timezone({_literal(zone)}, {name})"
    sign, hours, minutes = offset.groups()
    return f"(timezone('UTC', {name}) {sign} interval '{hours} hours {minutes} minutes')"


def _finite(text: str) -> str:
    return f"case when isfinite({text}::double) then {_number(text)} end"


def _joined(parts: Sequence[str]) -> str:
    return " || ', ' || ".join(parts) or "''"


def _number(text: str) -> str:
    return rf"regexp_replace(regexp_replace({text}, '(\.\d*?)0+$', '\1'), '\.$', '')"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
