import queue
import random
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from tests.fakes import ScriptedModel, decoding_with, taught_model
from tests.toolformer.decoding.conftest import without_negligible_ranks
from toolformer.decoding.completions import DecodedCall
from toolformer.decoding.decoder import complete
from toolformer.decoding.decoding_row import DecodingRow, RowSettings
from toolformer.decoding.live_batch import BatchClosedError, LiveBatch, QueueFullError
from toolformer.decoding.live_text import LiveEnd, LivePiece, LiveRequest, LiveText
from toolformer.errors import OutOfMemoryError, SequenceTooLongError

pytestmark = pytest.mark.slow

PROMPTS = (
    "6 times 7 is",
    "Half of 9 is",
    "And yesterday",
    "See the note",
    "6 times",
    "Half of the note is a day",
)


def result_of(call) -> str | None:
    return None if "7" in call.arguments else f"{call.arguments} = 1"


def request(prompt: str, *, run_call=result_of, stop_texts=(), top=0, **changes) -> LiveRequest:
    limits = {"max_new_tokens": 30, "max_call_tokens": 32, "max_result_tokens": 32, **changes}
    settings = RowSettings(decoding_with(**limits), lambda _tool, text: text, stop_texts, top)
    return LiveRequest(prompt, settings, run_call)


class Listener:
    """What a text sent."""

    def __init__(self):
        self.pieces: list[LivePiece] = []
        self._end: queue.Queue[LiveEnd] = queue.Queue()

    def __call__(self, sent: LivePiece | LiveEnd) -> None:
        if isinstance(sent, LiveEnd):
            self._end.put(sent)
        else:
            self.pieces.append(sent)

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def calls(self) -> tuple[DecodedCall, ...]:
        return tuple(piece.call for piece in self.pieces if piece.call)

    def end(self) -> LiveEnd:
        return self._end.get(timeout=20)


@pytest.fixture
def started() -> Iterator:
    batches = []

    def start(model, *, max_active: int | None = 8, max_waiting=100) -> LiveBatch:
        batch = LiveBatch(model, max_active=max_active, max_waiting=max_waiting)
        batch.start()
        batches.append(batch)
        return batch

    yield start
    for batch in batches:
        batch.close()


class Hanging:
    """A tool that answers when it is let."""

    def __init__(self):
        self.called, self.released = threading.Event(), threading.Event()

    def __call__(self, call) -> str:
        self.called.set()
        assert self.released.wait(20)
        return "42"


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    tool = Hanging()
    yield tool
    tool.released.set()


def wait_until(condition) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "it never came to be so"
        time.sleep(0.002)


def test_64_texts_that_arrive_at_random_times_are_each_as_if_alone(started, pupil):
    draw = random.Random(3)
    choices = [
        (
            draw.choice(PROMPTS),
            {
                "max_new_tokens": draw.randint(1, 30),
                "call_top_k": draw.choice([0, 1, 10, 20]),
                "max_calls": draw.choice([1, 3]),
                "call_attempts": draw.choice([1, 3]),
                "tools": draw.choice([(), ("QA",), ("Calculator", "QA")]),
            },
        )
        for _ in range(64)
    ]
    batch = started(pupil, max_active=9)

    def slow_result(call) -> str | None:
        time.sleep(draw.random() / 50)
        return result_of(call)

    listeners = [Listener() for _ in choices]
    for listener, (prompt, changes) in zip(listeners, choices, strict=True):
        time.sleep(draw.random() / 100)
        batch.submit(request(prompt, run_call=slow_result, **changes), listener)
    ends = [listener.end() for listener in listeners]
    alone = [
        complete(
            pupil,
            [prompt],
            decoding=request(prompt, **changes).settings.decoding,
            run_calls=lambda requests: [result_of(call) for _, call in requests],
            parse_arguments=lambda _tool, text: text,
        )[0]
        for prompt, changes in choices
    ]
    completions = [end.completion for end in ends]
    assert without_negligible_ranks(completions) == without_negligible_ranks(alone)
    assert [listener.text for listener in listeners] == [each.text for each in alone]
    for listener, completion in zip(listeners, alone, strict=True):
        assert listener.calls == completion.calls
        undone = [piece.undone for piece in listener.pieces if piece.undone]
        assert tuple(undone) == completion.undone_calls
    assert sum(len(each.calls) for each in alone) > 5
    assert max(len(each.undone_calls) for each in alone) == 3
    assert (batch.active, batch.waiting) == (0, 0)


