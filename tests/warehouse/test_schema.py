import subprocess
import sys

import pytest

from warehouse.connection import open_connection
from warehouse.errors import SchemaError
from warehouse.schema import parse_schema, sql_texts, tables


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


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("-- A.\ncreate table a (\n    b varchar,  -- B.\n);", "primary key"),
        ("-- A.\ncreate table a (\n    b varchar,\n    primary key (b)\n);", "no described column"),
        ("create table a (\n    b varchar,  -- B.\n    primary key (b)\n);", "comment"),
        ("-- A.\ncreate table a (\n    b blob,  -- B.\n    primary key (b)\n);", "'blob'"),
    ],
)
def test_schema_text_without_its_form_is_refused(text: str, problem: str):
    with pytest.raises(SchemaError, match=problem):
        _ = [table.polars_schema for table in parse_schema(text).values()]
