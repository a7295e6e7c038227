"""What a model does with tables that were edited under its questions."""

import pytest

from tests.warehouse.rows import put
from toolformer.evaluation.intervals import score_interval
from warehouse.warehouse import Warehouse

CALLED = {"called_tool": "Facts", "arguments": "Ada, born", "result": "Paris"}
ALONE = {"called_tool": None, "arguments": None, "result": None}


def row(item: str, mode: str, answer: str, score: float, **call: object) -> dict[str, object]:
    return {"item_id": item, "mode": mode, "answer": answer, "score": score, **ALONE, **call}


def test_answers_are_counted_by_what_the_table_said(warehouse: Warehouse):
    put(
        warehouse,
        "evaluation_results",
        # Reads the table, and is lost without it.
        row("reads", "disabled", "Oslo", 0.0),
        row("reads", "enabled", "Paris", 1.0, **CALLED),
        row("reads", "changed", "Rome", 1.0, **CALLED | {"result": "Rome"}),
        row("reads", "deleted", "Bergen", 0.0, **CALLED | {"result": "Bergen"}),
        # Knows it, whatever the table says.
        row("knows", "disabled", "Paris", 1.0),
        row("knows", "enabled", "Paris", 1.0, **CALLED),
        row("knows", "changed", "Paris", 0.0, **CALLED | {"result": "Rome"}),
        row("knows", "deleted", "Paris", 1.0, undone_call="not_found"),
        # Asks for no fact.
        row("other", "disabled", "x", 0.0),
        row("other", "enabled", "x", 0.0),
    )
    (found,) = warehouse.query("select * exclude (benchmark, model) from table_edits").to_dicts()
    assert found == {
        "items": 2,
        "right_with_table": 2,
        "right_without_calls": 1,
        "items_changed": 2,
        "says_changed": 1,
        "says_old": 1,
        "right_deleted": 1,
        "answered_deleted": 1,
        "answered_low": pytest.approx(9.453, abs=0.001),
        "answered_high": pytest.approx(90.547, abs=0.001),
    }


@pytest.mark.parametrize(("hits", "items"), [(0, 1), (0, 40), (1, 3), (175, 600), (40, 40)])
def test_the_interval_of_a_share_in_sql_is_that_of_scores(warehouse: Warehouse, hits, items):
    found = warehouse.query(f"select share_low({hits}, {items}), share_high({hits}, {items})").row(
        0
    )
    scores = [1.0] * hits + [0.0] * (items - hits)
    expected = score_interval(scores, [1.0] * items, metric="accuracy", seed=0)
    assert found == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-6)


def test_a_share_of_nothing_has_no_interval(warehouse: Warehouse):
    assert warehouse.query("select share_low(0, 0), share_high(0, 0)").row(0) == (None, None)
