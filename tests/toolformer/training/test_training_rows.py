from hypothesis import given
from hypothesis import strategies as st

from toolformer.training.training_rows import batch_rows, fit_row

CALL = [70, 71, 72, 73]


def test_a_text_that_fits_is_left_as_it_is():
    assert fit_row([[1], CALL, [2]], max_tokens=6) == [1, *CALL, 2]


def test_a_call_that_does_not_fit_is_cut_whole():
    segments = [[1], CALL, [2], [3], CALL, [4]]
    assert fit_row(segments, max_tokens=10) == [1, *CALL, 2, 3]


def test_a_row_begins_later_when_its_only_call_would_be_cut_off():
    segments = [[number] for number in range(20)] + [CALL] + [[number] for number in range(20, 40)]
    row = fit_row(segments, max_tokens=12)
    assert row == [16, 17, 18, 19, *CALL, 20, 21, 22, 23]


def test_a_late_call_at_the_end_of_its_text_keeps_as_much_text_before_it_as_fits():
    segments = [[number] for number in range(20)] + [CALL, [20]]
    assert fit_row(segments, max_tokens=10) == [15, 16, 17, 18, 19, *CALL, 20]


def test_a_call_longer_than_the_row_gives_way_to_one_that_fits():
    segments = [[1], list(range(80, 99)), [2], [3], CALL, [4]]
    assert fit_row(segments, max_tokens=6) == [3, *CALL, 4]


def test_a_text_of_which_no_call_fits_has_no_row():
    assert fit_row([[1], CALL, [2]], max_tokens=3) == []


def test_a_text_without_calls_is_cut_at_the_end():
    assert fit_row([[1], [2], [3]], max_tokens=2) == [1, 2]


# Text tokens are below 100; call n is made of 100 n + 0, 1, 2 …, so that a part of one shows.
segment_lists = st.lists(st.integers(1, 6), max_size=25).map(
    lambda lengths: [
        [place % 100] if length == 1 else [100 * (place + 1) + each for each in range(length)]
        for place, length in enumerate(lengths)
    ]
)


@given(segment_lists, st.integers(1, 40))
def test_a_row_is_a_run_of_whole_segments_and_holds_a_call_where_one_fits(segments, max_tokens):
    row = fit_row(segments, max_tokens=max_tokens)
    assert len(row) <= max_tokens
    runs = [
        [token for segment in segments[start:end] for token in segment]
        for start in range(len(segments) + 1)
        for end in range(start, len(segments) + 1)
    ]
    assert row in runs
    calls = [segment for segment in segments if len(segment) > 1]
    if calls:
        fits = any(len(call) <= max_tokens for call in calls)
        assert any(token >= 100 for token in row) == fits


def test_every_row_comes_once_per_epoch_in_another_order_each_time():
    stream = [row for step in range(1, 7) for row in batch_rows(9, batch_size=3, step=step, seed=5)]
    first, second = stream[:9], stream[9:]
    assert sorted(first) == sorted(second) == list(range(9))
    assert first != second


def test_a_batch_goes_on_into_the_next_epoch():
    stream = [row for step in (1, 2, 3) for row in batch_rows(4, batch_size=6, step=step, seed=0)]
    assert len(stream) == 18
    assert sorted(stream[:4]) == sorted(stream[4:8]) == sorted(stream[8:12]) == [0, 1, 2, 3]


def test_another_seed_gives_another_order():
    orders = {tuple(batch_rows(20, batch_size=20, step=1, seed=seed)) for seed in range(5)}
    assert len(orders) == 5
