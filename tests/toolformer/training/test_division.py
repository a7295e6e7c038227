from hypothesis import given
from hypothesis import strategies as st

from toolformer.forward.batching import plan_batches
from toolformer.training.division import micro_batches, shares

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=40)


@given(LENGTHS, st.integers(1, 8))
def test_every_row_is_of_one_process_and_shares_differ_by_one_row_at_most(lengths, processes):
    taken = shares(lengths, processes)
    assert sorted(row for rows in taken for row in rows) == list(range(len(lengths)))
    tokens = [sum(lengths[row] for row in rows) for rows in taken]
    # Else the longest row of the fullest share would have gone to another process.
    assert max(tokens) - min(tokens) <= max(lengths)


@given(LENGTHS, st.integers(1, 5), st.integers(1, 100))
def test_all_processes_feed_as_often_and_within_the_budget(lengths, processes, budget):
    plans = [
        micro_batches(
            lengths,
            processes=processes,
            process=process,
            token_budget=budget,
        )
        for process in range(processes)
    ]
    assert len({len(plan) for plan in plans}) == 1
    fed = [row for plan in plans for group in plan for row in group]
    assert sorted(fed) == list(range(len(lengths)))
    for group in (group for plan in plans for group in plan if len(group) > 1):
        of_group = [lengths[row] for row in group]
        assert max(of_group) * len(group) <= budget


@given(LENGTHS, st.integers(1, 100))
def test_one_process_feeds_what_it_fed_alone(lengths, budget):
    alone = micro_batches(lengths, processes=1, process=0, token_budget=budget)
    assert alone == plan_batches(lengths, token_budget=budget)
