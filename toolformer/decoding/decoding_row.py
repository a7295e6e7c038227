"""One text while it is decoded: its tokens, its calls, and the call that is being written."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from toolformer.decoding.completions import (
    Completion,
    DecodedCall,
    Decoding,
    StopReason,
    TokenKind,
    TraceStep,
    UndoneCall,
)
from toolformer.decoding.triggers import NO_CHANCE, CallChance
from toolformer.forward.model import Contexts, NextTokens
from toolformer.forward.tokenization import (
    MAX_TOKENS_PER_CHARACTER,
    REPLACEMENT_CHARACTER,
    IncrementalDecoder,
    Tokenizer,
)
from tools.protocol import ToolCall


class OtherCall(NamedTuple):
    """How a call may go on in place of the token that was written.

    Attributes:
        log_probability: of the tokens of `steps` behind the opening one, in nats.
        steps: the call up to the other token, as it would stand in the trace.
    """

    log_probability: float
    steps: tuple[TraceStep, ...]

    @property
    def tokens(self) -> list[int]:
        """The tokens behind the opening one."""
        return [step.token for step in self.steps[1:]]


@dataclass(slots=True)
class OpenCall:
    """A call that is being written, and what is needed to take it back.

    Attributes:
        before: what the model expected in place of the opening token.
        length: tokens that the model had seen before it.
        trace_start: where its steps begin in the trace.
        probability: of the opening token and of those after it, while the tool is not certain.
        is_certain: whether it has opened; until then it is read ahead.
        written: the model's tokens after the opening one.
        others: for each token of the arguments the likeliest one in its place, in this attempt and
            those before it. Where a call gets no result, the next is written by the one of them
            up to which a call is likeliest, and greedily from there on. Not in the paper.
        attempts: calls that were written here, this one included.
        request: the call, once the arrow has been written.
    """

    open_id: int
    before: NextTokens
    length: int
    trace_start: int
    probability: float
    is_certain: bool
    written: IncrementalDecoder
    others: list[OtherCall] = field(default_factory=list)
    attempts: int = 1
    request: ToolCall | None = None


@dataclass(frozen=True, slots=True)
class RowSettings:
    """How one text is decoded.

    Attributes:
        parse_arguments, stop_texts: see `toolformer.decoding.decoder.complete`.
        top_tokens: so many of the likeliest tokens are recorded at each step.
        temperature: of the model's own distribution, from which the text outside calls is drawn;
            0 decodes greedily.
        top_p: see `toolformer.forward.model.NextTokens.sampled`.
        uniform: gives the numbers in [0, 1) that a text is drawn with.
        find_end: see `toolformer.decoding.decoder.complete`.
    """

    decoding: Decoding
    parse_arguments: Callable[[str, str], str] | None = None
    stop_texts: tuple[str, ...] = ()
    top_tokens: int = 0
    temperature: float = 0.0
    top_p: float = 1.0
    uniform: Callable[[], float] = random.random
    find_end: Callable[[str], int | None] | None = None


class DecodingRow:
    """One text of a batch.

    Args:
        prompt_ids: the start token and the tokens of the prompt.

    Attributes:
        index: place of its prompt among all prompts.
        prompt_tokens: number of tokens of the prompt without the start token.
        pending: tokens that are chosen, but not fed yet.
        is_banned: whether no further call may be opened, because one was taken back.
        is_passed: whether none opens at the next token, because no tool is likely enough there.
        is_forced: whether a call opens at the next token, whatever its probability.
        stop_offset: where the first stop text begins in the text since the last call.
        stopped_by: why the text has ended; None while it goes on.
        cache: its keys and values while it waits for the result of a call.
    """

    def __init__(
        self,
        index: int,
        prompt: str,
        prompt_ids: Sequence[int],
        tokenizer: Tokenizer,
        settings: RowSettings,
    ):
        self.index = index
        self.settings, self.decoding = settings, settings.decoding
        self.prompt_tokens = len(prompt_ids) - 1
        self.pending = list(prompt_ids)
        self.open_call: OpenCall | None = None
        self.is_banned = False
        self.is_passed = False
        self.is_forced = False
        self.undone_calls: list[UndoneCall] = []
        self.stop_offset: int | None = None
        self.stopped_by: StopReason | None = None
        self.cache: Contexts | None = None
        self._prompt = prompt
        self._tokenizer = tokenizer
        # Tokens outside calls, cut where the calls stand: one more than there are calls.
        self._segments: list[IncrementalDecoder] = []
        self._begin_segment()
        self._calls: list[tuple[ToolCall, str, str]] = []  # with result and text
        self._trace: list[TraceStep] = []

    @property
    def awaited(self) -> ToolCall | None:
        """The call for whose result the text waits."""
        return self.open_call and self.open_call.request

    @property
    def calls_so_far(self) -> int:
        """Calls with a result."""
        return len(self._calls)

    @property
    def min_call_probability(self) -> dict[str, float]:
        """That the call of each tool must have to open as the next token outside calls."""
        # What follows a call is running text, even where the call stands right behind the prompt.
        step = self.tokens_outside_calls + self.calls_so_far
        decoding = self.decoding
        return decoding.min_call_probability.at(step, decoding.enabled_tools)

    @property
    def tokens_outside_calls(self) -> int:
        """Tokens of the output that belong to no call."""
        return sum(len(segment.tokens) for segment in self._segments)

    @property
    def settled_steps(self) -> Sequence[TraceStep]:
        """The trace up to the call that is being written, which may still be taken back."""
        return self._trace[: self.open_call.trace_start] if self.open_call else self._trace

    def segment(self, index: int) -> str:
        """The text behind so many calls and before the next one, as far as it is decoded."""
        is_last = index == len(self._segments) - 1
        return self._segments[index].text[: self.stop_offset if is_last else None]

    def _begin_segment(self) -> None:
        self._segments.append(
            IncrementalDecoder(self._tokenizer, is_continuation=not self._is_beginning)
        )
        # Characters of it in which no stop text is looked for again.
        self._searched = 0

    @property
    def _is_beginning(self) -> bool:
        """Whether no text but calls stands in front of the next token: the prompt is empty."""
        return not self.prompt_tokens and not self.tokens_outside_calls

    @property
    def is_inside_character(self) -> bool:
        """Whether the output ends within a character of several tokens."""
        tail = self._segments[-1].tokens[-MAX_TOKENS_PER_CHARACTER:]
        return self._tokenizer.decode_continuation(tail).endswith(REPLACEMENT_CHARACTER)

    def begin_with(self, steps: Sequence[TraceStep]) -> None:
        """Put tokens outside calls behind the prompt before anything is decoded."""
        self._trace = list(steps)
        for step in steps:
            self._segments[0].add(step.token)
        self.pending += self._segments[0].tokens

    def record(
        self,
        token: int,
        kind: TokenKind,
        expected: NextTokens | None = None,
        chance: CallChance = NO_CHANCE,
    ) -> None:
        """Add a step to the trace; `expected` is what the model expected there."""
        self._trace.append(self._step(token, kind, expected, chance))

    def _step(
        self,
        token: int,
        kind: TokenKind,
        expected: NextTokens | None = None,
        chance: CallChance = NO_CHANCE,
    ) -> TraceStep:
        is_first = self.open_call is None and self._is_beginning

        def text(token: int) -> str:
            if is_first:
                return self._tokenizer.decode([token])
            return self._tokenizer.token_text(token)

        log_probability, top = None, ()
        if expected is not None:
            log_probability = expected.log_probability(token)
            others = expected.ranked[: self.settings.top_tokens]
            top = tuple((other, text(other), expected.log_probability(other)) for other in others)
        return TraceStep(token, text(token), kind, *chance, log_probability, top)

    def add_outside(self, token: int) -> None:
        """Add a token to the text outside calls; `stop_offset` tells whether it ends with it."""
        segment, stop_texts = self._segments[-1], self.settings.stop_texts
        segment.add(token)
        self.is_passed = False
        if stop_texts:
            text, start = segment.text, max(self._searched - max(map(len, stop_texts)), 0)
            offsets = [text.find(stop_text, start) for stop_text in stop_texts]
            self.stop_offset = min((offset for offset in offsets if offset >= 0), default=None)
            self._searched = segment.settled_characters
        if self.stop_offset is None and self.settings.find_end is not None:
            self.stop_offset = self.settings.find_end(segment.text)

    def open(self, open_id: int, before: NextTokens, *, length: int, chance: CallChance) -> None:
        """Begin a call; see `OpenCall`."""
        is_certain = self.is_forced or not any(self.min_call_probability.values())
        self.is_forced = False
        probability = chance.probability or 0.0
        written = IncrementalDecoder(self._tokenizer, is_continuation=True)
        self.open_call = OpenCall(
            open_id, before, length, len(self._trace), probability, is_certain, written
        )
        self.record(open_id, "trigger", before, chance)

    def note_other(self, call: OpenCall, token: int, expected: NextTokens) -> None:
        """Note that another call has this token in place of the one that is written next."""
        steps = (*self._trace[call.trace_start :], self._step(token, "sampled", expected))
        log_probability = sum(step.log_probability or 0.0 for step in steps[1:])
        call.others.append(OtherCall(log_probability, steps))

    def write_other(self, call: OpenCall, other: OtherCall, reason: str) -> None:
        """Take a call back and begin another one in its place."""
        self._record_undone(call, reason)
        written = IncrementalDecoder(self._tokenizer, is_continuation=True)
        for token in other.tokens:
            written.add(token)
        self.open_call = replace(
            call,
            trace_start=len(self._trace),
            written=written,
            others=[each for each in call.others if each is not other],
            attempts=call.attempts + 1,
            request=None,
        )
        self._trace += other.steps

    def close(self, call: OpenCall, request: ToolCall, result: str, forced: list[int]) -> None:
        """End a call with its result, whose tokens and `]` are `forced`."""
        for token in forced:
            self.record(token, "forced")
        self.pending = [*self.pending, *forced]
        text = self._tokenizer.decode_continuation([call.open_id, *call.written.tokens, *forced])
        self._calls.append((request, result, text))
        self._begin_segment()
        self.open_call = None

    def undo(self, call: OpenCall, reason: str) -> None:
        """Take the open call back: the text stands where it stood, and may open no other.

        One that was only read ahead leaves nothing behind, and others may open further on.
        """
        self.pending = []
        self.open_call = None
        if not call.is_certain:
            del self._trace[call.trace_start :]
            self.is_passed = True
            return
        self._record_undone(call, reason)
        self.is_banned = True

    def _record_undone(self, call: OpenCall, reason: str) -> None:
        text = self._tokenizer.decode_continuation([call.open_id, *call.written.tokens])
        undone = [replace(step, kind="undone") for step in self._trace[call.trace_start :]]
        self._trace[call.trace_start :] = undone
        self.undone_calls.append(UndoneCall(text, reason, len(undone)))

    @property
    def completion(self) -> Completion:
        """The text as far as it is decoded, without the call that is being written."""
        segments = [self.segment(index) for index in range(len(self._segments))]
        text, offset, calls = segments[0], len(segments[0]), []
        for (request, result, call_text), segment in zip(self._calls, segments[1:], strict=True):
            calls.append(
                DecodedCall(request.tool_name, request.arguments, result, offset, call_text)
            )
            text += call_text + segment
            offset += len(segment)
        return Completion(
            prompt=self._prompt,
            text=text,
            text_without_calls="".join(segments),
            calls=tuple(calls),
            undone_calls=tuple(self.undone_calls),
            stopped_by=self.stopped_by or "length",
            trace=tuple(self._trace),
        )
