"""The decision in SQL beside the engine's, on losses of every kind."""

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.warehouse.rows import SHARD, frame
from toolformer.filtering import Baseline, CallLosses, FilterReason, decide
from warehouse.warehouse import Warehouse

LOSSES = (0.0, 0.4, 0.5, 1.0, 1.5, 2.0, math.nan, math.inf)


def rows() -> Iterator[dict[str, object]]:
    """Scored calls as the stage leaves them, pruned and exact, in and outside of the sample."""
    generator = random.Random(0)
    kinds = itertools.product(("minimum", "without_call"), (True, False), range(200))
    for number, (baseline, is_sampled, _) in enumerate(kinds):
        without, alone, own, swapped, second = (generator.choice(LOSSES) for _ in range(5))
        pruned = generator.choice(("no", "no", "call alone", "both"))
        has_second = generator.random() < 0.7
        has_swapped = is_sampled or generator.random() < 0.5
        yield {
            "call_id": f"c{number:04}",
            "position": number,
            "tokens_used": generator.choice((0, 5, 5, 5)),
            "loss_without_call": without,
            "loss_call_without_result": None if pruned != "no" else alone,
            "loss_with_result": None if pruned == "both" else own,
            "is_in_chance_sample": is_sampled,
            "swapped_call_id": "s" if has_swapped else None,
            "loss_with_swapped_result": swapped if has_swapped else None,
            "second_swapped_call_id": "z" if is_sampled and has_second else None,
            "loss_with_second_swapped_result": second if is_sampled and has_second else None,
            "baseline": baseline,
        }


def losses_of(row: dict) -> CallLosses:
    return CallLosses(
        loss_without_call=row["loss_without_call"],
        loss_with_result=row["loss_with_result"],
        loss_call_without_result=row["loss_call_without_result"],
        tokens_used=row["tokens_used"],
        loss_with_swapped_result=row["loss_with_swapped_result"],
    )


@pytest.mark.parametrize("tau_c", [None, 0.0, 0.5])
@pytest.mark.parametrize("tau_f", [0.1, 0.5, 1.0 + 1e-10])
def test_the_statement_decides_as_the_engine_does(
    warehouse: Warehouse, tau_f: float, tau_c: float | None
):
    scored = frame("scored_calls", *rows())
    warehouse.replace_partition("scored_calls", SHARD, "Calculator", scored, metadata={})
    decided = warehouse.ask(
        "filtered_calls",
        shards={SHARD},
        tool="Calculator",
        round=1,
        filtering_threshold=tau_f,
        contrast_threshold=tau_c,
    )
    # What the table refuses would fail here.
    warehouse.replace_partition("filtered_calls", SHARD, "Calculator", decided, metadata={})
    assert decided["call_id"].to_list() == scored["call_id"].to_list()
    of_contrast = {FilterReason.BELOW_CONTRAST, FilterReason.NO_SWAPPED_RESULT}
    assert set(decided["reason"]) == set(FilterReason) - (of_contrast if tau_c is None else set())
    for row in decided.iter_rows(named=True):
        own, baseline = losses_of(row), Baseline(row["baseline"])
        rule = {
            "filtering_threshold": tau_f,
            "contrast_threshold": tau_c,
            "baseline": baseline,
        }
        expected = decide(own, **rule)
        assert (row["is_kept"], row["reason"]) == (expected.is_kept, expected.reason.value), row
        assert row["loss_reduction"] == expected.loss_reduction
        assert row["contrast"] == pytest.approx(own.contrast, nan_ok=True)
        if not row["is_in_chance_sample"]:
            by_chance = (row["is_kept_by_chance"], row["chance_reduction"], row["chance_contrast"])
            assert by_chance == (None, None, None)
            continue
        swapped = replace(
            own,
            loss_with_result=row["loss_with_swapped_result"],
            loss_with_swapped_result=row["loss_with_second_swapped_result"],
        )
        expected = decide(swapped, **rule)
        has_no_say = tau_c is not None and row["second_swapped_call_id"] is None
        assert row["is_kept_by_chance"] == (None if has_no_say else expected.is_kept), row
        assert row["chance_reduction"] == expected.loss_reduction
        assert row["chance_contrast"] == pytest.approx(swapped.contrast, nan_ok=True)
