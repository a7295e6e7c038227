"""Creates the views: each table over its partitions, their counts, and those of `views/*.sql`.

The same views go into an in-memory connection for our own queries and into `warehouse.duckdb`
for people, which is written anew beside and renamed, and never opened again by this code.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from toolformer.base.digests import hex_digest
from toolformer.base.whole_files import replacing, write_whole
from warehouse.catalogue import BODY_START, CHECKSUM_START, DIGEST_END, Entry
from warehouse.connection import MACROS, open_connection, sql_literal, sql_name
from warehouse.counting import COUNTS, counted_relation, counts_version, type_of_counts
from warehouse.errors import StorageError
from warehouse.labels import labels_file
from warehouse.layout import CATALOGUE_FOLDER
from warehouse.needs import METADATA_VIEW, STATISTICS_VIEWS, Needs, everything
from warehouse.schema import TableSchema, sql_texts, table_schema, tables

if TYPE_CHECKING:
    import duckdb

PUBLISHED = "published"
"""Relation of the published partitions: table_name, shard, partition, metadata and others."""

LABEL_LINES = "label_lines"
"""The relation that the view `labels` reads: the lines of the file, in a column `line`."""

_PUBLISHED_TYPE = "struct(table_name varchar, shard varchar, partition varchar, metadata json)[]"

_counts_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def create_views(
    connection: "duckdb.DuckDBPyConnection", needs: Needs, sources: Mapping[str, str]
) -> None:
    """Create the views that a statement needs, over what `create_published` has created.

    And over `label_lines`, if the view `labels` is among them.

    Args:
        sources: The SQL behind `from` that gives the rows of each table that is read.

    Raises:
        duckdb.Error: A partition is damaged, or was moved away at that moment.
    """
    for name in tables():
        if name in needs.rows:
            columns = shown_columns(table_schema(name))
            _create_view(connection, name, f"select {columns} from {sources[name]}")
    create_statistics_views(connection, needs.views)


def create_published(
    connection: "duckdb.DuckDBPyConnection", needs: Needs, published: Iterable[tuple[str, Entry]]
) -> None:
    """Create tables of the counts and the metadata that a statement needs.

    Args:
        published: Shards and entries of the partitions.
    """
    counts = dict[str, list[bytes]]((name, []) for name in COUNTS if name in needs.views)
    for _, entry in published if counts else ():
        for name, counted in _counts_decoder.decode(entry.counts).items():
            if name in counts and len(rows := bytes(counted)) > len(b"[]"):
                counts[name].append(rows[1:-1])
    for name, texts in counts.items():
        _create_table(connection, name, type_of_counts(name), b"[" + b",".join(texts) + b"]")
    if METADATA_VIEW in needs.views:
        metadata = [
            {
                "table_name": entry.table,
                "shard": shard,
                "partition": entry.name,
                "metadata": entry.metadata,
            }
            for shard, entry in published
        ]
        _create_table(connection, PUBLISHED, _PUBLISHED_TYPE, msgspec.json.encode(metadata))


def _create_table(
    connection: "duckdb.DuckDBPyConnection", name: str, kind: str, rows: bytes
) -> None:
    """Create a table from one JSON text: DuckDB takes many small values much more slowly."""
    connection.execute(
        f"create table {name} as select entry.* from (select unnest($rows::json::{kind}) as entry)",
        {"rows": rows.decode()},
    )


def create_label_lines(connection: "duckdb.DuckDBPyConnection", lines: Sequence[str]) -> None:
    """Create the relation that the view `labels` reads."""
    statement = f"create table {LABEL_LINES} as select unnest($lines::varchar[]) as line"
    connection.execute(statement, {"lines": lines})


def create_statistics_views(
    connection: "duckdb.DuckDBPyConnection", names: Collection[str]
) -> None:
    """Create statistics views over views or tables."""
    for name in STATISTICS_VIEWS:
        if name in names:
            _create_view(connection, name, sql_texts("views")[name])


def _create_view(connection: "duckdb.DuckDBPyConnection", name: str, text: str) -> None:
    connection.execute(f"create view {sql_name(name)} as {text}")


def shown_columns(schema: TableSchema) -> str:
    """Return the SQL that selects a table's columns, in an order that no file decides."""
    return ", ".join(map(sql_name, schema.column_names))


def file_list_source(schema: TableSchema, files: Collection[str]) -> str:
    """Return the SQL that reads these files of a table."""
    if files:
        listed = ", ".join(map(sql_literal, files))
        return f"read_parquet([{listed}], {_partitioning(schema)})"
    columns = ", ".join(f"null::{each.type} as {sql_name(each.name)}" for each in schema.columns)
    return f"(select {columns} where false)"


def _home_macros(folder: Path, database_file: Path) -> tuple[str, ...]:
    """Return the macros by which views of a database file find the home's files.

    The home is where the database is, so that a copy of a home reads its own rows. The one thing
    that a view can learn about its database's path is the default of `temp_directory`. If that was
    changed, if the database is attached to another, or if it lies in a folder of its own, the home
    is the recorded one, and the database must lie where it was written.
    """
    recorded = sql_literal(f"{folder.parent}/")
    own = sql_literal(f"(.*/)?{re.escape(database_file.name)}[.]tmp")
    is_beside = str(database_file.parent == folder.parent).lower()
    return (
        "create macro is_beside_home() as "
        f"{is_beside} and regexp_full_match(current_setting('temp_directory'), {own})",
        "create macro home_folder() as case when is_beside_home() "
        f"then regexp_extract(current_setting('temp_directory'), {own}, 1) else {recorded} end",
        "create macro home_pattern() as regexp_replace(home_folder(), '([*?[])', '[\\1]', 'g')",
        # Where two are attached, the path of neither says which of them is asked.
        f"""create macro is_own_home() as (
            select case when count(*) = 1 and (
                is_beside_home() or max(path) = {sql_literal(str(database_file))}
            ) then true else error({sql_literal(_foreign(database_file))}) end
            from duckdb_databases()
            where parse_filename(path) = {sql_literal(database_file.name)}
        )""",
    )


