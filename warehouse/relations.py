"""Creates the views: each table over its partitions, their counts, and those of `views/*.sql`.

The same views go into an in-memory connection for our own queries and into `warehouse.duckdb`
for people, which is written anew beside and renamed, and never opened again by this code.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.base.digests import hex_digest
from toolformer.base.whole_files import replacing, write_whole
from warehouse.connection import MACROS, open_connection, sql_literal, sql_name
from warehouse.counting import COUNTS, counted_relation
from warehouse.errors import PartitionsChangingError, StorageError
from warehouse.labels import LABEL_LINES, label_lines_source, labels_file
from warehouse.layout import CATALOGUE_FOLDER
from warehouse.needs import STATISTICS_VIEWS, Needs, everything
from warehouse.partitions import damaged_error
from warehouse.published import damaged_partitions
from warehouse.schema import TableSchema, sql_texts, table_schema, tables

if TYPE_CHECKING:
    import duckdb

PUBLISHED = "published"
"""The relation of what the catalogues name, a row a partition; JSON as it stands there."""

_COLUMNS = "table_name varchar, shard varchar, partition varchar, metadata json, counts json"


def create_views(
    connection: "duckdb.DuckDBPyConnection", needs: Needs, sources: Mapping[str, str]
) -> None:
    """Creates the views that a statement needs, over the relation `published`.

    Over `label_lines` too, if the view `labels` is among them.

    Args:
        sources: The SQL behind `from` that gives the rows of each table that is read.

    Raises:
        duckdb.Error: A partition is damaged, or was moved away at that moment.
    """
    for name in tables():
        if name in needs.rows:
            columns = shown_columns(table_schema(name))
            _create_view(connection, name, f"select {columns} from {sources[name]}")
    for name in COUNTS:
        if name in needs.views:
            _create_view(connection, name, counted_relation(name))
    create_statistics_views(connection, needs.views)


def create_published(
    connection: "duckdb.DuckDBPyConnection", rows: Collection[tuple[str, str, str, str, str]]
) -> None:
    """Creates the relation `published`.

    Args:
        rows: Of each partition the table, shard, name, metadata and counts, these as JSON.
    """
    connection.execute(f"create table {PUBLISHED} ({_COLUMNS})")
    if rows:
        # As one text: DuckDB takes lists of hundreds of thousands of Python's strings in seconds.
        # JSON has neither of the characters that part them.
        text = "\n".join(map("\t".join, rows))
        fields = ", ".join(f"fields[{number}]" for number in range(1, 6))
        lines = "string_split(unnest(string_split($text, chr(10))), chr(9)) as fields"
        connection.execute(
            f"insert into {PUBLISHED} select {fields} from (select {lines})", {"text": text}
        )


def create_label_lines(connection: "duckdb.DuckDBPyConnection", lines: Sequence[str]) -> None:
    """Creates the relation that the view `labels` reads."""
    statement = f"create table {LABEL_LINES} as select unnest($lines::varchar[]) as line"
    connection.execute(statement, {"lines": lines})


def create_statistics_views(
    connection: "duckdb.DuckDBPyConnection", names: Collection[str]
) -> None:
    """Creates statistics views over views or tables."""
    for name in STATISTICS_VIEWS:
        if name in names:
            _create_view(connection, name, sql_texts("views")[name])


def _create_view(connection: "duckdb.DuckDBPyConnection", name: str, text: str) -> None:
    connection.execute(f"create view {sql_name(name)} as {text}")


def shown_columns(schema: TableSchema) -> str:
    """Returns the SQL that selects a table's columns, in an order that no file decides."""
    return ", ".join(map(sql_name, schema.column_names))


def file_list_source(schema: TableSchema, files: Collection[Path]) -> str:
    """Returns the SQL that reads these files of a table."""
    if files:
        listed = ", ".join(sql_literal(str(path)) for path in files)
        return f"read_parquet([{listed}], {_partitioning(schema)})"
    columns = ", ".join(f"null::{each.type} as {sql_name(each.name)}" for each in schema.columns)
    return f"(select {columns} where false)"