def test_a_tool_that_hangs_holds_up_its_own_text_alone(started, pupil, hanging):
    batch = started(pupil, max_active=2)
    hung, others = Listener(), [Listener() for _ in range(5)]
    batch.submit(request(PROMPTS[0], run_call=hanging, call_top_k=1), hung)
    for listener in others:
        batch.submit(request(PROMPTS[1], call_top_k=1), listener)
    assert all(listener.end().completion and listener.calls for listener in others)
    assert (hung.text, batch.active) == ("", 1)
    hanging.released.set()
    end = hung.end()
    assert end.completion is not None
    assert end.completion.text == " [Calculator(6 * 7) -> 42] 42, I say."
    assert [call.result for call in hung.calls] == ["42"]


def test_a_tool_that_fails_has_its_call_taken_back(started, pupil, caplog):
    batch = started(pupil)

    def failing(call) -> str:
        raise RuntimeError("no such number")

    listener = Listener()
    batch.submit(request(PROMPTS[0], run_call=failing, call_top_k=1), listener)
    end = listener.end()
    assert end.completion is not None
    assert listener.calls == ()
    assert [piece.undone.reason for piece in listener.pieces if piece.undone] == ["no_result"]
    assert listener.text == end.completion.text
    assert "no such number" in caplog.text


def test_a_canceled_text_frees_its_place_also_while_its_tool_runs(started, pupil, hanging):
    batch = started(pupil, max_active=1)
    hung, queued, following = Listener(), Listener(), Listener()
    text = batch.submit(request(PROMPTS[0], run_call=hanging, call_top_k=1), hung)
    waiting = batch.submit(request(PROMPTS[1]), queued)
    batch.submit(request(PROMPTS[3]), following)
    assert hanging.called.wait(20)
    assert (batch.active, batch.waiting) == (1, 2)
    waiting.cancel()
    assert queued.end() == LiveEnd(None)
    text.cancel()
    assert hung.end() == LiveEnd(None)
    assert following.end().completion is not None
    hanging.released.set()
    wait_until(lambda: (batch.active, batch.waiting) == (0, 0))


@pytest.mark.parametrize(("max_active", "max_waiting"), [(1, 1), (2, 0)])
def test_places_in_the_queue_are_limited_and_a_prompt_has_to_fit(
    started, pupil, hanging, max_active, max_waiting
):
    batch = started(pupil, max_active=max_active, max_waiting=max_waiting)
    for _ in range(2):
        batch.submit(request(PROMPTS[0], run_call=hanging, call_top_k=1), Listener())
        wait_until(lambda: batch.active >= 1)
    with pytest.raises(QueueFullError, match=f"at most {max_waiting}"):
        batch.submit(request(PROMPTS[0]), Listener())
    with pytest.raises(SequenceTooLongError):
        batch.submit(request("6 times " * 1000), Listener())


def test_what_runs_is_canceled_at_the_end_and_nothing_enters(started, pupil, hanging):
    batch = started(pupil)
    listener = Listener()
    batch.submit(request(PROMPTS[0], run_call=hanging, call_top_k=1), listener)
    began = time.monotonic()
    batch.close()
    assert time.monotonic() - began < 5
    assert listener.end() == LiveEnd(None)
    with pytest.raises(BatchClosedError, match="is shutting down"):
        batch.submit(request(PROMPTS[0]), Listener())


def test_a_defect_ends_the_texts_and_not_the_batch(started, pupil, caplog, monkeypatch):
    batch = started(pupil)

    def broken(*_args, **_named):
        raise MemoryError("no room for the keys")

    listener, following = Listener(), Listener()
    with monkeypatch.context() as patched:
        patched.setattr(pupil, "hidden_states", broken)
        batch.submit(request(PROMPTS[0]), listener)
        assert isinstance(listener.end().error, MemoryError)
    batch.submit(request(PROMPTS[0]), following)
    assert following.end().completion is not None
    assert "could not be decoded" in caplog.text


def test_a_prompt_that_memory_does_not_hold_ends_alone(started, pupil, monkeypatch):
    hidden_states = pupil.hidden_states

    def hidden_states_within(input_ids, **behind):
        if input_ids.numel() > 60:
            raise MemoryError
        return hidden_states(input_ids, **behind)

    monkeypatch.setattr(pupil, "hidden_states", hidden_states_within)
    batch = started(pupil)
    prompts = [PROMPTS[0], PROMPTS[0] * 6, *PROMPTS[1:]]
    listeners = [Listener() for _ in prompts]
    for prompt, listener in zip(prompts, listeners, strict=True):
        batch.submit(request(prompt), listener)
    failed = [listener.end().error for listener in listeners]
    assert [type(error) for error in failed] == [
        OutOfMemoryError if prompt == PROMPTS[0] * 6 else type(None) for prompt in prompts
    ]