def _foreign(database_file: Path) -> str:
    return (
        f"The views of this database read the home of '{database_file}', but the database is "
        "another file, or two homes are open. Expected one home, opened and not attached. Open "
        "the database alone, or run `toolformer stats` in the copied home first."
    )


def glob_source(schema: TableSchema, folder: Path) -> str:
    """Return the SQL that reads the partitions of a table as they are whenever it is run.

    DuckDB lists the folder once for each pattern, in the order of the join, and reads the
    catalogues after that. So of each partition the newest file in the first list is chosen. The
    second list has it, since superseded files stay for a while.
    """
    files = f"home_pattern() || {sql_literal(f'{folder.name}/{schema.name}/*/*.parquet')}"
    chosen = f"""(
        select arg_min(listed.file, place) as chosen_file
        from glob({files}) as listed
        join (
            select
                shard,
                partition,
                'shard=' || shard || '/' || partition || '-' || unnest(versions) || '.parquet'
                    as named_file,
                generate_subscripts(versions, 1) as place
            from {PUBLISHED} where table_name = {sql_literal(schema.name)}
        ) on regexp_extract(listed.file, '[^/]+/[^/]+$') = named_file
        group by shard, partition
    )"""
    return f"{chosen} join read_parquet({files}, {_partitioning(schema)}) on filename = chosen_file"


def published_source(folder: Path) -> str:
    """Return the SQL that reads the catalogues as they are whenever it is run.

    The versions are those that have files, the newest first. A damaged catalogue gives no rows.
    """
    pattern = f"home_pattern() || {sql_literal(f'{folder.name}/{CATALOGUE_FOLDER}/*.json')}"
    fields = ("table", "name", "version", "counted_by")
    types = {**dict.fromkeys(fields, "VARCHAR"), "rows": "BIGINT", "superseded": ["VARCHAR"]}
    structure = json.dumps([{**types, "metadata": "JSON", "counts": "JSON"}])
    start, end = len(CHECKSUM_START) + 1, DIGEST_END
    return f"""
        select
            entry.table as table_name,
            shard,
            entry.name as partition,
            entry.metadata as metadata,
            case
                when entry.counted_by = {sql_literal(counts_version())} then entry.counts
                else error('Counts were taken by another version. Run `toolformer stats` first.')
            end as counts,
            case when entry.rows = 0 then entry.superseded
            else list_prepend(entry.version, entry.superseded) end as versions
        from (
            select
                regexp_extract(filename, '([^/]+)\\.json$', 1) as shard,
                unnest(from_json(
                    decode(content) -> '$.partitions', {sql_literal(structure)}
                )) as entry
            from read_blob({pattern})
            where encode(sha256(content[{BODY_START + 1}:])) = content[{start}:{end}]
        )
        where is_own_home()"""


def _partitioning(schema: TableSchema) -> str:
    # A table that is not cut by shard keeps its own `shard` column: the directory must not
    # overrule it.
    return (
        "hive_partitioning = false"
        if schema.is_cross_shard
        else "hive_partitioning = true, hive_types = {shard: varchar}"
    )


def is_current(folder: Path, database_file: Path) -> bool:
    """Return whether the database file has the views that `write_database` would write.

    What it was made from is stored in a small file beside it, because opening the database would
    fail while somebody else has it open.
    """
    stamp = _stamp(database_file)
    # Bytes: a damaged one may be no text.
    is_there = database_file.exists() and stamp.exists()
    return is_there and stamp.read_bytes() == _fingerprint(folder, database_file).encode()


def _stamp(database_file: Path) -> Path:
    return database_file.with_name(f"{database_file.name}.views")


def write_database(folder: Path, database_file: Path) -> None:
    """Write the database file with all views.

    Raises:
        StorageError: The disk refused the write.
    """
    import duckdb

    try:
        with (
            replacing(database_file, is_durable=False) as temporary,
            open_connection(temporary) as connection,
        ):
            for macro in _home_macros(folder, database_file):
                connection.execute(macro)
            _create_view(connection, PUBLISHED, published_source(folder))
            _create_view(connection, LABEL_LINES, _label_lines(folder))
            for name in COUNTS:
                _create_view(connection, name, counted_relation(name))
            create_views(connection, everything(), _glob_sources(folder))
        fingerprint = _fingerprint(folder, database_file)
        write_whole(_stamp(database_file), fingerprint, is_durable=False)
    except (OSError, duckdb.Error) as error:
        raise StorageError(
            f"Cannot write '{database_file}': {error}. Check the permissions and the free space "
            "of its folder. The rows themselves are intact."
        ) from error


def _label_lines(folder: Path) -> str:
    file = f"home_pattern() || {sql_literal(labels_file(folder).name)}"
    return f"from lines_of({file}) where is_own_home()"


def _glob_sources(folder: Path) -> dict[str, str]:
    return {name: glob_source(schema, folder) for name, schema in tables().items()}


def _fingerprint(folder: Path, database_file: Path) -> str:
    parts = [*_home_macros(folder, database_file), *MACROS]
    parts += (text for each in ("", "views", "counts") for text in sql_texts(each).values())
    parts += (published_source(folder), _label_lines(folder))
    return hex_digest(*parts, *_glob_sources(folder).values())
