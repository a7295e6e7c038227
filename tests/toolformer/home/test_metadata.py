import dagster as dg
import polars as pl
import pytest

from toolformer.home.metadata import column_schema, table_markdown, table_metadata
from warehouse.schema import tables


def test_markup_in_a_cell_cannot_break_the_table():
    frame = pl.DataFrame({"a|b": ["x | y\nz", "[Call(1)] -> <API> `_*~\\"]})
    lines = str(table_markdown(frame).value).splitlines()
    assert lines[0] == r"| a\|b |"
    assert lines[2] == r"| x \| y z |"
    assert lines[3] == r"| \[Call(1)\] -\> \<API\> \`\_\*\~\\ |"
    assert len(lines) == 4


@pytest.mark.parametrize("table", tables())
def test_every_table_has_metadata_that_dagster_takes(table):
    spec = dg.AssetSpec(table, metadata=table_metadata(table))
    assert spec.metadata["dagster/table_name"] == table
    schema = spec.metadata["dagster/column_schema"]
    assert [column.name for column in schema.columns] == list(tables()[table].column_names)
    assert all(column.description for column in schema.columns)


def test_a_key_of_several_columns_makes_none_of_them_unique():
    schema = column_schema("augmented_texts")
    assert not any(column.constraints.unique for column in schema.columns)
    assert schema.constraints.other == ["primary key (document_id, window_index, round)"]
