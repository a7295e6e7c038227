"""The decision in SQL beside the engine's, and statistics of other thresholds beside decisions."""

import math
import random
from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import pytest

from tests.warehouse.rows import frame, put
from toolformer.filtering import Baseline, CallLosses, FilterDecision, FilterReason, decide, reaches
from warehouse.warehouse import Warehouse

TOOL = "Calculator"
# In steps of a quarter, so that many reductions and contrasts are thresholds.
LOSSES = [number / 4 for number in range(13)]


def scored_calls(
    lowest_threshold: float, baseline: str, *, is_any_loss_odd: bool = False
) -> Iterator[dict[str, object]]:
    """Calls as the stage `scored_calls` leaves them: pruned outside of the chance sample."""
    generator = random.Random(0)

    def odd(loss: float, *, may_be: bool = is_any_loss_odd) -> float:
        return generator.choice((loss,) * 4 + (math.nan, math.inf)) if may_be else loss

    for number in range(600):
        losses = [generator.choice(LOSSES) for _ in range(5)]
        without, alone, own, swapped, second = map(odd, losses)
        own = odd(losses[2], may_be=True)
        tokens_used = generator.choice((0, 5, 5, 5, 5))
        if tokens_used == 0:
            without = alone = own = swapped = second = 0.0
        is_sampled = number % 3 == 0
        reaches_lowest = is_sampled or without - own >= lowest_threshold
        needs_alone = is_sampled or (baseline == "minimum" and reaches_lowest)
        has_swapped = is_sampled or (reaches_lowest and generator.random() < 0.9)
        has_second = is_sampled and generator.random() < 0.7
        yield {
            "call_id": f"{baseline}-{number:03}",
            "document_id": f"d{number // 8}",
            "window_index": number // 4 % 2,
            "position": number,
            "tokens_used": tokens_used,
            "loss_without_call": without,
            "loss_call_without_result": alone if needs_alone else None,
            "loss_with_result": own if is_sampled or without >= lowest_threshold else None,
            "loss_with_swapped_result": swapped if has_swapped else None,
            "swapped_call_id": "x" if has_swapped else None,
            "is_in_chance_sample": is_sampled,
            "loss_with_second_swapped_result": second if has_second else None,
            "second_swapped_call_id": "y" if has_second else None,
            "lowest_threshold": lowest_threshold,
            "baseline": baseline,
        }


def decided_on(
    warehouse: Warehouse, filtering_threshold: float, contrast_threshold: float | None
) -> pl.DataFrame:
    return warehouse.ask(
        "filtered_calls",
        tool=TOOL,
        round=1,
        filtering_threshold=filtering_threshold,
        contrast_threshold=contrast_threshold,
    )


def store(warehouse: Warehouse, decided: pl.DataFrame) -> None:
    """What the table refuses would fail here."""
    warehouse.replace_partition("filtered_calls", "shard-00000", TOOL, decided, metadata={})


def losses_of(row: dict) -> CallLosses:
    return CallLosses(
        loss_without_call=row["loss_without_call"],
        loss_with_result=row["loss_with_result"],
        loss_call_without_result=row["loss_call_without_result"],
        tokens_used=row["tokens_used"],
        loss_with_swapped_result=row["loss_with_swapped_result"],
    )


def contrast_of(losses: CallLosses) -> float | None:
    own, swapped = losses.loss_with_result, losses.loss_with_swapped_result
    return None if own is None or swapped is None else swapped - own


def decision_on(
    losses: CallLosses, tau_f: float, tau_c: float | None, baseline: Baseline
) -> FilterDecision:
    """The engine's, and then by the contrast."""
    decision = decide(losses, filtering_threshold=tau_f, baseline=baseline)
    if not decision.is_kept or tau_c is None:
        return decision
    contrast = contrast_of(losses)
    if contrast is None:
        return replace(decision, is_kept=False, reason=FilterReason.NO_SWAPPED_RESULT)
    if not math.isfinite(contrast):
        return FilterDecision(False, FilterReason.NOT_FINITE, None)
    if reaches(contrast, tau_c):
        return decision
    return replace(decision, is_kept=False, reason=FilterReason.BELOW_CONTRAST)


