"""What a view says of its columns is what it gives, and is told where people ask."""

import pytest

from warehouse.counting import COUNTS
from warehouse.descriptions import parse_view_description
from warehouse.needs import STATISTICS_VIEWS
from warehouse.schema import sql_texts
from warehouse.warehouse import Warehouse


@pytest.mark.parametrize("name", STATISTICS_VIEWS)
def test_a_view_describes_the_columns_that_it_gives_and_no_other(
    shared_warehouse: Warehouse, name: str
):
    described = parse_view_description(sql_texts("views")[name])
    given = shared_warehouse.query(f"from {name} limit 0").columns
    assert list(described.columns) == given
    assert described.description.endswith(".")
    assert all(described.columns.values())


def test_a_query_tells_what_tables_views_and_columns_mean(shared_warehouse: Warehouse):
    columns = shared_warehouse.query(
        "select table_name, column_name, comment from duckdb_columns() where not internal"
    )
    undescribed = columns.filter(columns["comment"].is_null())
    assert set(undescribed["table_name"]) == set(COUNTS)
    of_kept = columns.filter(table_name="call_statistics", column_name="kept_texts")
    assert of_kept["comment"].to_list() == ["windows with at least one kept call"]
    views = shared_warehouse.query("select comment from duckdb_views() where not internal")
    assert views["comment"].null_count() == 0
