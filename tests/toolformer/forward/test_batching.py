from hypothesis import given
from hypothesis import strategies as st

from toolformer.forward.batching import plan_batches

LENGTHS = st.lists(st.integers(1, 60), max_size=40)


@given(lengths=LENGTHS, token_budget=st.integers(1, 200))
def test_batches_hold_each_row_once_longest_first_and_as_many_as_the_budget_takes(
    lengths, token_budget
):
    batches = plan_batches(lengths, token_budget=token_budget)
    order = [index for batch in batches for index in batch]
    # Equal ones keep their order.
    assert order == sorted(range(len(lengths)), key=lambda index: -lengths[index])
    assert all(batches)
    for batch in batches:
        # With its padding.
        assert lengths[batch[0]] * len(batch) <= token_budget or len(batch) == 1
    for batch in batches[:-1]:
        assert lengths[batch[0]] * (len(batch) + 1) > token_budget
