"""Scores, their differences, and how calls were used."""

import math

import pytest

from tests.conftest import REPOSITORY
from tests.warehouse.rows import put
from warehouse.warehouse import Warehouse


def test_evaluation_is_a_weighted_mean_and_perplexity_its_exponential(warehouse: Warehouse):
    perplexity = (
        {"benchmark": "perplexity", "item_id": item, "score": score, "score_weight": weight}
        | {"called_tool": None, "mode": "disabled", "metric": "perplexity"}
        | {"divergence_from_base": divergence}
        for item, score, weight, divergence in (
            ("a", 2.0, 10.0, 0.2),
            ("b", 4.0, 30.0, 0.6),
            ("c", None, 5.0, None),
        )
    )
    wrong = {"item_id": "b", "score": 0.0, "called_tool": None, "precision": "bfloat16"}
    put(warehouse, "evaluation_results", *perplexity, name="perplexity.base")
    # Of what has no score it is not known whether a tool would have been called.
    too_long = {"item_id": "c", "score": None, "called_tool": None}
    put(warehouse, "evaluation_results", {"item_id": "a"}, wrong, too_long)
    perplexity_of_all = pytest.approx(math.exp(3.5))
    assert warehouse.query("select * from evaluation_summary").rows() == [
        ("dateset", "base", "with-tools", 3, 0.5, 0.5, None, None, "bfloat16, float32", None),
        ("perplexity", "base", "disabled", 3, perplexity_of_all, 0.0, None, None, "float32", 0.5),
    ]


def test_perplexity_tells_sources_of_one_file_name_apart(warehouse: Warehouse):
    files = {"d1": "/a/texts.jsonl", "d2": "/b/texts.jsonl", "d3": "/b/others.jsonl"}
    documents = [
        {"document_id": key, "source": file, "source_offset": number}
        for number, (key, file) in enumerate(files.items())
    ]
    put(warehouse, "documents", *documents)
    losses = {"benchmark": "perplexity", "metric": "perplexity", "mode": "disabled"}
    items = [{"item_id": f"{key}-0", "score": float(key[1])} | losses for key in files]
    put(warehouse, "evaluation_results", *items, name="perplexity.base")
    statement = (REPOSITORY / "benchmarks" / "perplexity_by_source.sql").read_text("utf-8")
    found = warehouse.query(statement, {"models": ["base"], "plain": "base"})
    assert found.select("source", "perplexity", "increase_over_plain").rows() == [
        ("/a/texts.jsonl", pytest.approx(math.e), 0.0),
        ("/b/texts.jsonl", pytest.approx(math.e**2), 0.0),
        ("others.jsonl", pytest.approx(math.e**3), 0.0),
    ]


def test_summary_tells_rounded_answers_and_numbers_that_no_call_equals(warehouse: Warehouse):
    rows = (
        ("a", '["0.625"]', "rounded_number", 1.0),
        ("b", '["0.0625", "0.33"]', "number", 0.0),
        ("c", '["-12.3456"]', "number", 0.0),
        ("d", '["9"]', "number", 1.0),
        ("e", '["0.3333333333333333"]', None, None),
    )
    items = (
        {"item_id": item, "gold": gold, "counted_by": rule, "score": score}
        for item, gold, rule, score in rows
    )
    put(warehouse, "evaluation_results", *items)
    assert warehouse.query(
        "select score, share_rounded, share_beyond_two_decimals from evaluation_summary"
    ).rows() == [(0.5, 0.25, 0.5)]


def test_calibration_tells_items_with_a_call_from_those_without(warehouse: Warehouse):
    rows = (
        ("a", 1.0, "QA", 10, None),
        ("b", 0.0, "QA", 10, None),
        ("c", 1.0, None, 10, None),
        ("d", None, None, 10, None),
        ("a", 0.0, None, 0, None),
        ("a", 1.0, None, 10, "QA"),
    )
    results = (
        {"item_id": item, "score": score, "called_tool": tool, "call_top_k": k}
        | {"without_tool": without, "mode": f"{k} {without}"}
        for item, score, tool, k, without in rows
    )
    put(warehouse, "evaluation_results", *results)
    assert warehouse.query(
        "select * exclude (benchmark, model, mode) from call_calibration"
    ).rows() == [(0, 1, 0.0, 0.0, None, 0.0), (10, 3, *[pytest.approx(2 / 3)] * 2, 0.5, 1.0)]


