import json

import pytest

from tests.warehouse.rows import (
    CALL,
    CALL_TABLES,
    SAMPLED,
    SHARD,
    TEXT,
    new_warehouse,
    put,
    put_calls,
)
from warehouse.needs import STATISTICS_VIEWS
from warehouse.warehouse import Warehouse

KEPT = {"is_kept": True, "reason": "kept"}
BELOW = {"is_kept": False, "reason": "below_threshold"}
PRUNED = {
    "is_kept": False,
    "reason": "bound_below_lowest_threshold",
    "loss_call_without_result": None,
}

PEEKING = {"status": "failed", "reason": "peeks", "peeks": True, "result": None, "duration_ms": 0.0}


def by_chance(reduction: float | None) -> dict[str, object]:
    """What a call of the chance sample comes to with a swapped result; None where it is NaN."""
    is_kept = reduction is not None and reduction >= 1.0 - 1e-9
    return SAMPLED | {"chance_reduction": reduction, "is_kept_by_chance": is_kept}


@pytest.fixture(scope="module")
def built(shared_warehouse: Warehouse) -> Warehouse:
    """Two documents; nine samples of the Calculator and one rejected look of the Calendar.

    c1 and c2 stand in one window, c3 in another; c1 loses its position to nobody, c2 and c3 are
    not merged. c4 to c6 fail in the filter, c7 in the tool, c8 in the sampling; c9 peeks. So does
    c6, which was let through.
    """
    warehouse = shared_warehouse
    put(warehouse, "documents", {}, {"document_id": "d2", "text": "x" * 200 + "=" + "y" * 200})
    put(warehouse, "document_selection", {}, {"document_id": "d2"})
    rejected = {"tool": "Calendar", "is_selected": False, "reason": "no_date"}
    rows = [rejected, rejected | {"document_id": "d2"}]
    put(warehouse, "document_selection", *rows, name="Calendar")
    put(
        warehouse,
        "candidate_calls",
        {"call_id": "c1"},
        {"call_id": "c2", "position": 5},
        {"call_id": "c3", "document_id": "d2", "character_offset": 200, "proposed": "call"},
        {"call_id": "c4", "sample_index": 4, "proposed": "none"},
        {"call_id": "c5", "sample_index": 5, "proposed": "position"},
        *({"call_id": f"c{n}", "sample_index": n} for n in range(6, 8)),
        {"call_id": "c8", "status": "dropped", "reason": "not_a_call", "arguments": None},
        {"call_id": "c9", "sample_index": 9},
    )
    put(
        warehouse,
        "executed_calls",
        *({"call_id": f"c{n}"} for n in range(1, 6)),
        {"call_id": "c6", "peeks": True},
        {"call_id": "c7", "status": "failed", "reason": "division_by_zero", "result": None},
        {"call_id": "c9", "message": "Only appears after the call: 400."} | PEEKING,
    )
    put(
        warehouse,
        "filtered_calls",
        {"call_id": "c1", "loss_reduction": 2.0 - 1e-10} | KEPT | by_chance(1.0 - 1e-10),
        {"call_id": "c2", "loss_reduction": 1.0} | KEPT | by_chance(0.2),
        {"call_id": "c3", "document_id": "d2", "proposed": "call", "loss_reduction": 1.2}
        | KEPT
        | by_chance(None),
        {"call_id": "c4", "loss_reduction": 0.7} | BELOW | by_chance(-5.0),
        {"call_id": "c5", "proposed": "position", "loss_reduction": 0.4} | PRUNED,
        {"call_id": "c6", "loss_reduction": None, "is_kept": False, "reason": "not_finite"},
    )
    put(warehouse, "augmented_texts")
    put(warehouse, "stage_costs")
    scoring = {"stage": "scoring", "tokens_fed": 500, "seconds": 1.0}
    put(warehouse, "stage_costs", scoring, name="Calculator.scoring")
    return warehouse