@pytest.mark.parametrize("tau_c", [None, 0.0, 0.5])
@pytest.mark.parametrize("tau_f", [0.1, 0.5, 1.0 + 1e-10])
def test_the_statement_decides_as_the_engine_does(
    warehouse: Warehouse, tau_f: float, tau_c: float | None
):
    baselines = ("minimum", "without_call")
    rows = [row for each in baselines for row in scored_calls(0.1, each, is_any_loss_odd=True)]
    put(warehouse, "scored_calls", *rows)
    decided = decided_on(warehouse, tau_f, tau_c)
    store(warehouse, decided)
    in_order = frame("scored_calls", *rows).sort(
        "document_id", "window_index", "position", "call_id"
    )
    assert decided["call_id"].to_list() == in_order["call_id"].to_list()
    of_contrast = {FilterReason.BELOW_CONTRAST, FilterReason.NO_SWAPPED_RESULT}
    assert set(decided["reason"]) == set(FilterReason) - (of_contrast if tau_c is None else set())
    for row in decided.iter_rows(named=True):
        own, baseline = losses_of(row), row["baseline"]
        expected = decision_on(own, tau_f, tau_c, baseline)
        assert (row["is_kept"], row["reason"]) == (expected.is_kept, expected.reason.value), row
        assert row["loss_reduction"] == expected.loss_reduction
        assert row["contrast"] == pytest.approx(contrast_of(own), nan_ok=True)
        if not row["is_in_chance_sample"]:
            by_chance = (row["is_kept_by_chance"], row["chance_reduction"], row["chance_contrast"])
            assert by_chance == (None, None, None)
            continue
        swapped = replace(
            own,
            loss_with_result=row["loss_with_swapped_result"],
            loss_with_swapped_result=row["loss_with_second_swapped_result"],
        )
        expected = decision_on(swapped, tau_f, tau_c, baseline)
        has_no_say = tau_c is not None and row["second_swapped_call_id"] is None
        assert row["is_kept_by_chance"] == (None if has_no_say else expected.is_kept), row
        assert row["chance_reduction"] == expected.loss_reduction
        assert row["chance_contrast"] == pytest.approx(contrast_of(swapped), nan_ok=True)


@pytest.mark.parametrize("baseline", ["minimum", "without_call"])
@pytest.mark.parametrize("contrast_threshold", [None, 0.0, 0.25])
@pytest.mark.parametrize("lowest_threshold", [0.0, 0.1])
def test_another_threshold_is_counted_as_it_would_decide(
    warehouse: Warehouse, lowest_threshold: float, contrast_threshold: float | None, baseline: str
):
    put(warehouse, "scored_calls", *scored_calls(lowest_threshold, baseline))
    stored = decided_on(warehouse, lowest_threshold, contrast_threshold)
    store(warehouse, stored)
    sweep = warehouse.view("threshold_sweep")
    assert sweep["filtering_threshold"].to_list() == [lowest_threshold, 0.5, 1.0, 2.0]
    for row in sweep.iter_rows(named=True):
        threshold = row["filtering_threshold"]
        decided = decided_on(warehouse, threshold, contrast_threshold)
        kept, by_chance = decided.filter("is_kept"), decided["is_kept_by_chance"].drop_nulls()
        assert 0 < kept.height < decided.height
        expected = {
            "kept_calls": kept.height,
            "kept_texts": kept.select("document_id", "window_index").n_unique(),
            "kept_share": kept.height / decided.height,
            "chance_share": by_chance.mean(),
        }
        assert {name: row[name] for name in expected} == pytest.approx(expected), threshold
        assert row["chance_calls"] == by_chance.len()
    sample = stored.filter(pl.col("is_kept_by_chance").is_not_null())
    (chance,) = warehouse.ask("kept_against_chance").iter_rows(named=True)
    counts = {
        "kept_calls": stored["is_kept"].sum(),
        "chance_calls": sample.height,
        "chance_kept": sample["is_kept_by_chance"].sum(),
        "both_kept": (sample["is_kept_by_chance"] & sample["is_kept"]).sum(),
        "sample_kept": sample["is_kept"].sum(),
    }
    assert {name: chance[name] for name in counts} == counts


def test_of_calls_below_the_threshold_in_force_only_those_with_the_contrast_are_counted(
    warehouse: Warehouse,
):
    put(warehouse, "scored_calls", *scored_calls(0.1, "minimum"))
    store(warehouse, decided_on(warehouse, 1.0, 0.25))
    sweep = warehouse.view("threshold_sweep").filter(filtering_threshold=0.5)
    (at,) = sweep.iter_rows(named=True)
    decided = decided_on(warehouse, 0.5, 0.25)
    assert at["kept_calls"] == decided["is_kept"].sum()
    assert at["chance_share"] == pytest.approx(decided["is_kept_by_chance"].mean())
