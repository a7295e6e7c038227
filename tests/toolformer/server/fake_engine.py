"""A stand-in for `toolformer.decoding.live_batch.LiveBatch`: no model, a thread for each text.

What it writes follows from the prompt: `fail` fails, `slow` goes on until it is cancelled or has
`max_tokens`, `undo` takes a call back, `silent` ends at once, `moody` every other time, `mumbled`
has a call among blanks; any other prompt, or message of a chat, is continued with `ANSWER`, whose
call is made where the Calculator may be called.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace

from toolformer.decoding.completions import Completion, DecodedCall, TraceStep, UndoneCall
from toolformer.decoding.live_batch import BatchClosedError, QueueFullError
from toolformer.decoding.live_text import LiveEnd, LivePiece, LiveRequest
from toolformer.errors import SequenceTooLongError
from tools.protocol import ToolCall

LONGEST_PROMPT = 20_000
CALL = " [Calculator(6 * 7) -> 42]"
WORDS = (" It", " is", " 42.")
ANSWER = " It is" + CALL + " 42."
STEP_SECONDS = 0.01

Listener = Callable[[LivePiece | LiveEnd], None]


def step(text: str, kind="sampled", probability: float | None = 0.125) -> TraceStep:
    is_chosen = kind != "forced"
    return TraceStep(
        token=ord(text[-1]),
        text=text,
        kind=kind,
        call_rank=None if probability is None else 3,
        call_probability=probability,
        log_probability=-0.5 if is_chosen else None,
        top=((ord(text[-1]), text, -0.5), (7, " other", -float("inf"))) if is_chosen else (),
    )


@dataclass
class FakeText:
    request: LiveRequest
    listener: Listener
    batch: "FakeBatch"
    row: SimpleNamespace
    cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        self.cancelled.set()
        self.batch.leave_queue(self)

    def words(self, asked: str) -> Sequence[str]:
        every_other = WORDS[: 3 * (self.batch.requests.index(self.request) % 2)]
        few = {"silent": (), "mumbled": (" ", "\n", " "), "moody": every_other}
        return few.get(asked, WORDS)

    def pieces(self):
        """Pieces, then how the text ended."""
        request, settings = self.request, self.request.settings
        asked = request.prompt.removeprefix("<|endoftext|>")
        if asked == "fail":
            raise ValueError("the batch has a bug")
        if asked == "large":
            raise MemoryError
        if asked == "slow":
            for _ in range(settings.decoding.settings.max_new_tokens):
                time.sleep(4 * STEP_SECONDS)
                yield LivePiece(" on", (step(" on"),))
            return "length"
        if asked == "undo":
            undone = UndoneCall(" [Calculator(1 / 0) ->", "no_result", 1)
            yield LivePiece("", (step(undone.text, "undone"),), undone=undone)
        for place, word in enumerate(self.words(asked)):
            if place == 2 and asked != "undo" and "Calculator" in settings.decoding.tools:
                begun = time.perf_counter()
                assert settings.parse_arguments is not None
                arguments = settings.parse_arguments("Calculator", "6 * 7")
                result = request.run_call(ToolCall("Calculator", arguments)) or ""
                call = DecodedCall("Calculator", arguments, result, len(" It is"), CALL)
                steps = (step(" [", "trigger", 0.5), step(CALL[2:], "forced", None))
                yield LivePiece(CALL, steps, call, time.perf_counter() - begun)
            if any(stop in word for stop in settings.stop_texts):
                return "stop_text"
            yield LivePiece(word, (step(word),))
        return "end_of_text"

    def run(self) -> None:
        pieces: list[LivePiece] = []
        generator = self.pieces()
        try:
            while not self.cancelled.is_set():
                pieces.append(next(generator))
                self.listener(pieces[-1])
            end = LiveEnd(None)
        except StopIteration as stopped:
            completion = Completion(
                prompt=self.request.prompt,
                text="".join(piece.text for piece in pieces),
                text_without_calls="".join(piece.text for piece in pieces if not piece.call),
                calls=tuple(piece.call for piece in pieces if piece.call),
                undone_calls=tuple(piece.undone for piece in pieces if piece.undone),
                stopped_by=stopped.value,
                trace=tuple(one for piece in pieces for one in piece.steps),
            )
            end = LiveEnd(completion)
        except (ValueError, MemoryError) as error:
            end = LiveEnd(None, error=error)
        self.batch.ended(self)
        self.listener(end)


class FakeBatch:
    def __init__(self, model: object = None, *, max_active: int = 4, max_waiting: int = 4):
        self.max_active, self.max_waiting = max_active, max_waiting
        self.requests: list[LiveRequest] = []
        self._running: list[FakeText] = []
        self._queue: list[FakeText] = []
        self._change = threading.Condition(threading.RLock())
        self._is_closed = False

    @property
    def active(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def start(self) -> None:
        pass

    def submit(self, request: LiveRequest, listener: Listener) -> FakeText:
        if len(request.prompt) > LONGEST_PROMPT:
            raise SequenceTooLongError(f"The prompt has {len(request.prompt)} tokens.")
        with self._change:
            if self._is_closed:
                raise BatchClosedError("closed")
            if self.active == self.max_active and self.waiting == self.max_waiting:
                raise QueueFullError("full")
            row = SimpleNamespace(prompt_tokens=len(request.prompt.split()))
            text = FakeText(request, listener, self, row)
            self.requests.append(request)
            self._queue.append(text)
            self._fill()
        return text

    def ended(self, text: FakeText) -> None:
        with self._change:
            self._running.remove(text)
            self._fill()

    def leave_queue(self, text: FakeText) -> None:
        with self._change:
            if text not in self._queue:
                return
            self._queue.remove(text)
            self._change.notify_all()
        text.listener(LiveEnd(None))

    def close(self) -> None:
        with self._change:
            self._is_closed = True
            for text in [*self._running, *self._queue]:
                text.cancel()
            self._change.wait_for(self._is_idle, 5)

    def is_idle_soon(self, seconds: float = 30) -> bool:
        with self._change:
            return self._change.wait_for(self._is_idle, seconds)

    def _is_idle(self) -> bool:
        return not self._running and not self._queue

    def _fill(self) -> None:
        while self._queue and self.active < self.max_active:
            text = self._queue.pop(0)
            self._running.append(text)
            threading.Thread(target=text.run, daemon=True).start()
        self._change.notify_all()
