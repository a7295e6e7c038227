from hypothesis import given
from hypothesis import strategies as st

from toolformer.forward.batching import plan_batches

LENGTHS = st.lists(st.integers(1, 60), max_size=40)


@given(lengths=LENGTHS, token_budget=st.integers(1, 200))
def test_every_row_is_in_exactly_one_batch(lengths, token_budget):
    batches = plan_batches(lengths, token_budget=token_budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(batches)


@given(lengths=LENGTHS, token_budget=st.integers(1, 200))
def test_a_batch_with_its_padding_stays_within_the_budget(lengths, token_budget):
    for batch in plan_batches(lengths, token_budget=token_budget):
        padded = max(lengths[index] for index in batch) * len(batch)
        assert padded <= token_budget or len(batch) == 1


@given(lengths=LENGTHS, token_budget=st.integers(1, 200))
def test_longer_rows_come_first(lengths, token_budget):
    batches = plan_batches(lengths, token_budget=token_budget)
    in_order = [lengths[index] for batch in batches for index in batch]
    assert in_order == sorted(lengths, reverse=True)


@given(lengths=LENGTHS, token_budget=st.integers(1, 200))
def test_no_batch_could_have_taken_the_row_that_follows_it(lengths, token_budget):
    batches = plan_batches(lengths, token_budget=token_budget)
    for batch in batches[:-1]:
        assert lengths[batch[0]] * (len(batch) + 1) > token_budget


def test_equal_lengths_keep_their_order():
    assert plan_batches([4, 4, 4, 4, 4], token_budget=8) == [[0, 1], [2, 3], [4]]


def test_a_row_over_the_budget_gets_a_batch_of_its_own():
    assert plan_batches([3, 50, 3], token_budget=10) == [[1], [0, 2]]


def test_no_rows_make_no_batches():
    assert plan_batches([], token_budget=10) == []
