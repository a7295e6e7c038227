"""Defines a text that is streamed to a client: the request and the pieces of the output.

    sampled    Six times seven is [ Calculator(6 * 7) -> 42 ] 42
    pieces    |Six| times| seven| is|[Calculator(6 * 7) -> 42]| 42|

A call is one piece. It is sent once it has a result, since it may be undone until then.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from toolformer.decoding.completions import Completion, DecodedCall, TraceStep, UndoneCall
from toolformer.decoding.decoding_row import DecodingRow, RowSettings
from toolformer.forward.tokenization import REPLACEMENT_CHARACTER
from tools.protocol import ToolCall


@dataclass(frozen=True, slots=True)
class LiveRequest:
    """A text to continue; `run_call` runs in its own thread and keeps the deadline of the tool."""

    prompt: str
    settings: RowSettings
    run_call: Callable[[ToolCall], str | None]
    prompt_ids: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class LivePiece:
    """The part of a text decoded since the last piece: text, a call, or an undone call.

    `text` has whole characters and no part of a stop text, and is empty for an undone call.
    `seconds` is the duration of the call's tool.
    """

    text: str
    steps: tuple[TraceStep, ...]
    call: DecodedCall | None = None
    seconds: float = 0.0
    undone: UndoneCall | None = None


@dataclass(frozen=True, slots=True)
class LiveEnd:
    """The end of a text; both fields are None if it was canceled."""

    completion: Completion | None
    error: Exception | None = None


class LiveText:
    """A submitted text; `seconds` has the duration of the tool for each call with a result."""

    def __init__(
        self,
        request: LiveRequest,
        row: DecodingRow,
        send: Callable[[LivePiece | LiveEnd], None],
        wake: Callable[[], None],
    ):
        self.request, self.row, self.send = request, row, send
        self.is_canceled = False
        self.seconds: list[float] = []
        self._wake = wake
        self._steps_seen = 0
        self._calls_sent = 0
        self._undone_sent = 0
        # Steps not sent yet, and number of characters sent, both since the last call.
        self._held_back: list[TraceStep] = []
        self._characters_sent = 0

    def cancel(self) -> None:
        self.is_canceled = True
        self._wake()

    def send_new(self) -> None:
        for piece in self._new_pieces():
            self.send(piece)
        if self.row.stopped_by is not None:
            self.send(LiveEnd(self.row.completion))

    def _new_pieces(self) -> Iterator[LivePiece]:
        steps = list(self.row.settled_steps[self._steps_seen :])
        self._steps_seen += len(steps)
        if self.row.stopped_by == "end_of_text":
            # The last step is the end token, which is not part of the text.
            del steps[-1:]
        while steps:
            if steps[0].kind == "undone":
                undone = self.row.undone_calls[self._undone_sent]
                self._undone_sent += 1
                yield LivePiece("", tuple(steps[: undone.tokens]), undone=undone)
                del steps[: undone.tokens]
            elif steps[0].kind == "trigger":
                yield from self._plain_piece(is_last=True)
                call_steps = [
                    step for kind in ("trigger", "sampled", "forced") for step in _take(steps, kind)
                ]
                call = self.row.completion.calls[self._calls_sent]
                seconds = self.seconds[self._calls_sent]
                self._calls_sent += 1
                self._characters_sent = 0
                yield LivePiece(call.text, tuple(call_steps), call, seconds)
            else:
                self._held_back += _take(steps, "sampled")
        yield from self._plain_piece(is_last=self.row.stopped_by is not None)

    def _plain_piece(self, *, is_last: bool) -> Iterator[LivePiece]:
        """Yield the text since the last piece, up to a point where a stop text may begin."""
        text = self.row.segment(self._calls_sent)
        if not is_last:
            text = text[: len(text) - uncertain_characters(text, self.request.settings.stop_texts)]
        new = text[self._characters_sent :]
        self._characters_sent += len(new)
        # The text is empty if all tokens since the last piece belong to a stop text.
        if new or (is_last and self._held_back):
            steps, self._held_back = self._held_back, []
            yield LivePiece(new, tuple(steps))


def _take(steps: list[TraceStep], kind: str) -> tuple[TraceStep, ...]:
    count = next((at for at, step in enumerate(steps) if step.kind != kind), len(steps))
    taken = tuple(steps[:count])
    del steps[:count]
    return taken


def uncertain_characters(text: str, stop_texts: tuple[str, ...]) -> int:
    """Return how many of the last characters are unfinished or may begin a stop text.

    Example:
        >>> uncertain_characters("so Q", ("Q:",)), uncertain_characters("so", ("Q:",))
        (1, 0)
    """
    unfinished = len(text) - len(text.rstrip(REPLACEMENT_CHARACTER))
    begun = (
        length
        for stop_text in stop_texts
        for length in range(min(len(stop_text) - 1, len(text)), 0, -1)
        if text.endswith(stop_text[:length])
    )
    return max(unfinished, *begun, 0)
