"""A text that is decoded for somebody who waits for it: what was asked, and the pieces it comes in.

    sampled    Six times seven is [ Calculator(6 * 7) -> 42 ] 42
    pieces    |Six| times| seven| is|[Calculator(6 * 7) -> 42]| 42|

A call comes in one piece once it has its result: until then it may be taken back.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from toolformer.decoding.completions import Completion, DecodedCall, TraceStep, UndoneCall
from toolformer.decoding.decoding_row import DecodingRow, RowSettings
from toolformer.forward.tokenization import REPLACEMENT_CHARACTER
from tools.protocol import ToolCall


@dataclass(frozen=True, slots=True)
class LiveRequest:
    """A text to continue.

    Attributes:
        prompt_ids: tokens of the prompt without a start token; by default those of its text.
        run_call: the result of a call, free of call markers, or None; called in a thread of its own
            and returns within the tool's deadline.
    """

    prompt: str
    settings: RowSettings
    run_call: Callable[[ToolCall], str | None]
    prompt_ids: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class LivePiece:
    """What was decoded since the last piece.

    Attributes:
        text: with calls, as the model wrote them. It ends within no character, and has no part of
            a stop text.
        call: the call with a result that `text` is, where it is one.
        seconds: how long its tool took.
        undone: a call that was taken back; `text` is empty then.
    """

    text: str
    steps: tuple[TraceStep, ...]
    call: DecodedCall | None = None
    seconds: float = 0.0
    undone: UndoneCall | None = None


@dataclass(frozen=True, slots=True)
class LiveEnd:
    """How a text ended.

    Attributes:
        completion: None where it was canceled or failed.
    """

    completion: Completion | None
    error: Exception | None = None


class LiveText:
    """A text that was submitted.

    Args:
        row: its place in the batch.
        send: gets the pieces and then the end; must not raise.
        wake: tells the batch that the text was canceled.

    Attributes:
        is_canceled: whether nobody waits for it any more.
        seconds: how long the tools took, for each call with a result.
    """

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
        # Of the text since the last call: the steps that are held back, and what is sent of it.
        self._held_back: list[TraceStep] = []
        self._characters_sent = 0

    def cancel(self) -> None:
        """Give its place free within a step; its end has no completion."""
        self.is_canceled = True
        self._wake()

    def send_new(self) -> None:
        """Send what is new, and the end where the text has ended."""
        for piece in self._new_pieces():
            self.send(piece)
        if self.row.stopped_by is not None:
            self.send(LiveEnd(self.row.completion))

    def _new_pieces(self) -> Iterator[LivePiece]:
        steps = list(self.row.settled_steps[self._steps_seen :])
        self._steps_seen += len(steps)
        if self.row.stopped_by == "end_of_text":
            # Not part of the text.
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
        """The text since the last piece; up to where more of it may belong to a stop text."""
        text = self.row.segment(self._calls_sent)
        if not is_last:
            text = text[: len(text) - uncertain_characters(text, self.request.settings.stop_texts)]
        new = text[self._characters_sent :]
        self._characters_sent += len(new)
        # Without text where its tokens are of a stop text alone.
        if new or (is_last and self._held_back):
            steps, self._held_back = self._held_back, []
            yield LivePiece(new, tuple(steps))


def _take(steps: list[TraceStep], kind: str) -> tuple[TraceStep, ...]:
    """Take the first steps out, as far as they are of one kind."""
    count = next((at for at, step in enumerate(steps) if step.kind != kind), len(steps))
    taken = tuple(steps[:count])
    del steps[:count]
    return taken


def uncertain_characters(text: str, stop_texts: tuple[str, ...]) -> int:
    """How many of the last characters may become others, or the beginning of a stop text.

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