def test_funnel_counts_each_stage_of_each_tool(built: Warehouse):
    rows = built.query("select * from call_funnel").rows()
    stages = ["documents", "preselected", "samples", "candidates"]
    stages += ["executed", "scored", "kept", "merged"]
    calculator = [2, 2, 9, 8, 6, 6, 3, 1]
    calendar = [2, 0, 0, 0, 0, 0, 0, 0]
    assert rows == [
        (tool, stage, order, count, 1)
        for tool, counts in (("Calculator", calculator), ("Calendar", calendar))
        for order, (stage, count) in enumerate(zip(stages, counts, strict=True), start=1)
    ]


def test_statistics_sum_costs_and_average_over_kept_calls(built: Warehouse):
    [calculator, calendar] = built.query("select * from call_statistics").rows(named=True)
    assert calculator == {
        "tool": "Calculator",
        "candidates": 8,
        "peeking_share": 0.25,
        "executed": 6,
        "scored": 6,
        "kept": 3,
        "kept_by_model": 2,
        "kept_texts": 2,
        "mean_loss_reduction": pytest.approx(1.4),
        "tokens_fed": 1500,
        "seconds": 3.5,
        "round": 1,
    }
    assert calendar["tool"] == "Calendar"
    assert calendar["kept"] == 0
    assert calendar["mean_loss_reduction"] is None
    assert calendar["peeking_share"] is None


def test_every_sampled_call_has_a_line_with_what_became_of_it(built: Warehouse):
    columns = "call_id, is_kept, dropped_by, reason, arguments, result, peeks, proposed, title"
    rows = built.query(f"select {columns} from all_calls order by call_id").rows()
    call, done = ("400 / 1400", "0.29"), (False, "none", "Results")
    placed = (False, "position", "Results")
    assert rows == [
        ("c1", True, None, "kept", *call, *done),
        ("c2", True, None, "kept", *call, *done),
        ("c3", True, None, "kept", *call, False, "call", "Results"),
        ("c4", False, "filtering", "below_threshold", *call, *done),
        ("c5", False, "filtering", "bound_below_lowest_threshold", *call, *placed),
        ("c6", False, "filtering", "not_finite", *call, True, "none", "Results"),
        ("c7", False, "execution", "division_by_zero", call[0], None, *done),
        ("c8", False, "sampling", "not_a_call", None, None, None, "none", "Results"),
        ("c9", False, "execution", "peeks", call[0], None, True, "none", "Results"),
    ]
    message = built.query("select message from all_calls where call_id = 'c9'").item()
    around = built.query("select text_before || '|' || text_after from all_calls")
    assert message == "Only appears after the call: 400."
    assert set(around.to_series()) == {f"{TEXT[:34]}|{TEXT[34:]}", f"{'x' * 120}|={'y' * 119}"}


@pytest.mark.parametrize("number", [1, 2])
def test_rows_of_what_was_replaced_since_stand_beside_nothing_new(
    warehouse: Warehouse, number: int
):
    name = "Calculator" if number == 1 else "round-2.Calculator"
    made_of: dict[str, str] = {}
    for table in ("candidate_calls", "executed_calls", "filtered_calls"):
        metadata = {"fingerprint": table, "made_from": json.dumps(made_of)}
        put(warehouse, table, {"round": number}, name=name, **metadata)
        made_of[f"{table} of {SHARD}, {name}"] = table
    shown = (
        "select arguments, result, loss_reduction is not null, is_kept, dropped_by from all_calls"
    )
    [(arguments, *_)] = whole = warehouse.query(shown).rows()
    assert whole == [(arguments, "0.29", True, True, None)]
    again = {"round": number, "result": "0.3"}
    put(warehouse, "executed_calls", again, name=name, fingerprint="again", made_from="{}")
    assert warehouse.query(shown).rows() == [(arguments, "0.3", False, False, None)]
    put(warehouse, "candidate_calls", {"round": number}, name=name, fingerprint="again")
    made_from = json.dumps({f"candidate_calls of {SHARD}, {name}": "candidate_calls"})
    put(warehouse, "executed_calls", again, name=name, fingerprint="third", made_from=made_from)
    assert warehouse.query(shown).rows() == [(arguments, None, False, False, None)]


