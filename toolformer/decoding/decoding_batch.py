"""Texts that are decoded together, step by step; others enter and leave between two steps.

    step     1 2 3 4 5 6 7 8 9
    rows     A A A A A A D D D D        D enters where A has ended
             B B B ->    B B B B        B waits beside the batch for the result of its call,
             C C C C C C C C C C        with its keys and values; the others go on

A call that may open is read ahead until its tool is certain. Where it does not open, the row goes
on behind the token in front of it, which is not fed again.

The caller takes out the rows that wait for a result, runs their calls, and hands them back.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from typing import NamedTuple

from toolformer.calls import call_open_id, cut_result
from toolformer.decoding.completions import Decoding
from toolformer.decoding.decoding_row import DecodingRow, OpenCall, OtherCall
from toolformer.decoding.triggers import (
    BLOCKED_TOOL,
    END_OF_TEXT,
    NO_RESULT,
    TOO_LONG,
    CallChance,
    choose_token,
    identify_tool,
    read_open_call,
    smallest,
)
from toolformer.forward.batching import feed_in_halves
from toolformer.forward.model import Contexts, Model, NextTokens
from tools.errors import CallSyntaxError
from tools.protocol import NO_ANSWER, ToolCall
from tools.syntax import CALL_CLOSE


class _Read(NamedTuple):
    """Rows whose pending tokens were fed, and what the model expects behind each."""

    rows: Sequence[DecodingRow]
    cache: Contexts
    expected: Sequence[NextTokens]


class DecodingBatch:
    """The texts that are being decoded, with their keys and values.

    Attributes:
        rows: that take part in the next step.
    """

    def __init__(self, model: Model, end_ids: frozenset[int]):
        self._model = model
        self._tokenizer = model.tokenizer
        self._open_id = call_open_id(model.tokenizer)
        self._end_ids = end_ids
        self.rows: list[DecodingRow] = []
        # Its rows are those of `rows`, in that order.
        self._cache = model.contexts(0)

    def enter(self, rows: Sequence[DecodingRow], opening: Contexts) -> None:
        """Take new rows in: feed what is pending of each, and choose its next token.

        Rows that memory does not hold together are fed by halves.

        Args:
            rows: at least one; behind each those whose prompts it goes on with.
            opening: a row of what all of them begin with.

        Raises:
            OutOfMemoryError: A single row does not fit; none has entered then.
        """

        def read(some: list[DecodingRow]) -> list[_Read]:
            cache = _read_in_front(some, opening)
            fed = [row.pending[cache.length(index) :] for index, row in enumerate(some)]
            return [self._read(some, cache, fed)]

        self._join(feed_in_halves(list(rows), read)[0])

    def resume(self, rows: Sequence[DecodingRow]) -> None:
        """Take rows in again that `answer` was called for: their results are fed in one piece.

        Args:
            rows: at least one.
        """
        caches = [row.cache for row in rows if row.cache is not None]
        for row in rows:
            row.cache = None
        cache = caches[0].join(caches[1:])
        self._join([self._read(rows, cache, [row.pending for row in rows])])

    def step(self) -> None:
        """Feed the pending token of every row, and choose the next one."""
        self._choose(self._read(self.rows, self._cache, [row.pending for row in self.rows]))

    def take_out(self, others: Sequence[DecodingRow] = ()) -> list[tuple[DecodingRow, ToolCall]]:
        """Take out the rows that have ended, and those that wait for the result of a call.

        Returns:
            The rows that wait, each with its call; they have their keys and values.
        """
        stays, waiting = [], []
        for index, row in enumerate(self.rows):
            if row.stopped_by is not None or row in others:
                continue
            if row.awaited is None:
                stays.append(index)
            else:
                row.cache = self._cache.fork([index])
                waiting.append((row, row.awaited))
        if not stays:
            self._cache = self._model.contexts(0)
        elif len(stays) < len(self.rows):
            # The last fill the gaps: only their keys are copied.
            last = iter([index for index in stays if index >= len(stays)])
            stays = [place if place in stays else next(last) for place in range(len(stays))]
            self._cache.keep(stays)
        self.rows = [self.rows[index] for index in stays]
        return waiting

    def answer(self, row: DecodingRow, result: str | None) -> None:
        """Put the result of a call behind its arrow; without one another call is written there.

        Args:
            row: one that `take_out` returned. It can `resume`, unless it has ended.
            result: free of call markers; None where there is none, `NO_ANSWER` where no other call
                is written either.

        Raises:
            ValueError: the row waits for no result.
        """
        call, cache = row.open_call, row.cache
        if call is None or call.request is None or cache is None:
            raise ValueError(f"Text {row.index} waits for no result.")
        limit = row.decoding.max_result_tokens
        inserted = cut_result(self._tokenizer, result, max_tokens=limit) if result else ""
        if inserted:
            forced = self._tokenizer.encode_pieces([f" {inserted}", CALL_CLOSE])
            row.close(call, call.request, inserted, forced)
        else:
            if result == NO_ANSWER:
                call.others.clear()
            self._advance(row, self._undo(row, call, NO_RESULT, 0, cache), 0, cache)

    def _join(self, parts: Sequence[_Read]) -> None:
        for part in parts:
            self._choose(part)
        first, *others = [*([self._cache] if self.rows else []), *(part.cache for part in parts)]
        self._cache = first.join(others)
        self.rows += [row for part in parts for row in part.rows]

    def _read(
        self, rows: Sequence[DecodingRow], cache: Contexts, fed: Sequence[Sequence[int]]
    ) -> _Read:
        # At least two: the opening may be banned. Up to k it must be certain where it ranks.
        count = max(
            2, *(max(row.settings.top_tokens, row.decoding.settings.call_top_k) for row in rows)
        )
        expected = cache.next_tokens(fed, open_id=self._open_id, count=count)
        return _Read(rows, cache, expected)

    def _choose(self, part: _Read) -> None:
        for index, row in enumerate(part.rows):
            row.pending = []
            self._advance(row, part.expected[index], index, part.cache)

    def _advance(self, row: DecodingRow, expected: NextTokens, index: int, cache: Contexts) -> None:
        """Choose the next token; twice or three times where a call cannot even begin."""
        while not row.pending and row.stopped_by is None:
            reason = None
            if row.open_call is None:
                self._choose_outside(row, expected, cache.length(index))
            else:
                reason = self._choose_inside(row, row.open_call, expected)
            if row.open_call and not row.decoding.enabled_tools:
                reason = BLOCKED_TOOL
            if row.open_call and reason is not None:
                expected = self._undo(row, row.open_call, reason, index, cache)

    def _choose_outside(self, row: DecodingRow, expected: NextTokens, length: int) -> None:
        decoding = row.decoding
        is_open = not (decoding.is_disabled or row.is_banned or row.is_passed)
        call_log_probability = expected.call_log_probability
        chance = CallChance(
            expected.call_rank,
            None if call_log_probability is None else math.exp(call_log_probability),
        )
        if row.is_forced:
            self._open(row, expected.kept(), length, chance)
            return
        token = choose_token(
            expected.ranked,
            open_token=self._open_id,
            chance=chance,
            call_top_k=decoding.settings.call_top_k,
            min_call_probability=smallest(row.min_call_probability),
            calls_so_far=row.calls_so_far,
            max_calls=decoding.settings.max_calls,
            is_disabled=not is_open or row.is_inside_character,
        )
        if token == self._open_id:
            self._open(row, expected.kept(), length, chance)
            return
        if temperature := row.settings.temperature:
            # Samples without calls are the model's own, which may write the bracket as text.
            banned = None if decoding.is_disabled else self._open_id
            token = expected.sampled(
                row.settings.uniform(), temperature, top_p=row.settings.top_p, banned=banned
            )
        self._emit(row, token, expected, chance)

    def _open(self, row: DecodingRow, before: NextTokens, length: int, chance: CallChance) -> None:
        row.open(self._open_id, before, length=length, chance=chance)
        # Not fed where no tool is left to call: the bracket is undone at once.
        row.pending = [self._open_id] if row.decoding.enabled_tools else []

    def _emit(self, row: DecodingRow, token: int, expected: NextTokens, chance: CallChance) -> None:
        """Add a token outside calls, and see whether the text ends with it."""
        row.record(token, "sampled", expected, chance)
        if token in self._end_ids:
            row.stopped_by = "end_of_text"
            return
        row.add_outside(token)
        if row.stop_offset is not None:
            row.stopped_by = "stop_text"
        elif row.tokens_outside_calls >= row.decoding.settings.max_new_tokens:
            row.stopped_by = "length"
        else:
            row.pending = [token]

    def _choose_inside(self, row: DecodingRow, call: OpenCall, expected: NextTokens) -> str | None:
        """Choose a token of a call; the reason where the call cannot go on."""
        decoding = row.decoding
        token = expected.ranked[0]
        if not call.written.tokens and token in (masked := self._masked_starts(decoding)):
            token = expected.most_likely_except(masked)
        if call.attempts < decoding.settings.call_attempts and "(" in call.written.text:
            row.note_other(call, expected.ranked[1], expected)
        row.record(token, "sampled", expected)
        # No text becomes a special token, so none is part of a call.
        if token in self._end_ids or token in self._tokenizer.special_ids:
            return END_OF_TEXT
        call.written.add(token)
        text = call.written.text
        try:
            call.request = read_open_call(
                text,
                enabled_tools=decoding.enabled_tools,
                blocked_tools=decoding.blocked_tools,
                parse_arguments=row.settings.parse_arguments,
            )
            if not call.is_certain:
                call.probability *= math.exp(expected.log_probability(token))
                least = row.min_call_probability
                tool = identify_tool(text, call.probability, least=least)
                call.is_certain = tool is not None
        except CallSyntaxError as error:
            return error.reason
        if call.request is None and len(call.written.tokens) > decoding.settings.max_call_tokens:
            return TOO_LONG
        row.pending = [token]
        return None

    def _masked_starts(self, decoding: Decoding) -> list[int]:
        """First tokens of the names of blocked tools, which no enabled one begins with."""
        enabled = set(map(self._first_token, decoding.enabled_tools))
        return sorted(set(map(self._first_token, decoding.blocked_tools)) - enabled)

    def _first_token(self, tool_name: str) -> int:
        return self._tokenizer.encode_continuation(f"{tool_name}(")[0]

    def _undo(
        self, row: DecodingRow, call: OpenCall, reason: str, index: int, cache: Contexts
    ) -> NextTokens:
        """Write another call in its place, or take it back; what the model expected there."""
        if (other := self._next_call(row, call)) is None:
            row.undo(call, reason)
            cache.forget(index, call.length)
        else:
            tokens = other.tokens
            fed = cache.length(index) - call.length - 1
            shared = len(common_opening([tokens[:-1], call.written.tokens[:fed]]))
            cache.forget(index, call.length + 1 + shared)
            row.write_other(call, other, reason)
            row.pending = tokens[shared:]
        return call.before

    def _next_call(self, row: DecodingRow, call: OpenCall) -> OtherCall | None:
        """The beginning of the likeliest call that was not written here; None where none may be."""
        decoding = row.decoding
        if not call.is_certain or call.attempts >= decoding.settings.call_attempts:
            return None
        special = {*self._end_ids, *self._tokenizer.special_ids}
        for other in sorted(call.others, key=lambda each: -each.log_probability):
            if other.tokens[-1] in special:
                continue
            # Of what cannot become a call the next one is looked at.
            with suppress(CallSyntaxError):
                is_whole = read_open_call(
                    self._tokenizer.decode_continuation(other.tokens),
                    enabled_tools=decoding.enabled_tools,
                    blocked_tools=decoding.blocked_tools,
                    parse_arguments=None,
                )
                # One that is whole has shorter arguments, and would be asked before it is fed.
                if not is_whole:
                    return other
        return None


def common_opening(rows: Sequence[list[int]]) -> list[int]:
    """The tokens that all rows begin with.

    Example:
        >>> common_opening([[0, 5, 7, 1], [0, 5, 6]])
        [0, 5]
    """
    # In lexicographic order all rows lie between these two, and begin with what they share.
    pairs = zip(min(rows), max(rows), strict=False)
    return [token for token, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]


def goes_on_with(tokens: Sequence[int], beginning: Sequence[int]) -> bool:
    """Return whether tokens begin with others."""
    return tokens[: len(beginning)] == beginning


def _read_in_front(rows: Sequence[DecodingRow], opening: Contexts) -> Contexts:
    """Return contexts of the opening or, if one prompt begins another, of all but the last tokens.

    Args:
        rows, opening: see `DecodingBatch.enter`.
    """
    longest: list[list[int]] = []
    of_row = []
    for row in rows:
        in_front = row.pending[opening.length(0) : -1]
        if not longest or not goes_on_with(longest[-1], in_front):
            longest.append(in_front)
        of_row.append(len(longest) - 1)
    if len(longest) == len(rows) or not longest[0]:
        return opening.fork([0] * len(rows))
    read = opening.fork([0] * len(longest))
    read.feed(longest)
    read = read.fork(of_row)
    for index, row in enumerate(rows):
        read.forget(index, len(row.pending) - 1)
    return read