def test_answers_with_calls_stand_beside_those_without_and_tell_how_calls_were_used(
    warehouse: Warehouse,
):
    # Item, score without calls; tool, whether its result is right, score.
    answers = (
        ("needless", 1.0, "QA", False, 0.0),
        ("needless and unused", 1.0, "QA", True, 0.0),
        ("helps", 0.0, "QA", True, 1.0),
        ("missing", 0.0, None, None, 0.0),
        ("none needed", 1.0, None, None, 1.0),
        # Without a score on either side, and another question of the same name.
        ("failed", 0.0, "QA", None, None),
        ("too long", None, None, None, 0.0),
        ("changed", 0.0, None, None, 0.0),
    )
    without = {"called_tool": None, "is_result_right": None}
    undone = {"missing": "[QA(Who?) -> (no_result)", "none needed": "[QA(What?) -> (no_result)"}
    rows = [
        row
        for item, score_without, tool, is_right, score in answers
        for row in (
            {"item_id": item, "mode": "disabled", "score": score_without, **without},
            {"item_id": item, "called_tool": tool, "is_result_right": is_right, "score": score}
            | {"prompt": "Which?" if item == "changed" else "What day is it?"}
            | {"undone_call": undone.get(item)},
        )
    ]
    put(warehouse, "evaluation_results", *rows, {"item_id": "only here"})
    other = {"item_id": "helps", "model": "plain", "mode": "disabled", "score": 1.0}
    put(warehouse, "evaluation_results", other, name="dateset.plain")
    before = warehouse.query("select right_if_forced, forced_share from call_use").rows()
    assert before == [(None, None)]
    forced = [
        {"item_id": item, "mode": "forced", "score": score}
        for item, score in (("missing", 1.0), ("helps", 1.0), ("none needed", 0.0))
    ]
    put(warehouse, "evaluation_results", *forced, name="dateset.base.forced")
    answered = warehouse.query(
        "select item_id, is_needless_call, is_missing_call, is_unused_result, undone_call"
        " from answers_with_calls where mode <> 'forced'"
    )
    assert answered.rows() == [
        ("helps", False, False, False, None),
        ("missing", False, True, False, undone["missing"]),
        ("needless", True, False, False, None),
        ("needless and unused", True, False, True, None),
        ("none needed", False, False, False, undone["none needed"]),
    ]
    two_thirds = pytest.approx(2 / 3)
    assert warehouse.query("from call_use where mode <> 'forced'").rows() == [
        ("dateset", "base", "with-tools", 5, 3, 2, two_thirds, 1, 0.5, 1, 1, 1.0, 1, 0.5)
    ]


def test_our_scores_stand_beside_the_papers_in_percent(warehouse: Warehouse):
    own = {"benchmark": "own", "metric": "perplexity", "score": 30.0, "low": 29.0, "high": 31.0}
    for row in (own, {"benchmark": "svamp", "score": 0.25}):
        put(warehouse, "score_intervals", row, name=str(row["benchmark"]))
    table = warehouse.query(
        "select family, benchmark, source, model, mode, score from evaluation_table"
    ).rows()
    assert table[:2] == [
        ("Mathematics", "svamp", "ours", "base", "enabled", 25.0),
        ("Mathematics", "svamp", "paper", "GPT-J", None, 5.2),
    ]
    assert table[-1] == (None, "own", "ours", "base", "enabled", 30.0)
    assert len(table) == 8


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"low": 0.1, "p_value": 0.01}, "better"),
        ({"low": -0.1, "p_value": 0.01}, "unclear"),
        ({"low": 0.1, "p_value": 0.06}, "unclear"),
        ({"difference": -0.2, "low": -0.3, "high": -0.1, "p_value": 0.01}, "worse"),
        ({"metric": "perplexity", "low": 0.1, "p_value": 0.01}, "worse"),
    ],
)
def test_a_difference_is_one_where_interval_and_test_agree(
    warehouse: Warehouse, changes: dict[str, object], verdict: str
):
    put(warehouse, "paired_differences", changes)
    assert warehouse.query("select verdict from evaluation_difference").item() == verdict
