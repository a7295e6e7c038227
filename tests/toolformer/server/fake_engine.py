"""A stand-in for `toolformer.decoding.live_batch.LiveBatch`: no model, a thread for each text.

What it writes follows from the prompt: `fail` fails, `slow` goes on until it is cancelled or has
`max_tokens`, `undo` takes a call back, `silent` ends at once, `moody` every other time, `mumbled`
has a call among blanks; any other prompt, or message of a chat, is continued with `ANSWER`, whose
call is made where the Calculator may be called.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace

from tests.conftest import happens
from toolformer.decoding.completions import Completion, DecodedCall, TraceStep, UndoneCall
from toolformer.decoding.live_batch import BatchClosedError, QueueFullError
from toolformer.decoding.live_text import LiveEnd, LivePiece, LiveRequest
from toolformer.errors import SequenceTooLongError, ServedModelError
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
    row: SimpleNamespace
    number: int
    ending: Future[None] = field(default_factory=Future)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        self.cancelled.set()
        if self.ending.cancel():
            self.listener(LiveEnd(None))

    def words(self, asked: str) -> Sequence[str]:
        every_other = WORDS if self.number % 2 else ()
        few = {"silent": (), "mumbled": (" ", "\n", " "), "moody": every_other}
        return few.get(asked, WORDS)

    def pieces(self):
        """Pieces, then how the text ended."""
        request, settings = self.request, self.request.settings
        asked = request.prompt
        if asked == "fail":
            raise ValueError("the batch has a bug")
        if asked == "large":
            raise MemoryError
        if asked == "remote":
            raise ServedModelError("The server at http://a does not answer. Start it.")
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
        except (ValueError, MemoryError, ServedModelError) as error:
            end = LiveEnd(None, error=error)
        self.listener(end)


class FakeBatch:
    def __init__(
        self, model: object = None, *, max_active: int | None = None, max_waiting: int = 4
    ):
        self.max_active = max_active or 4
        self._most = self.max_active + max_waiting
        self.requests: list[LiveRequest] = []
        self._texts: list[FakeText] = []
        self._pool = ThreadPoolExecutor(self.max_active)
        self._is_closed = False

    @property
    def active(self) -> int:
        return min(self._unfinished, self.max_active)

    @property
    def waiting(self) -> int:
        return self._unfinished - self.active

    @property
    def _unfinished(self) -> int:
        return sum(not text.ending.done() for text in self._texts)

    def start(self) -> None:
        pass

    def submit(self, request: LiveRequest, listener: Listener) -> FakeText:
        if len(request.prompt) > LONGEST_PROMPT:
            raise SequenceTooLongError(f"The prompt has {len(request.prompt)} tokens.")
        if self._is_closed:
            raise BatchClosedError("closed")
        if self._unfinished == self._most:
            raise QueueFullError("full")
        row = SimpleNamespace(prompt_tokens=len(request.prompt.split()))
        self.requests.append(request)
        text = FakeText(request, listener, row, len(self.requests))
        text.ending = self._pool.submit(text.run)
        self._texts.append(text)
        return text

    def close(self) -> None:
        self._is_closed = True
        for text in self._texts:
            text.cancel()
        self._pool.shutdown()

    def is_idle_soon(self, seconds: float = 30) -> bool:
        return happens(lambda: not self._unfinished, seconds=seconds)
