"""A text that is decoded for somebody who waits for it: what was asked, and the pieces it comes in.

    sampled    Six times seven is [ Calculator(6 * 7) -> 42 ] 42
    pieces    |Six| times| seven| is|[Calculator(6 * 7) -> 42]| 42|

A call comes in one piece once it has its result: until then it may be taken back.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from toolformer.decoding.completions import (
    Completion,
    DecodedCall,
    DecodingParameters,
    TraceStep,
    UndoneCall,
)
from toolformer.decoding.decoding_row import DecodingRow
from tools.protocol import ToolCall

_REPLACEMENT_CHARACTER = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, slots=True)
class LiveRequest:
    """A text to continue.

    Attributes:
        prompt: the text.
        parameters: how to decode.
        run_call: the result of a call, free of call markers, or None; called in a thread of its own
            and returns within the tool's deadline.
        parse_arguments: see `toolformer.decoding.decoder.complete`.
        stop_texts: the output ends before the first of these that appears outside calls.
        top_log_probabilities: so many of the likeliest tokens are recorded at each step.
    """

    prompt: str
    parameters: DecodingParameters
    run_call: Callable[[ToolCall], str | None]
    parse_arguments: Callable[[str, str], str]
    stop_texts: tuple[str, ...] = ()
    top_log_probabilities: int = 0


@dataclass(frozen=True, slots=True)
class TimedCall:
    """A call that got a result, and how long its tool took, in seconds."""

    call: DecodedCall
    seconds: float


@dataclass(frozen=True, slots=True)
class LivePiece:
    """What was decoded since the last piece.

    Attributes:
        text: with calls, as the model wrote them. It ends within no character, and has no part of
            a stop text.
        steps: its tokens.
        call: the call that `text` is, where it is one.
        undone: a call that was taken back; `text` is empty then.
    """

    text: str
    steps: tuple[TraceStep, ...]
    call: TimedCall | None = None
    undone: UndoneCall | None = None


@dataclass(frozen=True, slots=True)
class LiveEnd:
    """How a text ended.

    Attributes:
        completion: None where it was canceled or failed.
        calls: those with a result.
        error: why it failed.
    """

    completion: Completion | None
    calls: tuple[TimedCall, ...] = ()
    error: Exception | None = None


class LiveText:
    """A text that was submitted.

    Args:
        request: what was asked.
        row: its place in the batch.
        listener: gets the pieces and then the end.
        wake: tells the batch that the text was canceled.

    Attributes:
        request, row: as given.
        is_canceled: whether nobody waits for it any more.
    """

    def __init__(
        self,
        request: LiveRequest,
        row: DecodingRow,
        listener: Callable[[LivePiece | LiveEnd], None],
        wake: Callable[[], None],
    ):
        self.request, self.row = request, row
        self.is_canceled = False
        self._listener, self._wake = listener, wake
        self._steps_seen = 0
        self._undone_seen = 0
        # Of the text since the last call: the steps that are held back, and what is sent of it.
        self._held_back: list[TraceStep] = []
        self._sent_characters = 0
        self._seconds: list[float] = []
        self._calls: list[TimedCall] = []

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, without the start token."""
        return self.row.prompt_tokens

    def cancel(self) -> None:
        """Give its place free within a step; its end has no completion."""
        self.is_canceled = True
        self._wake()

    def answered(self, seconds: float) -> None:
        """Note how long the tool took for the result that the row has got."""
        self._seconds.append(seconds)

    def send_pieces(self) -> None:
        """Send what is new, and the end where the text has ended."""
        for piece in self._new_pieces():
            self._listener(piece)
        if self.row.stopped_by is not None:
            self._listener(LiveEnd(self.row.completion, tuple(self._calls)))

    def send_end(self, error: Exception | None = None) -> None:
        """Send the end of a text that was canceled or failed."""
        self._listener(LiveEnd(None, error=error))

    def _new_pieces(self) -> Iterator[LivePiece]:
        steps = list(self.row.settled_steps[self._steps_seen :])
        self._steps_seen += len(steps)
        if self.row.stopped_by == "end_of_text":
            # Not part of the text.
            del steps[-1:]
        while steps:
            if steps[0].kind == "undone":
                undone = _taken(steps, "undone")
                yield LivePiece("", undone, undone=self.row.undone_calls[self._undone_seen])
                self._undone_seen += 1
            elif steps[0].kind == "trigger":
                yield from self._plain_piece(is_last=True)
                yield self._call_piece(
                    (*_taken(steps, "trigger"), *_taken(steps, "sampled"), *_taken(steps, "forced"))
                )
            else:
                self._held_back += _taken(steps, "sampled")
        yield from self._plain_piece(is_last=self.row.stopped_by is not None)

    def _call_piece(self, steps: tuple[TraceStep, ...]) -> LivePiece:
        number = len(self._calls)
        call = self.row.completion.calls[number]
        self._calls.append(TimedCall(call, self._seconds[number]))
        self._sent_characters = 0
        return LivePiece(call.text, steps, call=self._calls[-1])

    def _plain_piece(self, *, is_last: bool) -> Iterator[LivePiece]:
        """The text since the last piece; up to where more of it may belong to a stop text."""
        text = self.row.segment(len(self._calls))
        if not is_last:
            text = text[: len(text) - _uncertain(text, self.request.stop_texts)]
        new = text[self._sent_characters :]
        self._sent_characters += len(new)
        if new:
            steps, self._held_back = self._held_back, []
            yield LivePiece(new, tuple(steps))


def _taken(steps: list[TraceStep], kind: str) -> tuple[TraceStep, ...]:
    """Take the first steps out, as far as they are of one kind."""
    count = next((at for at, step in enumerate(steps) if step.kind != kind), len(steps))
    taken = tuple(steps[:count])
    del steps[:count]
    return taken


def _uncertain(text: str, stop_texts: tuple[str, ...]) -> int:
    """How many of the last characters may become others, or the beginning of a stop text.

    Example:
        >>> _uncertain("so Q", ("Q:",)), _uncertain("so", ("Q:",))
        (1, 0)
    """
    unfinished = len(text) - len(text.rstrip(_REPLACEMENT_CHARACTER))
    begun = (
        length
        for stop_text in stop_texts
        for length in range(min(len(stop_text) - 1, len(text)), 0, -1)
        if text.endswith(stop_text[:length])
    )
    return max(unfinished, *begun, 0)
