"""Statistics of other thresholds beside decisions that were made with them."""

import math
import random
from collections.abc import Iterator

import polars as pl
import pytest

from tests.warehouse.rows import SHARD, frame
from warehouse.warehouse import Warehouse

TOOL = "Calculator"
# In steps of a quarter, so that many reductions and contrasts are thresholds.
LOSSES = [number / 4 for number in range(13)]


def scored_calls(lowest_threshold: float, baseline: str) -> Iterator[dict[str, object]]:
    """Calls as the stage `scored_calls` leaves them: pruned outside of the chance sample."""
    generator = random.Random(0)
    for number in range(600):
        without, alone, own, swapped, second = (generator.choice(LOSSES) for _ in range(5))
        own = generator.choice((own, own, own, own, math.nan, math.inf))
        tokens_used = generator.choice((0, 5, 5, 5, 5))
        if tokens_used == 0:
            without = alone = own = swapped = second = 0.0
        is_sampled = number % 3 == 0
        reaches_lowest = is_sampled or without - own >= lowest_threshold
        needs_alone = is_sampled or (baseline == "minimum" and reaches_lowest)
        has_swapped = is_sampled or (reaches_lowest and generator.random() < 0.9)
        has_second = is_sampled and generator.random() < 0.7
        yield {
            "call_id": f"c{number:03}",
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


@pytest.mark.parametrize("baseline", ["minimum", "without_call"])
@pytest.mark.parametrize("contrast_threshold", [None, 0.0, 0.25])
@pytest.mark.parametrize("lowest_threshold", [0.0, 0.1])
def test_another_threshold_is_counted_as_it_would_decide(
    warehouse: Warehouse, lowest_threshold: float, contrast_threshold: float | None, baseline: str
):
    scored = frame("scored_calls", *scored_calls(lowest_threshold, baseline))
    warehouse.replace_partition("scored_calls", SHARD, TOOL, scored, metadata={})

    def decide(filtering_threshold: float) -> pl.DataFrame:
        return warehouse.ask(
            "filtered_calls",
            tool=TOOL,
            round=1,
            filtering_threshold=filtering_threshold,
            contrast_threshold=contrast_threshold,
        )

    stored = decide(lowest_threshold)
    warehouse.replace_partition("filtered_calls", SHARD, TOOL, stored, metadata={})
    sweep = warehouse.view("threshold_sweep")
    assert sweep["filtering_threshold"].to_list() == [lowest_threshold, 0.5, 1.0, 2.0]
    for row in sweep.iter_rows(named=True):
        threshold = row["filtering_threshold"]
        decided = decide(threshold)
        kept, by_chance = decided.filter("is_kept"), decided["is_kept_by_chance"].drop_nulls()
        assert 0 < kept.height < decided.height
        expected = {
            "kept_calls": kept.height,
            "kept_texts": kept.select("document_id", "window_index").n_unique(),
            "kept_share": kept.height / decided.height,
            "chance_share": by_chance.mean(),
        }
        (at,) = warehouse.query(f"from kept_at({threshold})").iter_rows(named=True)
        for view in (row, at):
            assert {name: view[name] for name in expected} == pytest.approx(expected), threshold
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