def test_a_call_that_waits_for_the_next_stage_was_dropped_by_none(warehouse: Warehouse):
    put_calls(warehouse, {}, tables=CALL_TABLES[:2])
    columns = "is_kept, dropped_by, reason, result, text_before"
    assert warehouse.query(f"select {columns} from all_calls").rows() == [
        (False, None, None, "0.29", None)
    ]


def test_proposals_are_counted_with_their_kept_calls(built: Warehouse):
    rows = built.query("select * from call_proposals").rows()
    assert rows == [
        ("Calculator", "call", 1, 1, 1, 1.0, 1),
        ("Calculator", "none", 6, 4, 2, 3.0, 1),
        ("Calculator", "position", 1, 1, 0, None, 1),
    ]


def test_sweep_has_nothing_below_the_lowest_threshold_and_no_chance_share_without_a_sample(
    warehouse: Warehouse,
):
    of_calls = {"filtering_threshold": 1.5, "lowest_threshold": 1.0, "loss_reduction": 1.8}
    put(warehouse, "filtered_calls", of_calls)
    columns = "filtering_threshold, kept_calls, chance_calls, chance_share"
    found = warehouse.query(f"select {columns} from threshold_sweep")
    assert found.rows() == [(1.0, 1, 0, None), (1.5, 1, 0, None), (2.0, 0, 0, None)]


def test_every_dropped_row_has_a_reason_in_its_stage(built: Warehouse):
    assert built.query("select * from drop_reasons").rows() == [
        ("Calculator", "sampling", "not_a_call", 1, 1),
        ("Calculator", "execution", "division_by_zero", 1, 1),
        ("Calculator", "execution", "peeks", 1, 1),
        ("Calculator", "filtering", "below_threshold", 1, 1),
        ("Calculator", "filtering", "bound_below_lowest_threshold", 1, 1),
        ("Calculator", "filtering", "not_finite", 1, 1),
        ("Calendar", "preselection", "no_date", 2, 1),
    ]


def test_kept_examples_stand_at_their_place_in_the_text(built: Warehouse):
    rows = built.query("select * from kept_examples").rows(named=True)
    assert [row["call_id"] for row in rows] == ["c1", "c3", "c2"]
    first, second, _ = rows
    assert first["call"] == "[Calculator(400 / 1400) -> 0.29]"
    assert first["text_before"] + first["text_after"] == TEXT
    assert len(first["text_before"]) == 34
    assert second["text_before"] == "x" * 120
    assert second["text_after"] == "=" + "y" * 119


@pytest.fixture(scope="module")
def two_rounds(tmp_path_factory) -> Warehouse:
    """Round 1 keeps c1 of c1 and c2; round 2 samples c3 alone, at the same place, and drops it."""
    warehouse, second = new_warehouse(tmp_path_factory.mktemp("two-rounds")), {"round": 2}
    for table in ("documents", "document_selection", "augmented_texts", "stage_costs"):
        put(warehouse, table)
    put_calls(warehouse, {"call_id": "c1"}, {"call_id": "c2"})
    name, call = "round-2.Calculator", second | {"call_id": "c3"}
    put_calls(warehouse, call, tables=CALL_TABLES[:3], name=name)
    dropped = {"loss_reduction": 0.6, "filtering_threshold": 0.7} | BELOW
    put(warehouse, "filtered_calls", call | dropped, name=name)
    put(warehouse, "document_selection", second, name=name)
    merged = second | {"calls": [CALL | {"call_id": "c3"}]}
    put(warehouse, "augmented_texts", merged, name="round-2.all")
    put(warehouse, "stage_costs", second | {"tokens_fed": 70}, name=f"{name}.sampling")
    return warehouse


