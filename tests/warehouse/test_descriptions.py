"""What a view says of its columns is what it gives."""

import pytest

from tests.view_descriptions import parse_view_description
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
