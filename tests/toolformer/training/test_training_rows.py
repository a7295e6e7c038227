import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolformer.augmentation import Segment
from toolformer.forward.batching import plan_batches
from toolformer.training.trainer import micro_batches
from toolformer.training.training_rows import batch_rows, kept_tokens, training_row

OF_CALL = Segment([70, 71, 72, 73], 2)


def text(*tokens: int) -> list[Segment]:
    return [Segment([token], None) for token in tokens]


def ids(segments: list[Segment], tokens: range, max_tokens: int) -> tuple[int, ...]:
    return tuple(training_row(segments, tokens, max_tokens=max_tokens).ids)


def fit(segments: list[Segment], max_tokens: int) -> tuple[int, ...] | None:
    tokens = kept_tokens(segments, max_tokens=max_tokens)
    return tokens and ids(segments, tokens, max_tokens)


@pytest.mark.parametrize(
    ("segments", "max_tokens", "row"),
    [
        # A call that does not fit is cut whole.
        ([*text(1), OF_CALL, *text(2, 3), OF_CALL, *text(4)], 10, (1, *OF_CALL.ids, 2, 3)),
        # The row begins later when its only call would be cut off.
        (
            [*text(*range(20)), OF_CALL, *text(*range(20, 40))],
            12,
            (16, 17, 18, 19, *OF_CALL.ids, 20, 21, 22, 23),
        ),
        # And when no text would stand behind it.
        ([*text(*range(6)), OF_CALL, *text(6)], 10, (1, 2, 3, 4, 5, *OF_CALL.ids, 6)),
        # A call longer than the row gives way to one that fits. 2 stands right behind the call that
        # is left out: it would be put back in front of it.
        (
            [*text(1), Segment(list(range(80, 99)), 9), *text(2, 3), OF_CALL, *text(4)],
            7,
            (3, *OF_CALL.ids, 4),
        ),
    ],
)
def test_a_row_holds_a_call_and_text_behind_it(segments, max_tokens, row):
    assert fit(segments, max_tokens) == row


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


def test_a_batch_goes_on_into_the_next_epoch_and_each_has_every_row_in_another_order():
    stream = [row for step in (1, 2, 3) for row in batch_rows(9, batch_size=12, step=step, seed=0)]
    epochs = [stream[start : start + 9] for start in range(0, 36, 9)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(9))] * 4
    orders = {*map(tuple, epochs), tuple(batch_rows(9, batch_size=9, step=1, seed=1))}
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
