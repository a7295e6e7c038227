"""Calls beside the marks of people, and how well the filter keeps those that people marked."""

import json

import pytest

from tests.warehouse.rows import CALL_TABLES, SAMPLED, put, put_calls
from warehouse.warehouse import Warehouse

#        0         1         2         3         4         5
#        012345678901234567890123456789012345678901234567890123456
TEXT = "In June she packed 48/2 = $24 jars, so 48+24 = 72 in all."
MARKS = (
    {"number": 0, "character_offset": 27, "expression": "48/2", "result": "24"},
    {"number": 1, "character_offset": 47, "expression": "48 + 24", "result": "72.00"},
)


def put_marked(warehouse: Warehouse, *calls: dict[str, object]) -> None:
    """A text with two marks, and calls with what the filter knows of them."""
    put(warehouse, "documents", {"text": TEXT})
    put(warehouse, "document_selection")
    put(warehouse, "text_marks", *MARKS)
    sampled = [{key: call[key] for key in call if key != "reason"} for call in calls]
    put_calls(warehouse, *sampled, tables=CALL_TABLES[:3])
    put_calls(warehouse, *calls, tables=CALL_TABLES[3:])


RIGHT = {
    "call_id": "right",
    "proposed": "call",
    "character_offset": 26,
    "arguments": "48 / 2",
    "result": "24",
    "loss_reduction": 2.0,
}
# Another expression with the same result, on the other side of the currency sign.
SAME_RESULT = RIGHT | {
    "call_id": "same result",
    "sample_index": 1,
    "character_offset": 27,
    "arguments": "12 * 2",
    "loss_reduction": 1.2,
}
OTHER_RESULT = RIGHT | {
    "call_id": "other result",
    "sample_index": 2,
    "arguments": "48 * 2",
    "result": "96",
    "loss_reduction": 1.1,
}
ELSEWHERE = RIGHT | {"call_id": "elsewhere", "position": 1, "character_offset": 19}


def test_a_call_matches_a_mark_at_its_place_by_expression_or_result(warehouse: Warehouse):
    put_marked(warehouse, RIGHT, SAME_RESULT, OTHER_RESULT, ELSEWHERE)
    columns = "call_id, is_at_mark, number, marked_expression, marked_result"
    rows = warehouse.query(f"select {columns} from calls_at_marks order by call_id").rows()
    assert rows == [
        ("elsewhere", False, None, None, None),
        ("other result", True, None, "48/2", "24"),
        ("right", True, 0, "48/2", "24"),
        ("same result", True, 0, "48/2", "24"),
    ]


@pytest.mark.parametrize(
    ("arguments", "result", "number"),
    [
        ("48+24", "1", 1),
        ("48 + 24.0", "72", 1),
        ("24 + 48", "72.005", 1),
        ("24 + 48", "72.01", None),
        ("48+24", None, 1),
        ("24+48", None, None),
    ],
)
def test_numbers_may_differ_by_what_rounding_leaves(warehouse, arguments, result, number):
    # The second mark writes its expression with blanks, and its result with decimals.
    put_marked(warehouse, RIGHT)
    call = {"character_offset": 46, "arguments": arguments}
    failed = {"status": "failed", "reason": "too_large"} if result is None else {}
    put(warehouse, "candidate_calls", call)
    put(warehouse, "executed_calls", {"result": result} | failed)
    rows = warehouse.query("select is_at_mark, number from calls_at_marks").rows()
    assert rows == [(True, number)]


def swept(warehouse: Warehouse, where: str) -> list[tuple[object, ...]]:
    columns = "filtering_threshold, kept_calls, kept_matching, kept_at_marks, kept_marks"
    return warehouse.query(
        f"select {columns}, precision, recall from filter_by_marks where {where}"
    ).rows()


