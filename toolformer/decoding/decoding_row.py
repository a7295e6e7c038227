"""Holds the state of one text during decoding: tokens, calls, and the call being written."""

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


class Alternative(NamedTuple):
    """Start of a call that decoding could have written: its steps and log-probability in nats."""

    log_probability: float
    steps: tuple[TraceStep, ...]

    @property
    def tokens(self) -> list[int]:
        return [step.token for step in self.steps[1:]]


@dataclass(slots=True)
class OpenCall:
    """A call being written, and what is needed to undo it.

    Attributes:
        before: next-token distribution at the opening token.
        length: number of tokens before the opening token.
        is_certain: whether the call has opened; until then it is speculative.
        alternatives: starts of other calls, from all attempts: one per token of the arguments, with
            the second-best token in its stead. After a call without a result, the most likely start
            is continued greedily. Not in the paper.
    """

    open_id: int
    before: NextTokens
    length: int
    trace_start: int
    probability: float
    is_certain: bool
    written: IncrementalDecoder
    alternatives: list[Alternative] = field(default_factory=list)
    attempts: int = 1
    request: ToolCall | None = None


@dataclass(frozen=True, slots=True)
class RowSettings:
    """Settings for decoding one text; see also `toolformer.decoding.decoder.complete`.

    Calls are decoded greedily, and so is the text outside them at temperature 0. `top_tokens` is
    the number of most likely tokens recorded per step. `uniform` returns numbers in [0, 1).
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
    """One text of a batch; `prompt_ids` include the start token.

    Attributes:
        pending: tokens that were chosen but not fed.
        is_banned: whether no further call may open, because one was undone.
        skips_opening: whether no call opens at the next token, because no tool is likely enough.
        is_forced: whether a call opens at the next token, whatever its probability.
        stop_offset: start of the first stop text, in the text since the last call.
        cache: KV cache while the text waits for the result of a call.
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
        self.skips_opening = False
        self.is_forced = False
        self.undone_calls: list[UndoneCall] = []
        self.stop_offset: int | None = None
        self.stopped_by: StopReason | None = None
        self.cache: Contexts | None = None
        self._prompt = prompt
        self._tokenizer = tokenizer
        # Tokens outside calls, split at the calls: one segment more than there are calls.
        self._segments: list[IncrementalDecoder] = []
        self._begin_segment()
        self._calls: list[tuple[ToolCall, str, str]] = []  # (call, result, text)
        self._trace: list[TraceStep] = []

    @property
    def awaited(self) -> ToolCall | None:
        return self.open_call and self.open_call.request

    @property
    def calls_so_far(self) -> int:
        return len(self._calls)

    @property
    def min_call_probability(self) -> dict[str, float]:
        """Minimum probability, by tool, for a call to open at the next token."""
        # Text after a call is running text, even if the call directly follows the prompt.
        step = self.tokens_outside_calls + self.calls_so_far
        decoding = self.decoding
        return decoding.min_call_probability.at(step, decoding.enabled_tools)

    @property
    def tokens_outside_calls(self) -> int:
        return sum(len(segment.tokens) for segment in self._segments)

    @property
    def settled_steps(self) -> Sequence[TraceStep]:
        """The trace without the call being written, which may still be undone."""
        return self._trace[: self.open_call.trace_start] if self.open_call else self._trace

    def segment(self, index: int) -> str:
        """Return the text after `index` calls, up to the next call or as far as it is decoded."""
        is_last = index == len(self._segments) - 1
        return self._segments[index].text[: self.stop_offset if is_last else None]

    def _begin_segment(self) -> None:
        self._segments.append(
            IncrementalDecoder(self._tokenizer, is_continuation=not self._is_beginning)
        )
        # Number of characters of the segment that were already searched for stop texts.
        self._searched = 0

    @property
    def _is_beginning(self) -> bool:
        """Whether the prompt is empty and no token outside calls precedes the next one."""
        return not self.prompt_tokens and not self.tokens_outside_calls

    @property
    def is_inside_character(self) -> bool:
        tail = self._segments[-1].tokens[-MAX_TOKENS_PER_CHARACTER:]
        return self._tokenizer.decode_continuation(tail).endswith(REPLACEMENT_CHARACTER)

    def add_known(self, steps: Sequence[TraceStep]) -> None:
        """Append known tokens outside calls to the prompt, before anything is decoded."""
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
        """Add a token to the text outside calls, and set `stop_offset` if the text ends there."""
        segment, stop_texts = self._segments[-1], self.settings.stop_texts
        segment.add(token)
        self.skips_opening = False
        if stop_texts:
            text, start = segment.text, max(self._searched - max(map(len, stop_texts)), 0)
            offsets = [text.find(stop_text, start) for stop_text in stop_texts]
            self.stop_offset = min((offset for offset in offsets if offset >= 0), default=None)
            self._searched = segment.settled_characters
        if self.stop_offset is None and self.settings.find_end is not None:
            self.stop_offset = self.settings.find_end(segment.text)

    def open(self, open_id: int, before: NextTokens, *, length: int, chance: CallChance) -> None:
        is_certain = self.is_forced or not any(self.min_call_probability.values())
        self.is_forced = False
        probability = chance.probability or 0.0
        written = IncrementalDecoder(self._tokenizer, is_continuation=True)
        self.open_call = OpenCall(
            open_id, before, length, len(self._trace), probability, is_certain, written
        )
        self.record(open_id, "trigger", before, chance)

    def add_alternative(self, call: OpenCall, token: int, expected: NextTokens) -> None:
        """Record the call so far, continued with `token` instead of the token written next."""
        steps = (*self._trace[call.trace_start :], self._step(token, "sampled", expected))
        log_probability = sum(step.log_probability or 0.0 for step in steps[1:])
        call.alternatives.append(Alternative(log_probability, steps))

    def begin_alternative(self, call: OpenCall, alternative: Alternative, reason: str) -> None:
        self._record_undone(call, reason)
        written = IncrementalDecoder(self._tokenizer, is_continuation=True)
        for token in alternative.tokens:
            written.add(token)
        self.open_call = replace(
            call,
            trace_start=len(self._trace),
            written=written,
            alternatives=[each for each in call.alternatives if each is not alternative],
            attempts=call.attempts + 1,
            request=None,
        )
        self._trace += alternative.steps

    def close(self, call: OpenCall, request: ToolCall, result: str, forced: list[int]) -> None:
        for token in forced:
            self.record(token, "forced")
        self.pending = [*self.pending, *forced]
        text = self._tokenizer.decode_continuation([call.open_id, *call.written.tokens, *forced])
        self._calls.append((request, result, text))
        self._begin_segment()
        self.open_call = None

    def undo(self, call: OpenCall, reason: str) -> None:
        """Remove the open call and ban further ones; a speculative call leaves no trace or ban."""
        self.pending = []
        self.open_call = None
        if not call.is_certain:
            del self._trace[call.trace_start :]
            self.skips_opening = True
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
        """The text decoded so far, without the call being written."""
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
