import dagster as dg
import polars as pl
import pytest

from dagster_project.metadata import column_schema, table_markdown, table_metadata
from warehouse.errors import UnknownTableError
from warehouse.schema import tables, view_name


def test_markup_in_a_cell_cannot_break_the_table():
    frame = pl.DataFrame({"a|b": ["x | y\nz", "[Call(1)] -> <API> `_*~\\"]})
    lines = table_markdown(frame).splitlines()
    assert lines[0] == r"| a\|b |"
    assert lines[2] == r"| x \| y z |"
    assert lines[3] == r"| \[Call(1)\] -\> \<API\> \`\_\*\~\\ |"
    assert len(lines) == 4


def test_long_cells_are_cut_before_they_are_escaped():
    markdown = table_markdown(pl.DataFrame({"t": ["|" * 100]}), width=10)
    assert markdown.splitlines()[2] == "| " + r"\|" * 9 + "… |"


def test_values_are_written_for_people():
    frame = pl.DataFrame(
        {
            "n": [1234567, None],
            "x": [0.123456, float("nan")],
            "b": [True, False],
            "calls": [[{"tool": "QA"}], []],
        }
    )
    lines = table_markdown(frame).splitlines()
    assert lines[1] == "| ---: | ---: | :--- | :--- |"
    assert lines[2] == r"| 1,234,567 | 0.1235 | yes | \[{" '"tool": "QA"' r"}\] |"
    assert lines[3] == r"| – | nan | no | \[\] |"


@pytest.mark.parametrize(
    ("height", "last"), [(6, "*and 1 more row*"), (1205, "*and 1,200 more rows*")]
)
def test_rows_that_are_not_shown_are_counted(height, last):
    markdown = table_markdown(pl.DataFrame({"n": range(height)}))
    assert markdown.splitlines()[-1] == last
    assert markdown.count("\n|") == 6


def test_a_frame_without_rows_or_columns_says_so():
    assert table_markdown(pl.DataFrame(schema={"tool": pl.String})).endswith("*no rows*")
    assert table_markdown(pl.DataFrame()) == "*no columns*"


@pytest.mark.parametrize("table", tables())
def test_every_table_has_metadata_that_dagster_takes(table):
    spec = dg.AssetSpec(table, metadata=table_metadata(table))
    assert spec.metadata["dagster/table_name"] == table
    schema = spec.metadata["dagster/column_schema"]
    assert [column.name for column in schema.columns] == [
        view_name(column) for column in tables()[table].column_names
    ]
    assert all(column.description for column in schema.columns)


def test_constraints_of_the_columns_are_shown():
    schema = column_schema("documents")
    by_name = {column.name: column for column in schema.columns}
    assert by_name["document_id"].constraints.unique
    assert not by_name["document_id"].constraints.nullable
    assert by_name["url"].constraints.nullable
    assert by_name["published_on"].type == "date"
    assert schema.constraints.other == ["primary key (document_id)"]


def test_a_key_of_several_columns_makes_none_of_them_unique():
    schema = column_schema("augmented_texts")
    assert not any(column.constraints.unique for column in schema.columns)
    assert schema.constraints.other == ["primary key (document_id, window_index, round)"]


def test_an_unknown_table_is_an_error():
    with pytest.raises(UnknownTableError, match="document"):
        table_metadata("document")
