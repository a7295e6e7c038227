"""Greedy decoding in which the model calls tools (paper §4.1, "Decoding"; spec §6).

    prompt | text … [ Calculator(6 * 7) -> | 42 ] | text …
             sampled  trigger, sampled       forced  sampled, from the same keys and values

All prompts of one `complete` are decoded together. Does not know any tool: the caller runs the
calls. Trigger and call syntax are in `triggers`, keys and values in `row_cache`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from toolformer.calls import call_open_id, cut_result
from toolformer.errors import SequenceTooLongError
from toolformer.language_model import LanguageModel
from toolformer.row_cache import RowCache
from toolformer.triggers import (
    BLOCKED_TOOL,
    END_OF_TEXT,
    NO_RESULT,
    TOO_LONG,
    next_emission,
    read_open_call,
)
from tools.errors import CallSyntaxError
from tools.protocol import ToolCall
from tools.syntax import CALL_CLOSE

if TYPE_CHECKING:
    import torch

# Tokens of a call besides the model's and the result's: ` [`, one more than `max_call_tokens`
# before the call is given up, the space before the result where it is a token of its own, `]`.
_CALL_MARGIN = 4
# A character has at most four bytes, so it is spread over at most four tokens.
_MOST_TOKENS_PER_CHARACTER = 4
_REPLACEMENT_CHARACTER = "�"

RunCalls = Callable[[Sequence[tuple[int, ToolCall]]], Sequence[str | None]]


@dataclass(frozen=True, slots=True)
class DecodingParameters:
    """How to decode; where the paper is silent the spec decides (§6, `[D]`).

    Attributes:
        max_new_tokens: most tokens outside calls. A call does not use them up, so that answers
            with and without a call have the same room.
        call_top_k: k of the trigger; 1 is plain greedy decoding, 0 disables calls.
        max_calls: most calls with a result per text; 0 disables calls.
        max_call_tokens: a call with more tokens than this before `->` is undone.
        max_result_tokens: results are cut to this many tokens.
        tools: tools that may be called; none disables calls.
        blocked_tools: tools of the model that may not be called here, whether or not they are
            among `tools`.
    """

    max_new_tokens: int
    call_top_k: int
    max_calls: int
    max_call_tokens: int
    max_result_tokens: int
    tools: tuple[str, ...] = ()
    blocked_tools: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_new_tokens", "max_call_tokens", "max_result_tokens"):
            _check_at_least(name, getattr(self, name), 1)
        for name in ("call_top_k", "max_calls"):
            _check_at_least(name, getattr(self, name), 0)

    @property
    def is_disabled(self) -> bool:
        """Whether the probability of the opening token is 0 throughout.

        Only of that token: a vocabulary may have others that begin with it, such as ` [[`.
        """
        return not self.tools or not self.call_top_k or not self.max_calls

    @property
    def enabled_tools(self) -> tuple[str, ...]:
        """The tools that are not blocked."""
        return tuple(name for name in self.tools if name not in self.blocked_tools)


@dataclass(frozen=True, slots=True)
class DecodedCall:
    """A call that got a result.

    Attributes:
        tool: name of the tool.
        arguments: as the tool's parser normalised them.
        result: as inserted, cut to the limit.
        character_offset: where the call stands in `Completion.text_without_calls`.
        text: the whole call as decoded, ` [Name(…) -> result]`.
    """

    tool: str
    arguments: str
    result: str
    character_offset: int
    text: str


class UndoneCall(NamedTuple):
    """A call that was taken back: its text from ` [` on, and why."""

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One token in the order of decoding.

    Attributes:
        token: its id.
        text: its text; the replacement character for part of a character.
        kind: `sampled` by the model, `forced` (result and `]`), `trigger` (the opening token), or
            `undone` (part of a call that was taken back). Losses and counts are over `sampled`.
        call_rank: rank of the opening token among all tokens there, 1 the likeliest; None inside
            calls, where the trigger is inactive.
    """

    token: int
    text: str
    kind: Literal["sampled", "forced", "trigger", "undone"]
    call_rank: int | None


