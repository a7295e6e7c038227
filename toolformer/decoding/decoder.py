"""Greedy decoding in which the model calls tools (paper §2 "Inference" and §4.2; spec §6).

    prompt | text … [ Calculator(6 * 7) -> | 42 ] | text …
             sampled  trigger, sampled       forced  sampled, from the same keys and values

The prompts of one `complete` are decoded together, and texts that end make room for others:

    rows    A A A A A A D D D D        a text that got the result of a call waits as a prompt does
            B B B | C C C C C C        where that is cheaper than to let the others wait for it

What all prompts begin with, such as the instruction of a benchmark, is fed once.

Does not know any tool: the caller runs the calls. Trigger and call syntax are in `triggers`, keys
and values in `row_cache`.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from toolformer.calls import call_open_ids, cut_result
from toolformer.decoding.completions import (
    Completion,
    DecodedCall,
    DecodingParameters,
    TraceStep,
    UndoneCall,
)
from toolformer.decoding.decoding_row import DecodingRow, NextTokens, OpenCall, Opening
from toolformer.decoding.triggers import (
    BLOCKED_TOOL,
    END_OF_TEXT,
    NO_RESULT,
    TOO_LONG,
    CallChance,
    first_opening,
    may_open,
    next_emission,
    read_open_call,
)
from toolformer.errors import SequenceTooLongError
from toolformer.forward.geometry import choose_rows
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.row_cache import RowCache
from toolformer.forward.row_losses import common_opening
from tools.errors import CallSyntaxError
from tools.protocol import ToolCall
from tools.syntax import CALL_CLOSE

if TYPE_CHECKING:
    import torch

__all__ = [
    "Completion",
    "DecodedCall",
    "DecodingParameters",
    "RunCalls",
    "TraceStep",
    "UndoneCall",
    "complete",
    "end_of_text_ids",
    "longest_prompt_tokens",
    "next_emission",
]

# Others enter once at most this share of the places is taken; each time, all keys are copied.
_REFILL_BELOW = 0.75
# Tokens of a call besides the opening, the model's and the result's: one more than
# `max_call_tokens` before the call is given up, the space before the result where it is a token of
# its own, `]`.
_CALL_MARGIN = 3

RunCalls = Callable[[Sequence[tuple[int, ToolCall]]], Sequence[str | None]]


def complete(
    model: LanguageModel,
    prompts: Sequence[str],
    *,
    parameters: DecodingParameters,
    run_calls: RunCalls,
    prompt_ids: Sequence[Sequence[int]] | None = None,
    parse_arguments: Callable[[str, str], str] | None = None,
    end_ids: frozenset[int] | None = None,
    stop_texts: tuple[str, ...] = (),
    without_calls: Sequence[Completion] | None = None,
    rows_at_once: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """Continue prompts greedily, with tool calls, many at a time.

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
        prompt_ids: the tokens of each prompt, without the start token, where they are known; by
            default the prompts are encoded.
        parse_arguments: tool name and arguments to normalised arguments; a CallSyntaxError of it
            undoes the call.
        end_ids: tokens after which nothing follows; by default `end_of_text_ids`.
        stop_texts: the output ends before the first of these that appears outside calls.
        without_calls: completions of the same prompts that only differ in that calls were disabled.
            Up to where the first call can open a text is the same, so it is not decoded again.
        rows_at_once: most texts that are decoded at the same time; chosen for the device by
            default. Changes last digits only.
        progress: told texts done and texts in all.

    Returns:
        One completion per prompt, in order.

    Raises:
        SequenceTooLongError: a prompt leaves no room for its continuation; see
            `longest_prompt_tokens`.
    """
    if prompt_ids is None:
        prompt_ids = [model.tokenizer.encode(prompt) for prompt in prompts]
    rows = [
        DecodingRow(index, prompt, [model.bos_id, *ids], model.tokenizer)
        for index, (prompt, ids) in enumerate(zip(prompts, prompt_ids, strict=True))
    ]
    if end_ids is None:
        end_ids = end_of_text_ids(model)
    decoder = _Decoder(model, parameters, run_calls, parse_arguments, end_ids, stop_texts)
    known = _known_without_calls(model, rows, without_calls, parameters)
    left = [row for row in rows if row.index not in known]
    decoder.run(left, rows_at_once=rows_at_once, progress=progress or (lambda _done, _total: None))
    return [known.get(row.index) or row.completion(stop_texts) for row in rows]


def _known_without_calls(
    model: LanguageModel,
    rows: Sequence[DecodingRow],
    without_calls: Sequence[Completion] | None,
    parameters: DecodingParameters,
) -> dict[int, Completion]:
    """Completions in which no call can open; the other rows are told to begin where one can."""
    if without_calls is None:
        return {}
    if parameters.is_disabled:
        return dict(enumerate(without_calls))
    if len(call_open_ids(model.tokenizer)) > 1:
        # The rank of such an opening is known only where it was tried.
        return {}
    known = {}
    for row, completion in zip(rows, without_calls, strict=True):
        opening = first_opening(
            (CallChance(step.call_rank, step.call_probability) for step in completion.trace),
            call_top_k=parameters.call_top_k,
            least_call_probability=parameters.least_call_probability,
        )
        if opening is None:
            known[row.index] = completion
        else:
            row.begin_with(completion.trace[:opening])
    return known


def longest_prompt_tokens(model: LanguageModel, parameters: DecodingParameters) -> int:
    """Most tokens that a prompt may have, without the start token, for `complete` to take it."""
    return model.context_length - 1 - _most_new_tokens(model, parameters)


def _most_new_tokens(model: LanguageModel, parameters: DecodingParameters) -> int:
    if parameters.is_disabled:
        return parameters.max_new_tokens
    opening = len(call_open_ids(model.tokenizer))
    of_a_call = opening + parameters.max_call_tokens + parameters.max_result_tokens + _CALL_MARGIN
    return parameters.max_new_tokens + parameters.max_calls * of_a_call


def end_of_text_ids(model: LanguageModel) -> frozenset[int]:
    """Tokens after which nothing follows: the model's end-of-text tokens and its start token."""
    ids = {model.bos_id}
    for source in (
        getattr(model.model, "generation_config", None),
        getattr(model, "text_config", None),
    ):
        value = getattr(source, "eos_token_id", None)
        ids.update([value] if isinstance(value, int) else value or [])
    return frozenset(ids)


