from hypothesis import given
from hypothesis import strategies as st

from toolformer.augmentation import Segment
from toolformer.forward.batching import plan_batches
from toolformer.training.trainer import micro_batches
from toolformer.training.training_rows import (
    CALL,
    RESULT,
    TEXT,
    batch_rows,
    kept_tokens,
    training_row,
)

OF_CALL = Segment([70, 71, 72, 73], 2)


def text(*tokens: int) -> list[Segment]:
    return [Segment([token], None) for token in tokens]


def ids(segments: list[Segment], tokens: range, max_tokens: int) -> tuple[int, ...]:
    return tuple(training_row(segments, tokens, max_tokens=max_tokens).ids)


def fit(segments: list[Segment], max_tokens: int) -> tuple[int, ...] | None:
    tokens = kept_tokens(segments, max_tokens=max_tokens)
    return tokens and ids(segments, tokens, max_tokens)


def test_a_call_that_does_not_fit_is_cut_whole():
    segments = [*text(1), OF_CALL, *text(2, 3), OF_CALL, *text(4)]
    assert fit(segments, 10) == (1, *OF_CALL.ids, 2, 3)


def test_a_row_begins_later_when_its_only_call_would_be_cut_off():
    segments = [*text(*range(20)), OF_CALL, *text(*range(20, 40))]
    assert fit(segments, 12) == (16, 17, 18, 19, *OF_CALL.ids, 20, 21, 22, 23)


def test_a_row_begins_later_when_no_text_would_stand_behind_its_only_call():
    segments = [*text(*range(6)), OF_CALL, *text(6)]
    assert fit(segments, 10) == (1, 2, 3, 4, 5, *OF_CALL.ids, 6)


def test_a_call_longer_than_the_row_gives_way_to_one_that_fits():
    segments = [*text(1), Segment(list(range(80, 99)), 9), *text(2, 3), OF_CALL, *text(4)]
    # 2 stands right behind the call that is left out: it would be put back in front of it.
    assert fit(segments, 7) == (3, *OF_CALL.ids, 4)


def test_each_token_of_a_row_is_of_the_text_of_a_call_or_of_its_result():
    row = training_row([*text(1), OF_CALL, *text(2)], range(2), max_tokens=9)
    assert list(row.kinds) == [TEXT, CALL, CALL, RESULT, RESULT, TEXT]


def test_a_row_with_other_calls_has_the_same_text_and_is_cut_at_the_end():
    tokens = range(1, 4)
    longer = Segment([*OF_CALL.ids, 74], 2)
    other = [*text(1, 2), longer, *text(3), longer, *text(4)]
    assert ids(other, tokens, 20) == (2, *longer.ids, 3, *longer.ids, 4)
    assert ids(other, tokens, 10) == (2, *longer.ids, 3)
    assert ids(text(1, 2, 3, 4), tokens, 10) == (2, 3, 4)


# Text tokens are below 100; call n is made of 100 n + 0, 1, 2 …, so that a part of one shows.
@st.composite
def segment_lists(draw):
    segments: list[Segment] = []
    for place, length in enumerate(draw(st.lists(st.integers(0, 6), max_size=25))):
        if length > 1:
            ids = [100 * (place + 1) + each for each in range(length)]
            segments.append(Segment(ids, draw(st.integers(1, length - 1))))
        # At most one call per position: a token of the text stands behind each.
        segments.append(Segment([place], None))
    return segments


@given(segment_lists(), st.integers(1, 40))
def test_a_row_is_a_run_of_whole_segments_and_holds_a_call_where_one_fits(segments, max_tokens):
    row = fit(segments, max_tokens)
    calls = [segment for segment in segments if segment.request_length is not None]
    fits = any(len(call.ids) < max_tokens for call in calls)
    if row is None:
        assert calls
        assert not fits
        return
    assert len(row) <= max_tokens
    runs = [
        tuple(token for segment in segments[start:end] for token in segment.ids)
        for start in range(len(segments) + 1)
        for end in range(start, len(segments) + 1)
    ]
    assert row in runs or not segments
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


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 8), st.integers(1, 100))
def test_processes_share_rows_evenly_and_within_the_budget(lengths, processes, budget):
    plans = [micro_batches(lengths, process, processes, budget) for process in range(processes)]
    shares = [[row for batch in plan for row in batch] for plan in plans]
    assert sorted(row for share in shares for row in share) == list(range(len(lengths)))
    tokens = [sum(lengths[row] for row in share) for share in shares]
    assert max(tokens) - min(tokens) <= max(lengths, default=0)
    for batch in (batch for plan in plans for batch in plan if len(batch) > 1):
        assert max(lengths[row] for row in batch) * len(batch) <= budget
    if processes == 1:
        assert plans == [plan_batches(lengths, token_budget=budget)]