def test_no_view_mixes_rounds(two_rounds: Warehouse):
    rows = two_rounds.query(
        "select round, candidates, executed, scored, kept, kept_texts, tokens_fed "
        "from call_statistics"
    )
    assert rows.rows() == [(1, 2, 2, 2, 2, 1, 1000), (2, 1, 1, 1, 0, 0, 70)]
    for number, ids in ((None, ["c1", "c2", "c3"]), (1, ["c1", "c2"]), (2, ["c3"]), (3, [])):
        read = two_rounds.read_partitions("candidate_calls", SHARD, round_number=number)
        assert sorted(read["call_id"]) == ids
    rows = two_rounds.query("select round, rows from call_funnel order by round, stage_order")
    counts = {1: [1, 1, 2, 2, 2, 2, 2, 1], 2: [1, 1, 1, 1, 1, 1, 0, 1]}
    assert rows.rows() == [(number, n) for number in counts for n in counts[number]]


def test_sweep_shows_a_threshold_only_in_the_round_that_used_it(two_rounds: Warehouse):
    rows = two_rounds.query("select round, filtering_threshold, kept_calls from threshold_sweep")
    first = [(1, 0.5, 2), (1, 1.0, 2), (1, 2.0, 0)]
    assert rows.rows() == [*first, (2, 0.5, 1), (2, 0.7, 0), (2, 1.0, 0), (2, 2.0, 0)]


def test_reasons_and_examples_name_their_round(two_rounds: Warehouse):
    reasons = two_rounds.query("select round, reason, rows from drop_reasons")
    assert reasons.rows() == [(2, "below_threshold", 1)]
    examples = two_rounds.query("select call_id, round from kept_examples order by call_id")
    assert examples.rows() == [("c1", 1), ("c2", 1)]


def test_place_in_the_text_counts_characters_not_bytes(warehouse: Warehouse):
    text = "Zürich – 𝔘nits: naïve"
    put(warehouse, "documents", {"text": text})
    put_calls(warehouse, {"character_offset": 11})
    [row] = warehouse.query("select * from kept_examples").rows(named=True)
    assert (row["text_before"], row["text_after"]) == (text[:11], text[11:])


def test_views_over_no_rows_are_empty(warehouse: Warehouse):
    for view in set(STATISTICS_VIEWS) - {"paper_results"}:
        assert warehouse.query(f"select * from {view}").height == 0


def test_exclusions_are_counted_by_reason_and_held_out_set(warehouse: Warehouse):
    no_other = {"other_document_id": None, "other_window_index": None, "similarity": None}
    shared = no_other | {"reason": "shares_ngram", "shared_ngram": "six crates"}
    rows = [
        {"document_id": "d1", "similarity": 0.8},
        {"document_id": "d2", "similarity": 0.9, "calls": 0},
        # Of two rounds: a partition of all texts holds both.
        {"document_id": "d2", "round": 2, "similarity": 1.0},
        shared | {"document_id": "d3", "held_out_set": "dateset"},
        shared | {"document_id": "d4", "held_out_set": "held_out_shards"},
        shared | {"document_id": "d5", "held_out_set": "held_out_shards"},
        no_other | {"document_id": "d6", "reason": "over_cap"},
    ]
    put(warehouse, "training_exclusions", *rows)
    summary = warehouse.view("training_exclusion_summary").rows()
    assert [row[:4] for row in summary] == [
        ("near_duplicate", None, 3, 1),
        ("shares_ngram", "held_out_shards", 2, 0),
        ("over_cap", None, 1, 0),
        ("shares_ngram", "dateset", 1, 0),
    ]
    assert [row[4] for row in summary] == [pytest.approx(0.9), None, None, None]


def test_the_curve_of_a_training_has_no_step_of_another_one_of_its_variant(warehouse: Warehouse):
    """Those of earlier rates stay when the model is trained anew."""
    for run, perplexity in (("run-1", 9.0), ("run-2", 8.0)):
        step = {"run": run, "development_perplexity": perplexity}
        put(warehouse, "training_metrics", step, step | {"step": 20}, name=run)
    curve = warehouse.ask("development_curve", run="run-2")
    assert curve.select("step", "development_perplexity").rows() == [(10, 8.0), (20, 8.0)]