def test_marks_in_texts_that_are_left_to_other_tools_are_not_missed(warehouse: Warehouse):
    put_marked(warehouse, RIGHT)
    text = {"document_id": "d2", "shard": "shard-00001"}
    put(warehouse, "text_marks", text, shard="shard-00001")
    for reason, marks in (("left_to_other_tools", 2), ("fewer_than_three_numbers", 3)):
        selection = text | {"is_selected": False, "reason": reason}
        put(warehouse, "document_selection", selection, shard="shard-00001")
        tried = warehouse.query("select distinct marks from filter_by_marks")
        assert tried.item() == marks


def test_a_call_that_stood_in_a_text_is_a_mark_for_its_own_tool_alone(warehouse: Warehouse):
    put_marked(warehouse, RIGHT, SAME_RESULT)
    of_tools = [mark | {"called_tool": "QA"} for mark in MARKS]
    put(warehouse, "text_marks", *of_tools)
    assert warehouse.view("calls_at_marks").is_empty()
    put(warehouse, "text_marks", of_tools[0] | {"called_tool": "Calculator"}, of_tools[1])
    assert warehouse.view("calls_at_marks")["number"].to_list() == [0, 0]
    assert swept(warehouse, "proposed = 'all' and filtering_threshold = 0.5") == [
        (0.5, 2, 2, 2, 1, 1.0, 1.0)
    ]


def test_precision_and_recall_follow_the_threshold(warehouse: Warehouse):
    put_marked(warehouse, RIGHT, SAME_RESULT, OTHER_RESULT, ELSEWHERE)
    assert swept(warehouse, "proposed = 'all' and filtering_threshold >= 0.5") == [
        (0.5, 4, 2, 3, 1, 0.5, 0.5),
        (1.0, 4, 2, 3, 1, 0.5, 0.5),
        (2.0, 2, 1, 1, 1, 0.5, 0.5),
        (4.0, 0, 0, 0, 0, None, 0.0),
    ]
    # No threshold is below the lowest, where losses are missing.
    lowest = warehouse.query("select min(filtering_threshold) from filter_by_marks").item()
    assert lowest == 0.1
    counts = "distinct marks, sampled_marks, scored_calls, scored_matching"
    assert warehouse.query(f"select {counts} from filter_by_marks").rows() == [(2, 1, 4, 2)]


def test_origin_and_contrast_have_curves_of_their_own(warehouse: Warehouse):
    in_force = {"contrast_threshold": 0.4} | SAMPLED
    own = SAME_RESULT | {"proposed": "none"} | in_force | {"contrast": 0.5}
    dropped = {"contrast": 0.39, "is_kept": False, "reason": "below_contrast"}
    other = OTHER_RESULT | in_force | dropped
    put_marked(warehouse, RIGHT | in_force | {"contrast": 0.4}, own, other)
    columns = "proposed, contrast_threshold, kept_calls, precision"
    rows = warehouse.query(
        f"select {columns} from filter_by_marks where filtering_threshold = 1"
    ).rows()
    assert rows == [
        ("all", None, 3, pytest.approx(2 / 3)),
        ("all", 0.4, 2, 1.0),
        ("call", None, 2, 0.5),
        ("call", 0.4, 1, 1.0),
        ("none", None, 1, 1.0),
        ("none", 0.4, 1, 1.0),
    ]


def test_results_and_decisions_of_calls_before_are_not_those_of_calls_made_anew(warehouse):
    put(warehouse, "documents")
    put(warehouse, "text_marks", {"character_offset": 33})
    made_from = json.dumps({"candidate_calls of shard-00000, Calculator": "before"})
    put_calls(warehouse, SAMPLED, tables=("candidate_calls",), fingerprint="new")
    decided = ("executed_calls", "filtered_calls")
    put_calls(warehouse, SAMPLED, tables=decided, made_from=made_from)
    rows = warehouse.query("select result, reason, is_kept from calls_at_marks").rows()
    assert rows == [(None, None, False)]


def test_without_marks_there_is_nothing_to_judge_by(warehouse: Warehouse):
    put(warehouse, "documents", {"text": TEXT})
    put_calls(warehouse, RIGHT)
    assert warehouse.view("calls_at_marks").is_empty()
    assert warehouse.view("filter_by_marks").is_empty()
