import subprocess
import sys

from warehouse.connection import open_connection
from warehouse.schema import sql_texts, tables


def test_schema_module_reads_what_duckdb_creates():
    with open_connection() as connection:
        connection.execute(sql_texts()["schema"])
        created = {}
        for name, column, kind, nullable in connection.execute(
            "select table_name, column_name, data_type, is_nullable from duckdb_columns() "
            "where not internal order by table_name, column_index"
        ).fetchall():
            created.setdefault(name, []).append((column, kind.lower().replace('"', ""), nullable))
        keys = dict(
            connection.execute(
                "select table_name, constraint_column_names from duckdb_constraints() "
                "where constraint_type = 'PRIMARY KEY'"
            ).fetchall()
        )
    assert created.keys() == tables().keys()
    for name, schema in tables().items():
        read = [(column.name, column.type) for column in schema.columns]
        assert read == [(column, kind) for column, kind, _ in created[name]]
        assert list(schema.primary_key) == list(keys[name])
        for column, (_, _, nullable) in zip(schema.columns, created[name], strict=True):
            assert nullable is not (column.is_required or column.name in schema.primary_key)


def test_schema_is_read_without_duckdb_and_polars():
    code = (
        "import sys; import warehouse.warehouse; from warehouse.schema import tables; tables(); "
        "sys.exit(bool({'duckdb', 'pyarrow', 'polars'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
