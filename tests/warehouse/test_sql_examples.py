"""Every statement of docs/sql.md is run, and every view has one."""

import re
from pathlib import Path

import pytest

from tests.warehouse.rows import fill, put, put_labels
from warehouse.needs import STATISTICS_VIEWS
from warehouse.warehouse import Warehouse

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"
STATEMENTS = [
    statement.strip()
    for block in re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    for statement in block.split(";")
    if statement.strip()
]
# Of the one row of each table: nothing was dropped or missed.
WITHOUT_ROWS = ("drop_reasons", "= 'below_threshold'", "where peeks")


@pytest.fixture(scope="module")
def filled(shared_warehouse: Warehouse) -> Warehouse:
    fill(shared_warehouse)
    put_labels(shared_warehouse, {}, {"rater": "Bo", "label": "unsure"})
    put(
        shared_warehouse,
        "evaluation_results",
        {"score": 0.0},
        {"mode": "disabled"},
        {"mode": "deleted"},
    )
    of_popqa = {"benchmark": "popqa", "item_group": "s_pop 0-9"}
    put(shared_warehouse, "evaluation_results", of_popqa, name="popqa.base.disabled.0000")
    return shared_warehouse


@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_statement_runs(filled: Warehouse, statement: str):
    rows = filled.query(statement)
    assert rows.is_empty() == any(name in statement for name in WITHOUT_ROWS)


@pytest.mark.parametrize("name", STATISTICS_VIEWS)
def test_every_view_has_an_example(name: str):
    assert any(re.search(rf"\bfrom {name}\b", statement) for statement in STATEMENTS)