@dataclass(frozen=True, slots=True)
class Completion:
    """What was decoded behind one prompt.

    Attributes:
        prompt: the prompt.
        text: the output with its calls; without the token that ended it and without the stop text.
        text_without_calls: the same without calls; benchmarks score this.
        calls: calls with a result, in order. `insert_calls` of their offsets and texts into
            `text_without_calls` gives `text`.
        undone_calls: calls that were taken back.
        stopped_by: `end_of_text`, `length` (`max_new_tokens`) or `stop_text`.
        trace: every token, undone ones and the one that ended the text included.
    """

    prompt: str
    text: str
    text_without_calls: str
    calls: tuple[DecodedCall, ...]
    undone_calls: tuple[UndoneCall, ...]
    stopped_by: Literal["end_of_text", "length", "stop_text"]
    trace: tuple[TraceStep, ...]


def complete(
    model: LanguageModel,
    prompts: Sequence[str],
    *,
    parameters: DecodingParameters,
    run_calls: RunCalls,
    parse_arguments: Callable[[str, str], str] | None = None,
    stop_texts: tuple[str, ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """Continue prompts greedily, with tool calls; all prompts are one batch.

    The start token stands in front of each prompt, as it does in scoring and finetuning.

    A call is undone, and no other opened in that text, when what follows ` [` is no call of an
    enabled tool, grows too long, or gets no result. The text then goes on as if the opening token
    had been banned there. No call is opened inside a character of several tokens.

    Args:
        model: the model.
        prompts: texts to continue.
        parameters: how to decode.
        run_calls: gets pairs of index into `prompts` and call, all that are pending in a step, and
            returns for each a result free of call markers (`tools.syntax.clean_result`), or None.
        parse_arguments: tool name and arguments to normalised arguments; a CallSyntaxError of it
            undoes the call.
        stop_texts: the output ends before the first of these that appears outside calls.
        progress: told texts done and texts in all.

    Returns:
        One completion per prompt, in order.

    Raises:
        SequenceTooLongError: a prompt leaves no room for its continuation; see
            `longest_prompt_tokens`.
    """
    decoder = _Decoder(model, parameters, run_calls, parse_arguments, stop_texts)
    return decoder.run(prompts, progress or (lambda _done, _total: None))


def longest_prompt_tokens(model: LanguageModel, parameters: DecodingParameters) -> int:
    """Most tokens that a prompt may have, without the start token, for `complete` to take it."""
    room = model.context_length - 1 - parameters.max_new_tokens
    if not parameters.is_disabled:
        of_a_call = parameters.max_call_tokens + parameters.max_result_tokens + _CALL_MARGIN
        room -= parameters.max_calls * of_a_call
    return room


def end_of_text_ids(model: LanguageModel) -> frozenset[int]:
    """Tokens after which nothing follows: the model's end-of-text tokens and its start token."""
    ids = {model.bos_id}
    for source in (
        getattr(model.model, "generation_config", None),
        getattr(model.model, "config", None),
    ):
        value = getattr(source, "eos_token_id", None)
        ids.update([value] if isinstance(value, int) else value or [])
    return frozenset(ids)


@dataclass(slots=True)
class _OpenCall:
    """A call that is being written, and what is needed to take it back."""

    logits: "torch.Tensor"  # before the opening token
    length: int  # tokens of the row before it
    trace_start: int
    tokens: list[int] = field(default_factory=list)  # after it
    request: ToolCall | None = None


@dataclass(slots=True)
class _Row:
    """One text while it is decoded."""

    index: int
    prompt: str
    pending: list[int]  # chosen, but not fed yet
    logits: Any = None  # behind everything fed, shape (vocabulary,)
    # Tokens outside calls, cut where the calls stand: one more than there are calls.
    segments: list[list[int]] = field(default_factory=lambda: [[]])
    calls: list[tuple[ToolCall, str, str]] = field(default_factory=list)  # with result and text
    undone: list[UndoneCall] = field(default_factory=list)
    trace: list[TraceStep] = field(default_factory=list)
    open_call: _OpenCall | None = None
    is_banned: bool = False
    stopped_by: Literal["end_of_text", "length", "stop_text"] | None = None


class _Decoder:
    def __init__(
        self,
        model: LanguageModel,
        parameters: DecodingParameters,
        run_calls: RunCalls,
        parse_arguments: Callable[[str, str], str] | None,
        stop_texts: tuple[str, ...],
    ):
        self._model = model
        self._tokenizer = model.tokenizer
        self._parameters = parameters
        self._run_calls = run_calls
        self._parse_arguments = parse_arguments
        self._stop_texts = stop_texts
        self._open_id = call_open_id(model.tokenizer)
        self._end_ids = end_of_text_ids(model)
        self._enabled = parameters.enabled_tools
        enabled_starts = {self._first_token(name) for name in self._enabled}
        blocked_starts = {self._first_token(name) for name in parameters.blocked_tools}
        self._masked_starts = sorted(blocked_starts - enabled_starts)

    def run(self, prompts: Sequence[str], progress: Callable[[int, int], None]) -> list[Completion]:
        rows = [
            _Row(index, prompt, [self._model.bos_id, *self._tokenizer.encode(prompt)])
            for index, prompt in enumerate(prompts)
        ]
        self._check_lengths(rows)
        # Rows of the cache are those of `active`, in that order.
        active = rows
        cache = RowCache(self._model, len(rows))
        while active:
            logits = cache.feed([row.pending for row in active])
            for place, row in enumerate(active):
                row.logits = logits[place]
                row.pending = []
                self._advance(row, place, cache)
            self._answer_calls(active, cache)
            left = [place for place, row in enumerate(active) if row.stopped_by is None]
            if len(left) < len(active):
                progress(len(rows) - len(left), len(rows))
                active = [active[place] for place in left]
                if active:
                    cache.keep(left)
        return [self._completion(row) for row in rows]

    def _advance(self, row: _Row, place: int, cache: RowCache) -> None:
        """Choose tokens until there is one to feed, or the text has ended."""
        while not row.pending and row.stopped_by is None:
            if row.open_call is None:
                self._choose_outside(row, place, cache)
            else:
                self._choose_inside(row, row.open_call, place, cache)

    def _choose_outside(self, row: _Row, place: int, cache: RowCache) -> None:
        parameters = self._parameters
        ranked = row.logits.topk(max(parameters.call_top_k, 2)).indices.tolist()
        if self._open_id in ranked:
            rank = ranked.index(self._open_id) + 1
        else:
            rank = int((row.logits > row.logits[self._open_id]).sum()) + 1
        token = next_emission(
            ranked,
            open_token=self._open_id,
            call_top_k=parameters.call_top_k,
            calls_so_far=len(row.calls),
            max_calls=parameters.max_calls,
            is_disabled=parameters.is_disabled or row.is_banned or self._is_inside_character(row),
        )
        if token == self._open_id:
            row.open_call = _OpenCall(row.logits, cache.length(place), len(row.trace))
            self._record(row, token, "trigger", rank)
            if self._enabled:
                row.pending = [token]
            else:
                self._undo(row, place, cache, BLOCKED_TOOL)
            return
        self._record(row, token, "sampled", rank)
        if token in self._end_ids:
            row.stopped_by = "end_of_text"
            return
        row.segments[-1].append(token)
        if self._stop_offset(row) is not None:
            row.stopped_by = "stop_text"
        elif sum(map(len, row.segments)) >= parameters.max_new_tokens:
            row.stopped_by = "length"
        else:
            row.pending = [token]

    def _choose_inside(self, row: _Row, call: _OpenCall, place: int, cache: RowCache) -> None:
        logits = row.logits
        if not call.tokens and self._masked_starts:
            logits = logits.clone()
            logits[self._masked_starts] = float("-inf")
        token = int(logits.argmax())
        self._record(row, token, "sampled", None)
        call.tokens.append(token)
        if token in self._end_ids:
            self._undo(row, place, cache, END_OF_TEXT)
            return
        try:
            call.request = read_open_call(
                self._tokenizer.decode(call.tokens),
                enabled_tools=self._enabled,
                blocked_tools=self._parameters.blocked_tools,
                parse_arguments=self._parse_arguments,
            )
        except CallSyntaxError as error:
            self._undo(row, place, cache, error.reason)
            return
        if call.request is None and len(call.tokens) > self._parameters.max_call_tokens:
            self._undo(row, place, cache, TOO_LONG)
            return
        row.pending = [token]

    def _answer_calls(self, active: Sequence[_Row], cache: RowCache) -> None:
        """Run the calls that are complete, together, and put their results behind the arrow."""
        waiting = [
            (place, row, row.open_call, row.open_call.request)
            for place, row in enumerate(active)
            if row.open_call is not None and row.open_call.request is not None
        ]
        if not waiting:
            return
        results = self._run_calls([(row.index, request) for _, row, _, request in waiting])
        for (place, row, call, request), result in zip(waiting, results, strict=True):
            if result:
                limit = self._parameters.max_result_tokens
                result = cut_result(self._tokenizer, result, max_tokens=limit)
            if not result:
                self._undo(row, place, cache, NO_RESULT)
                self._advance(row, place, cache)
                continue
            forced = self._tokenizer.encode_pieces([f" {result}", CALL_CLOSE])
            for token in forced:
                self._record(row, token, "forced", None)
            row.pending = [*row.pending, *forced]
            text = self._tokenizer.decode([self._open_id, *call.tokens, *forced])
            row.calls.append((request, result, text))
            row.segments.append([])
            row.open_call = None

    def _undo(self, row: _Row, place: int, cache: RowCache, reason: str) -> None:
        call = row.open_call
        if call is None:
            return
        text = self._tokenizer.decode([self._open_id, *call.tokens])
        row.undone.append(UndoneCall(text, reason))
        row.trace[call.trace_start :] = [
            replace(step, kind="undone") for step in row.trace[call.trace_start :]
        ]
        cache.forget(place, call.length)
        row.pending = []
        row.logits = call.logits
        row.open_call = None
        row.is_banned = True

    def _record(
        self,
        row: _Row,
        token: int,
        kind: Literal["sampled", "forced", "trigger"],
        call_rank: int | None,
    ) -> None:
        row.trace.append(TraceStep(token, self._tokenizer.token_text(token), kind, call_rank))

    def _first_token(self, tool_name: str) -> int:
        return self._tokenizer.encode(f"{tool_name}(")[0]

    def _is_inside_character(self, row: _Row) -> bool:
        tail = row.segments[-1][-_MOST_TOKENS_PER_CHARACTER:]
        return self._tokenizer.decode(tail).endswith(_REPLACEMENT_CHARACTER)

    def _stop_offset(self, row: _Row) -> int | None:
        """Where the first stop text begins in the last segment."""
        if not self._stop_texts:
            return None
        text = self._tokenizer.decode(row.segments[-1])
        offsets = [text.find(stop_text) for stop_text in self._stop_texts]
        return min((offset for offset in offsets if offset >= 0), default=None)

    def _check_lengths(self, rows: Sequence[_Row]) -> None:
        most = longest_prompt_tokens(self._model, self._parameters)
        for row in rows:
            if len(row.pending) - 1 > most:
                raise SequenceTooLongError(
                    f"Prompt {row.index} has {len(row.pending) - 1} tokens. Expected at most "
                    f"{most}, so that it fits the model's {self._model.context_length} together "
                    "with max_new_tokens and the longest call. Shorten the prompt or lower these."
                )

    def _completion(self, row: _Row) -> Completion:
        segments = [self._tokenizer.decode(segment) for segment in row.segments]
        if row.stopped_by == "stop_text":
            segments[-1] = segments[-1][: self._stop_offset(row)]
        text, calls, offset = segments[0], [], len(segments[0])
        for (request, result, call_text), segment in zip(row.calls, segments[1:], strict=True):
            calls.append(
                DecodedCall(request.tool_name, request.arguments, result, offset, call_text)
            )
            text += call_text + segment
            offset += len(segment)
        return Completion(
            prompt=row.prompt,
            text=text,
            text_without_calls="".join(segments),
            calls=tuple(calls),
            undone_calls=tuple(row.undone),
            stopped_by=row.stopped_by or "length",
            trace=tuple(row.trace),
        )


def _check_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} is {value}; expected at least {least}.")
