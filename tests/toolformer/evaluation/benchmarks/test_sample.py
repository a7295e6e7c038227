import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolformer.evaluation.benchmarks.benchmark import BenchmarkItem
from toolformer.evaluation.benchmarks.sample import sample

ITEMS = [BenchmarkItem(f"item-{number}", "x", ("y",)) for number in range(60)]


@settings(deadline=None)  # machines under load
@given(small=st.integers(0, 70), large=st.integers(0, 70), seed=st.integers(0, 5))
def test_more_items_hold_all_that_fewer_hold_in_the_order_of_the_file(small, large, seed):
    small, large = sorted((small, large))
    few, many = sample(iter(ITEMS), small, seed), sample(iter(ITEMS), large, seed)
    assert len(few) == min(small, 60)
    assert [item for item in many if item in few] == few
    assert [item for item in ITEMS if item in many] == many


def test_the_choice_depends_on_the_seed_and_on_ids_alone():
    chosen = sample(ITEMS, 10, 1)
    assert sample(ITEMS, 10, 2) != chosen
    assert sorted(item.item_id for item in sample(reversed(ITEMS), 10, 1)) == sorted(
        item.item_id for item in chosen
    )


def test_the_choice_is_the_order_of_blake2b_of_seed_and_id():
    ranked = sorted(
        ITEMS,
        key=lambda item: hashlib.blake2b(f"4\x1f{item.item_id}".encode(), digest_size=8).digest(),
    )
    assert set(sample(ITEMS, 7, 4)) == set(ranked[:7])


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="sample size is -1"):
        sample(ITEMS, -1, 0)