def _home_macros(folder: Path, database_file: Path) -> tuple[str, ...]:
    """Returns the macros by which views of a database file find the home's files.

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
    """Returns the SQL that reads the partitions of a table as they are whenever it is run.

    DuckDB lists the folder once for each pattern, in the order of the join, and reads the
    catalogues behind that. So of each partition the newest file in the first list is chosen: the
    second list has it, since what was replaced still lies there.
    """
    files = f"home_pattern() || {sql_literal(f'{folder.name}/{schema.name}/*/*.parquet')}"
    chosen = f"""(
        select arg_min(listed.file, place) as chosen_file
        from glob({files}) as listed
        join (
            select
                shard,
                partition,
                'shard=' || shard || '/' || unnest(files) as named_file,
                generate_subscripts(files, 1) as place
            from {PUBLISHED} where table_name = {sql_literal(schema.name)}
        ) on regexp_extract(listed.file, '[^/]+/[^/]+$') = named_file
        group by shard, partition
    )"""
    return f"{chosen} join read_parquet({files}, {_partitioning(schema)}) on filename = chosen_file"


def published_source(folder: Path) -> str:
    """Returns the SQL that reads the catalogues as they are whenever it is run.

    Besides the columns of `create_published` it has the files of each partition that has rows, the
    newest first.
    """
    pattern = f"home_pattern() || {sql_literal(f'{folder.name}/{CATALOGUE_FOLDER}/*.json')}"
    names = ("table", "name", "file")
    columns = ", ".join(
        [f"{sql_literal(name)}: 'varchar'" for name in names]
        + [f"'{name}': 'json'" for name in ("replaced", "metadata", "counts")]
    )
    return f"""
        select
            "table" as table_name,
            regexp_extract(filename, '([^/]+)\\.json$', 1) as shard,
            name as partition,
            metadata,
            counts,
            case when file is null then [] else list_prepend(file, json_keys(replaced)) end as files
        from read_json(
            {pattern}, format = 'newline_delimited', filename = true,
            columns = {{{columns}}}
        )
        where "table" is not null and is_own_home()"""


def _partitioning(schema: TableSchema) -> str:
    # A table that is not cut by shard keeps its own `shard` column: the directory must not
    # overrule it.
    return (
        "hive_partitioning = false"
        if schema.is_cross_shard
        else "hive_partitioning = true, hive_types = {shard: varchar}"
    )


def write_database(folder: Path, database_file: Path) -> None:
    """Writes the database file with all views, unless the one there is up to date.

    What the file was made from is remembered in a small file beside it, because opening the
    database would fail while somebody else has it open.

    Raises:
        StorageError: The disk refused the write.
        DamagedPartitionError: A partition cannot be read, so its table has no view.
        PartitionsChangingError: Partitions were moved away meanwhile.
    """
    import duckdb

    stamp = database_file.with_name(f"{database_file.name}.views")
    fingerprint = _fingerprint(folder, database_file)
    # Bytes: a damaged one may be no text.
    if database_file.exists() and stamp.exists() and stamp.read_bytes() == fingerprint.encode():
        return
    try:
        with (
            replacing(database_file, is_durable=False) as temporary,
            open_connection(temporary) as connection,
        ):
            for macro in _home_macros(folder, database_file):
                connection.execute(macro)
            _create_view(connection, PUBLISHED, published_source(folder))
            _create_view(connection, LABEL_LINES, _label_lines(folder))
            create_views(connection, everything(), _glob_sources(folder))
        write_whole(stamp, fingerprint, is_durable=False)
    except OSError as error:
        raise StorageError(
            f"Cannot write '{database_file}': {error}. Check the permissions and the free space "
            "of its folder; the rows themselves are intact."
        ) from error
    except duckdb.Error as error:
        # What is missing may be a copy that nobody has fetched yet.
        if damaged := damaged_partitions(folder, is_copy=True):
            raise damaged_error(damaged) from error
        raise PartitionsChangingError(
            f"The views cannot be created: {error}. No partition is damaged: check the free space, "
            "and if a build is running, run the command again."
        ) from error


def _label_lines(folder: Path) -> str:
    file = f"home_pattern() || {sql_literal(labels_file(folder).name)}"
    return f"{label_lines_source(file)} where is_own_home()"


def _glob_sources(folder: Path) -> dict[str, str]:
    return {name: glob_source(schema, folder) for name, schema in tables().items()}


def _fingerprint(folder: Path, database_file: Path) -> str:
    parts = [*_home_macros(folder, database_file), *MACROS]
    parts += (text for each in ("", "views", "counts") for text in sql_texts(each).values())
    parts += (published_source(folder), _label_lines(folder))
    return hex_digest(*parts, *_glob_sources(folder).values())
