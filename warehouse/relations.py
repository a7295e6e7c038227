"""Creates the views: tables over their partitions, counts, and the statistics in `views/*.sql`.

The project's own queries use them in a database in memory. `warehouse.duckdb` has the same views
for people. It is written to a temporary file and renamed, and this code never opens it again.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from toolformer.base.atomic_files import replacing, write_atomically
from toolformer.base.digests import hex_digest
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
"""Relation with one row per published partition: table_name, shard, partition, metadata, …"""

LABEL_LINES = "label_lines"
"""Relation with the lines of `labels.jsonl` in a column `line`; the view `labels` reads it."""

_PUBLISHED_TYPE = "struct(table_name varchar, shard varchar, partition varchar, metadata json)[]"

_counts_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def create_views(
    connection: "duckdb.DuckDBPyConnection", needs: Needs, sources: Mapping[str, str]
) -> None:
    """Create the views that a statement needs; `sources` is SQL for each table's `from` clause.

    Call `create_published` first, and `create_label_lines` if the view `labels` is needed.
    """
    for name in tables():
        if name in needs.rows:
            columns = select_list(table_schema(name))
            _create_view(connection, name, f"select {columns} from {sources[name]}")
    create_statistics_views(connection, needs.views)


def create_published(
    connection: "duckdb.DuckDBPyConnection", needs: Needs, published: Iterable[tuple[str, Entry]]
) -> None:
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
    # DuckDB reads one JSON text much faster than many small values.
    connection.execute(
        f"create table {name} as select entry.* from (select unnest($rows::json::{kind}) as entry)",
        {"rows": rows.decode()},
    )


def create_label_lines(connection: "duckdb.DuckDBPyConnection", lines: Sequence[str]) -> None:
    statement = f"create table {LABEL_LINES} as select unnest($lines::varchar[]) as line"
    connection.execute(statement, {"lines": lines})


def create_statistics_views(
    connection: "duckdb.DuckDBPyConnection", names: Collection[str]
) -> None:
    for name in STATISTICS_VIEWS:
        if name in names:
            _create_view(connection, name, sql_texts("views")[name])


def _create_view(connection: "duckdb.DuckDBPyConnection", name: str, text: str) -> None:
    connection.execute(f"create view {sql_name(name)} as {text}")


def select_list(schema: TableSchema) -> str:
    return ", ".join(map(sql_name, schema.column_names))


def file_list_source(schema: TableSchema, files: Collection[str]) -> str:
    if files:
        literals = ", ".join(map(sql_literal, files))
        return f"read_parquet([{literals}], {_partitioning(schema)})"
    columns = ", ".join(f"null::{each.type} as {sql_name(each.name)}" for each in schema.columns)
    return f"(select {columns} where false)"


def _home_macros(folder: Path, database_file: Path) -> tuple[str, ...]:
    """Return the macros with which the views of a database file find the home's files.

    The home is the folder of the database file, so a copied home reads its own rows. A view learns
    that folder only through the default of `temp_directory`. If the setting was changed, if the
    database is attached to another, or if it is stored outside the home, the views read the
    recorded home, and the database must be where it was written.
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
        # With two databases of this name attached, neither path says which one runs the view.
        f"""create macro is_own_home() as (
            select case when count(*) = 1 and (
                is_beside_home() or max(path) = {sql_literal(str(database_file))}
            ) then true else error({sql_literal(_wrong_home_message(database_file))}) end
            from duckdb_databases()
            where parse_filename(path) = {sql_literal(database_file.name)}
        )""",
    )


def _wrong_home_message(database_file: Path) -> str:
    return (
        f"The views of this database read the home of '{database_file}', but the database is "
        "another file, or two homes are open. Expected one home, opened and not attached. Open "
        "the database alone, or run `toolformer stats` in the copied home first."
    )


def glob_source(schema: TableSchema, folder: Path) -> str:
    """Return SQL that reads those partitions of a table that are current when the SQL runs.

    DuckDB lists the folder once for each pattern, in join order, and reads the catalogues last. The
    newest version that the first list contains is read. The second list contains it too, since
    superseded files stay on disk for a while.
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
    """Return SQL that reads the catalogues that are current when the SQL runs.

    Column `versions` lists versions with files, newest first. Damaged catalogues yield no rows.
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
    # In a table that is not cut by shard, the directory key must not overrule the column `shard`.
    return (
        "hive_partitioning = false"
        if schema.is_cross_shard
        else "hive_partitioning = true, hive_types = {shard: varchar}"
    )


def is_current(folder: Path, database_file: Path) -> bool:
    # The fingerprint is stored in a file next to the database, because the database cannot be
    # opened while another process has it open.
    stored = _fingerprint_file(database_file)
    exists = database_file.exists() and stored.exists()
    # The bytes of a damaged file may not decode, so text is encoded instead.
    return exists and stored.read_bytes() == _fingerprint(folder, database_file).encode()


def _fingerprint_file(database_file: Path) -> Path:
    return database_file.with_name(f"{database_file.name}.views")


def write_database(folder: Path, database_file: Path) -> None:
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
        write_atomically(_fingerprint_file(database_file), fingerprint, is_durable=False)
    except (OSError, duckdb.Error) as error:
        raise StorageError(
            f"Cannot write '{database_file}': {error}. Check the permissions and the free space "
            "of its folder. The rows in the warehouse are intact."
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