def test_the_model_says_how_many_texts_of_their_lengths_are_decoded_together(
    started, pupil, fed, monkeypatch
):
    # Three of the short ones, or a long one by itself.
    monkeypatch.setattr(pupil, "rows_at_once", lambda *, row_tokens: max(1, 180 // row_tokens))
    batch = started(pupil, max_active=None)
    short, long = (request("So", tools=(), max_new_tokens=count) for count in (50, 150))
    listeners = [Listener() for _ in range(8)]
    for listener, each in zip(listeners, [short] * 4 + [long] + [short] * 3, strict=True):
        batch.submit(each, listener)
    assert all(listener.end().completion for listener in listeners)
    assert max(map(len, fed)) == 3
    assert batch.max_active == 180


@pytest.mark.parametrize(
    ("rest", "stop_texts", "expected"),
    [
        (" a.\nb.\n\nc", ("\n\n",), " a.\nb."),
        (" a. Qu and Q: b", ("Q:", "R:"), " a. Qu and "),
        (" a Q", ("Q:",), " a Q"),
        # The first that appears, and not the first that is named.
        (" so. a Q", ("Q", "a Q"), " so. "),
        (" a.", (), " a."),
    ],
)
def test_pieces_hold_back_what_may_become_a_stop_text(started, rest, stop_texts, expected):
    batch = started(ScriptedModel([f"So{rest}"]))
    listener = Listener()
    batch.submit(request("So", stop_texts=stop_texts, max_new_tokens=60), listener)
    end = listener.end()
    assert end.completion is not None
    assert (listener.text, end.completion.text) == (expected, expected)
    assert len(listener.pieces) > 1
    assert not any(stop_text in piece.text for piece in listener.pieces for stop_text in stop_texts)


def test_pieces_end_within_no_character(started):
    lesson = "So é, 日本 and 🎉."
    listener = Listener()
    started(taught_model([lesson])).submit(request("So", max_new_tokens=60), listener)
    assert listener.end().completion is not None
    assert "So" + listener.text == lesson
    assert [piece.text for piece in listener.pieces][:3] == [" ", "é", ","]


def test_steps_have_the_log_probabilities_of_the_model(started, pupil):
    listener = Listener()
    started(pupil).submit(
        request(PROMPTS[0], call_top_k=1, top=3, run_call=lambda _: "42"), listener
    )
    completion = listener.end().completion
    assert completion is not None
    steps = [step for piece in listener.pieces for step in piece.steps]
    # All but the end of the text.
    assert steps == list(completion.trace[:-1])
    ids = [pupil.bos_id, *pupil.tokenizer.encode(PROMPTS[0])]
    for step in steps:
        with torch.inference_mode():
            logits = pupil.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
        expected = logits.float().log_softmax(dim=-1)
        if step.kind == "forced":
            assert (step.log_probability, step.top) == (None, ())
        else:
            assert step.log_probability == pytest.approx(float(expected[step.token]), abs=1e-4)
            likeliest = expected.topk(3)
            texts = [pupil.tokenizer.token_text(int(token)) for token in likeliest.indices]
            assert [token for token, *_ in step.top] == likeliest.indices.tolist()
            assert [text for _, text, _ in step.top] == texts
            assert [each for *_, each in step.top] == pytest.approx(
                likeliest.values.tolist(), abs=1e-4
            )
        ids.append(step.token)


@pytest.mark.parametrize("stop_texts", [(), ("Q:", "\n\n\n")])
def test_no_token_of_a_text_is_decoded_again_and_again(pupil, monkeypatch, stop_texts):
    tokenizer, listener = pupil.tokenizer, Listener()
    settings = RowSettings(decoding_with(max_new_tokens=1000), stop_texts=stop_texts)
    row = DecodingRow(0, "So", [pupil.bos_id, *tokenizer.encode("So")], tokenizer, settings)
    text = LiveText(LiveRequest("So", settings, result_of), row, listener, lambda: None)
    ids = tokenizer.encode("é, 日本 and 🎉. " * 25)
    decoded = []
    decode = tokenizer.decode_continuation
    monkeypatch.setattr(
        tokenizer, "decode_continuation", lambda ids: decoded.append(len(ids)) or decode(ids)
    )
    for token in ids:
        row.record(token, "sampled")
        row.add_outside(token)
        text.send_new()
    assert len(ids) > 500
    assert sum(decoded) < 8 * len(ids)
    assert listener.text == row.completion.text == decode(ids)