class _Decoder:
    def __init__(
        self,
        model: LanguageModel,
        parameters: DecodingParameters,
        run_calls: RunCalls,
        parse_arguments: Callable[[str, str], str] | None,
        end_ids: frozenset[int],
        stop_texts: tuple[str, ...],
    ):
        self._model = model
        self._tokenizer = model.tokenizer
        self._parameters = parameters
        self._run_calls = run_calls
        self._parse_arguments = parse_arguments
        self._stop_texts = stop_texts
        self._open_ids = call_open_ids(model.tokenizer)
        self._end_ids = end_ids
        self._enabled = parameters.enabled_tools
        enabled_starts = {self._first_token(name) for name in self._enabled}
        blocked_starts = {self._first_token(name) for name in parameters.blocked_tools}
        self._masked_starts = sorted(blocked_starts - enabled_starts)

    def run(
        self,
        rows: Sequence[DecodingRow],
        *,
        rows_at_once: int | None,
        progress: Callable[[int, int], None],
    ) -> None:
        """Decode all rows to their ends."""
        self._check_lengths(rows)
        if not rows:
            return
        longest = max(len(row.pending) for row in rows)
        row_tokens = longest + _most_new_tokens(self._model, self._parameters)
        most = rows_at_once or choose_rows(self._model, row_tokens=row_tokens)
        shared, opening = self._shared_opening(rows)
        waiting = list(rows)
        # Rows of the cache are those of `active`, in that order.
        active: list[DecodingRow] = []
        cache = RowCache(self._model, 0)
        while active or waiting:
            if waiting and len(active) <= most * _REFILL_BELOW:
                # Those of one feed are padded to the longest; the longest of all come first.
                waiting.sort(key=lambda row: len(row.pending), reverse=True)
                room = most - len(active)
                entering, waiting = waiting[:room], waiting[room:]
                for row in entering:
                    row.pending = row.pending[shared:]
                of_entering = opening.copies(len(entering))
                self._step(entering, of_entering)
                cache.join(of_entering)
                active += entering
            else:
                self._step(active, cache)
            leaving = self._leaving(active, cache)
            waiting += leaving
            left = [
                place
                for place, row in enumerate(active)
                if row.stopped_by is None and row not in leaving
            ]
            if len(left) < len(active):
                active = [active[place] for place in left]
                if active:
                    cache.keep(left)
                else:
                    cache = RowCache(self._model, 0)
                progress(len(rows) - len(active) - len(waiting), len(rows))

    def _shared_opening(self, rows: Sequence[DecodingRow]) -> tuple[int, RowCache]:
        """What all prompts begin with, fed once: its length, and its keys and values."""
        shared = common_opening([row.pending[:-1] for row in rows]) if len(rows) > 1 else []
        opening = RowCache(self._model, 1)
        if shared:
            opening.feed([shared])
        return len(shared), opening

    def _step(self, rows: Sequence[DecodingRow], cache: RowCache) -> None:
        """Feed what is pending, and choose the next token of every row."""
        expected = self._next_tokens(cache.feed([row.pending for row in rows]))
        for place, row in enumerate(rows):
            row.pending = []
            self._advance(row, expected[place], place, cache)
        self._answer_calls(rows, cache)

    def _next_tokens(self, logits: "torch.Tensor") -> list[NextTokens]:
        """What is expected behind each row of logits, shape `(rows, vocabulary)`."""
        import torch

        # At least two: the opening may be banned.
        count = min(max(self._parameters.call_top_k, 2), logits.shape[1])
        ranked = logits.topk(count).indices
        of_opening = logits[:, self._open_ids[:1]]
        rank = (logits > of_opening).sum(dim=1, keepdim=True) + 1
        log_probability = of_opening - logits.logsumexp(dim=1, keepdim=True)
        # To the host at once: it waits for the device each time. Doubles hold all of them exactly.
        numbers = torch.cat([ranked, rank, log_probability.double()], dim=1).tolist()
        return [
            NextTokens(row, list(map(int, tokens)), int(rank), log_probability)
            for row, (*tokens, rank, log_probability) in zip(logits, numbers, strict=True)
        ]

    def _leaving(self, active: Sequence[DecodingRow], cache: RowCache) -> list[DecodingRow]:
        """The rows that are fed anew with others that enter, because of the result they got.

        All rows are padded to the one with the longest, so where it costs the others more than
        feeding the whole text again would, this text leaves them.
        """
        leaving = [
            row
            for place, row in enumerate(active)
            if len(row.pending) > 1 and len(row.pending) * (len(active) - 1) > cache.length(place)
        ]
        for row in leaving:
            row.pending = row.ids
        return leaving

    def _advance(self, row: DecodingRow, expected: NextTokens, place: int, cache: RowCache) -> None:
        """Choose the next token; twice or three times where a call cannot even begin."""
        while not row.pending and row.stopped_by is None:
            call, reason = row.open_call, None
            if row.opening is not None:
                expected = self._go_on_opening(row, row.opening, expected, place, cache)
            elif call is None:
                self._choose_outside(row, expected, cache.length(place))
            else:
                reason = self._choose_inside(row, call, expected)
            if call is None and row.open_call and not self._enabled:
                reason = BLOCKED_TOOL
            if reason is not None:
                expected = self._undo(row, place, cache, reason)

    def _choose_outside(self, row: DecodingRow, expected: NextTokens, length: int) -> None:
        parameters = self._parameters
        is_disabled = parameters.is_disabled or row.is_banned or row.is_inside_character
        if len(self._open_ids) > 1:
            is_disabled |= row.is_refused or row.calls_so_far >= parameters.max_calls
            row.is_refused = False
            self._choose_outside_split(row, expected, length, is_disabled=is_disabled)
            return
        (open_id,) = self._open_ids
        rank, probability = expected.call_rank, math.exp(expected.call_log_probability)
        token = next_emission(
            expected.ranked,
            open_token=open_id,
            call_top_k=parameters.call_top_k,
            calls_so_far=row.calls_so_far,
            max_calls=parameters.max_calls,
            is_disabled=is_disabled or probability < parameters.least_call_probability,
        )
        if token == open_id:
            row.open([token], expected, length=length, call_rank=rank, call_probability=probability)
            # Not fed where no tool is left to call: the bracket is undone at once.
            row.pending = [token] if self._enabled else []
            return
        self._emit(row, token, rank, probability)

    def _choose_outside_split(
        self, row: DecodingRow, expected: NextTokens, length: int, *, is_disabled: bool
    ) -> None:
        """The same where ` [` is several tokens: its probability is the product of theirs.

        It cannot be larger than that of the first token, so only where this one is likely enough
        are the others looked at, by feeding the opening on trial. Outside calls its last token is
        banned behind the others: there ` [` as a whole was refused.
        """
        first, last = self._open_ids[0], self._open_ids[-1]
        log_probability = expected.call_log_probability
        if not is_disabled and may_open(
            expected.call_rank,
            math.exp(log_probability),
            call_top_k=self._parameters.call_top_k,
            least_call_probability=self._parameters.least_call_probability,
        ):
            row.opening = Opening(expected, length, fed=1, log_probability=log_probability)
            row.pending = [first]
            return
        banned = last if row.ends_with(self._open_ids[:-1]) else None
        self._emit(row, next(token for token in expected.ranked if token != banned))

    def _go_on_opening(
        self,
        row: DecodingRow,
        opening: Opening,
        expected: NextTokens,
        place: int,
        cache: RowCache,
    ) -> NextTokens:
        """Feed the next token of an opening on trial, open the call, or take the trial back.

        Returns:
            What is expected where the text goes on.
        """
        token = self._open_ids[opening.fed]
        opening.log_probability += float(expected.logits.log_softmax(dim=-1)[token])
        opening.fed += 1
        if opening.fed < len(self._open_ids):
            row.pending = [token]
            return expected
        row.opening = None
        others = opening.before.logits.log_softmax(dim=-1).clone()
        others[self._open_ids[0]] = float("-inf")
        rank = int((others > opening.log_probability).sum()) + 1
        probability = math.exp(opening.log_probability)
        if may_open(
            rank,
            probability,
            call_top_k=self._parameters.call_top_k,
            least_call_probability=self._parameters.least_call_probability,
        ):
            row.open(
                self._open_ids,
                opening.before,
                length=opening.length,
                call_rank=rank,
                call_probability=probability,
            )
            row.pending = [token] if self._enabled else []
            return expected
        cache.forget(place, opening.length)
        row.is_refused = True
        return opening.before

    def _emit(
        self,
        row: DecodingRow,
        token: int,
        rank: int | None = None,
        probability: float | None = None,
    ) -> None:
        """Add a token outside calls, and see whether the text ends with it."""
        row.record(token, "sampled", rank, probability)
        if token in self._end_ids:
            row.stopped_by = "end_of_text"
            return
        row.add_outside(token)
        if row.stop_offset(self._stop_texts) is not None:
            row.stopped_by = "stop_text"
        elif row.tokens_outside_calls >= self._parameters.max_new_tokens:
            row.stopped_by = "length"
        else:
            row.pending = [token]

    def _choose_inside(self, row: DecodingRow, call: OpenCall, expected: NextTokens) -> str | None:
        """Choose a token of a call; the reason where the call cannot go on."""
        token = expected.ranked[0]
        if not call.tokens and token in self._masked_starts:
            logits = expected.logits.clone()
            logits[self._masked_starts] = float("-inf")
            token = int(logits.argmax())
        row.record(token, "sampled")
        if token in self._end_ids:
            return END_OF_TEXT
        call.tokens.append(token)
        try:
            call.request = read_open_call(
                self._tokenizer.decode(call.tokens),
                enabled_tools=self._enabled,
                blocked_tools=self._parameters.blocked_tools,
                parse_arguments=self._parse_arguments,
            )
        except CallSyntaxError as error:
            return error.reason
        if call.request is None and len(call.tokens) > self._parameters.max_call_tokens:
            return TOO_LONG
        row.pending = [token]
        return None

    def _answer_calls(self, active: Sequence[DecodingRow], cache: RowCache) -> None:
        """Run the calls that are complete, together, and put their results behind the arrow."""
        waiting = [
            (place, row, row.open_call, row.open_call.request)
            for place, row in enumerate(active)
            if row.open_call is not None and row.open_call.request is not None
        ]
        if not waiting:
            return
        results = self._run_calls([(row.index, request) for _, row, _, request in waiting])
        limit = self._parameters.max_result_tokens
        for (place, row, call, request), result in zip(waiting, results, strict=True):
            inserted = cut_result(self._tokenizer, result, max_tokens=limit) if result else ""
            if inserted:
                forced = self._tokenizer.encode_pieces([f" {inserted}", CALL_CLOSE])
                row.close(call, request, inserted, forced)
            else:
                expected = self._undo(row, place, cache, NO_RESULT)
                self._advance(row, expected, place, cache)

    def _undo(self, row: DecodingRow, place: int, cache: RowCache, reason: str) -> NextTokens:
        """Take the open call back; what the model expected in its place."""
        call = row.undo(reason)
        cache.forget(place, call.length)
        return call.before

    def _first_token(self, tool_name: str) -> int:
        return self._tokenizer.encode(f"{tool_name}(")[0]

    def _check_lengths(self, rows: Sequence[DecodingRow]) -> None:
        most = longest_prompt_tokens(self._model, self._parameters)
        for row in rows:
            tokens = row.prompt_tokens
            if tokens > most:
                raise SequenceTooLongError(
                    f"Prompt {row.index} has {tokens} tokens. Expected at most {most}, so that "
                    f"it fits the model's {self._model.context_length} together with "
                    "max_new_tokens and the longest call. Shorten the prompt or lower these."
                )
