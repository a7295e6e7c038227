"""Decoding with a served model writes what the same model writes on this machine."""

import dataclasses
import queue
import time
from functools import partial

import pytest

from tests.conftest import happens
from tests.fakes import decoding_with, taught_model
from tests.toolformer.served.fake_server import served_by
from toolformer.calls import call_open_id
from toolformer.decoding.completions import MinCallProbability
from toolformer.decoding.decoder import complete
from toolformer.decoding.decoding_row import RowSettings
from toolformer.decoding.live_batch import LiveBatch
from toolformer.decoding.live_text import LiveEnd, LiveRequest
from toolformer.errors import ServedModelError
from toolformer.forward.model import REPORTED_RANKS

LESSONS = ("6 times 7 is [QA(6 * 7) -> 42] 42, I say.", "9 and 3 is [QA(9 + 3) -> 12] 12, I say.")
PROMPTS = ("6 times 7 is", "The mill is")


@pytest.fixture(scope="module")
def taught():
    return taught_model((*LESSONS, "The mill is old, I say."))


@pytest.fixture(scope="module")
def asked(taught):
    """The fake server of that model, and it as it is asked there."""
    with served_by(taught) as pair:
        yield pair


limited = partial(
    decoding_with, max_new_tokens=8, max_call_tokens=12, max_result_tokens=8, tools=("QA",)
)


def completed(model, prompts=PROMPTS, *, run_calls=None, **changes):
    return complete(
        model,
        prompts,
        decoding=limited(**changes),
        run_calls=run_calls or (lambda calls: ["42"] * len(calls)),
    )


def assert_equal(theirs, ours):
    """Equal but for last digits, and for ranks that a server does not tell."""
    for their, our in zip(theirs, ours, strict=True):
        assert len(their.trace) == len(our.trace)
        for told, step in zip(their.trace, our.trace, strict=True):
            assert (told.log_probability is None) == (step.log_probability is None)
            if step.log_probability is not None:
                assert told.log_probability == pytest.approx(step.log_probability, abs=1e-5)
            if told.call_rank is None:
                assert step.call_rank is None or step.call_rank > REPORTED_RANKS
            else:
                assert told.call_probability == pytest.approx(step.call_probability, abs=1e-5)
        blank = [
            dataclasses.replace(
                each,
                trace=tuple(
                    dataclasses.replace(step, call_rank=step.call_rank and told.call_rank)
                    for step, told in zip(each.trace, their.trace, strict=True)
                ),
            )
            for each in (their, our)
        ]
        assert blank[0] == blank[1]


def test_completions_with_calls_equal_those_of_the_same_model_here(taught, asked):
    ours = completed(taught)
    assert {len(each.calls) for each in ours} == {0, 1}
    assert_equal(completed(asked[1]), ours)


@pytest.mark.parametrize(
    "changes",
    [{"tools": ()}, {"blocked_tools": ("QA",)}, {"max_call_tokens": 2}, {"call_top_k": 30}],
    ids=["disabled", "blocked", "too long", "large k"],
)
def test_completions_without_a_result_equal_those_of_the_same_model_here(taught, asked, changes):
    assert_equal(completed(asked[1], **changes), completed(taught, **changes))


@pytest.mark.parametrize("attempts", [1, 3])
def test_calls_without_a_result_are_taken_back_as_here(taught, asked, attempts):
    def refuse(calls):
        return [None] * len(calls)

    ours = completed(taught, run_calls=refuse, call_attempts=attempts)
    assert max(len(each.undone_calls) for each in ours) == attempts
    assert_equal(completed(asked[1], run_calls=refuse, call_attempts=attempts), ours)


def test_completions_without_calls_are_used_only_as_far_as_ranks_were_told(taught):
    with served_by(taught) as (fake, served):
        disabled = completed(served, tools=())
        assert any(step.call_rank is None for each in disabled for step in each.trace)
        fake.bodies.clear()
        parameters = {"call_top_k": 30, "min_call_probability": MinCallProbability.everywhere(0.9)}
        assert_equal(completed(served, **parameters), completed(taught, **parameters))


def test_other_tokens_than_the_likeliest_are_asked_for(local, pair):
    row, open_id = [[0, 40, 50]], call_open_id(local.tokenizer)
    (theirs,) = pair[1].contexts(1).next_tokens(row, open_id=open_id, count=2)
    (ours,) = local.contexts(1).next_tokens(row, open_id=open_id, count=30)
    unlikely = next(token for token in range(100, 200) if token not in theirs.ranked)
    assert theirs.log_probability(unlikely) == pytest.approx(
        ours.log_probability(unlikely), abs=1e-5
    )
    assert theirs.most_likely_except(ours.ranked[:3]) == ours.ranked[3]
    with pytest.raises(ServedModelError, match="Block fewer tools"):
        theirs.most_likely_except(ours.ranked)
    with pytest.raises(ServedModelError, match=r"temperature is 0\.5"):
        theirs.sampled(0.1, 0.5)


BUSY_SERVERS = pytest.mark.parametrize(
    "failing", [{}, dict.fromkeys(range(9999), 503)], ids=["slow", "busy"]
)
WAITING = LiveRequest("The mill", RowSettings(limited(tools=()), str.strip), lambda _: None)


@BUSY_SERVERS
def test_a_canceled_text_ends_though_its_server_does_not_answer(taught, failing):
    ends = queue.SimpleQueue()
    with served_by(taught) as (fake, served):
        batch = LiveBatch(served, max_active=1, max_waiting=4)
        batch.start()
        fake.failing, fake.seconds = {**failing}, 0 if failing else 60
        texts = [batch.submit(WAITING, ends.put) for _ in range(2)]
        assert happens(lambda: batch.active)
        for text in texts[::-1]:
            text.cancel()
            assert ends.get(timeout=5) == LiveEnd(None)
        assert happens(lambda: not batch.active, seconds=5)
        # Another one is answered, by connections of its own.
        fake.failing, fake.seconds = {}, 0
        batch.submit(WAITING, lambda sent: isinstance(sent, LiveEnd) and ends.put(sent))
        assert ends.get(timeout=20).completion is not None
        batch.close()
    assert ends.empty()


def test_a_canceled_text_does_not_wait_for_the_others_of_its_batch(taught):
    ends = queue.SimpleQueue(), queue.SimpleQueue()
    with served_by(taught, seconds=0) as (fake, served):
        batch = LiveBatch(served, max_active=2, max_waiting=0)
        batch.start()
        fake.seconds = 6
        first, _ = [batch.submit(WAITING, each.put) for each in ends]
        assert happens(lambda: batch.active == 2)
        first.cancel()
        # A token may have been answered before.
        while not isinstance(end := ends[0].get(timeout=4), LiveEnd):
            pass
        assert end == LiveEnd(None)
        fake.seconds = 0
        while not isinstance(sent := ends[1].get(timeout=20), LiveEnd):
            pass
        batch.close()
    assert sent.completion is not None
    assert ends[0].empty()


@BUSY_SERVERS
def test_texts_that_wait_for_a_server_end_with_the_batch(taught, failing):
    ends = queue.SimpleQueue()
    with served_by(taught) as (fake, served):
        batch = LiveBatch(served, max_active=4, max_waiting=4)
        batch.start()
        fake.failing, fake.seconds = {**failing}, 0 if failing else 60
        batch.submit(WAITING, ends.put)
        assert happens(lambda: batch.active)
        began = time.monotonic()
        batch.close()
        assert time.monotonic() - began < 20
    assert ends.get_nowait() == LiveEnd(None)
