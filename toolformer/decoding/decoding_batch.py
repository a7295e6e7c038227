"""Decodes texts in a continuous batch: texts enter and leave between steps.

    step     1 2 3 4 5 6 7 8 9
    rows     A A A A A A D D D D        D enters after A has ended
             B B B ->    B B B B        B leaves with its KV cache until its call has a result;
             C C C C C C C C C C        the other texts continue

A call that may open is decoded speculatively until its tool is certain. If it does not open, the
row continues from the cache before ` [`. The caller takes out the rows that wait for results, runs
their calls and resumes them.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from typing import NamedTuple

from toolformer.calls import call_open_id, cut_result
from toolformer.decoding.completions import Decoding
from toolformer.decoding.decoding_row import Alternative, DecodingRow, OpenCall
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


class _FedRows(NamedTuple):
    rows: Sequence[DecodingRow]
    cache: Contexts
    expected: Sequence[NextTokens]


class DecodingBatch:
    """The texts being decoded, with their KV caches; `rows` take part in the next step."""

    def __init__(self, model: Model, end_ids: frozenset[int]):
        self._model = model
        self._tokenizer = model.tokenizer
        self._open_id = call_open_id(model.tokenizer)
        self._end_ids = end_ids
        self.rows: list[DecodingRow] = []
        # Row i of the cache belongs to `rows[i]`.
        self._cache = model.contexts(0)

    def enter(self, rows: Sequence[DecodingRow], prefix: Contexts) -> None:
        """Add rows; a prompt must come before all prompts that are prefixes of it.

        `prefix` is the KV cache of the tokens that all prompts share. If a single row does not fit
        the device's memory, raise OutOfMemoryError and add none.
        """

        def feed(subset: list[DecodingRow]) -> list[_FedRows]:
            cache = _feed_shared_prefixes(subset, prefix)
            fed = [row.pending[cache.length(index) :] for index, row in enumerate(subset)]
            return [self._feed(subset, cache, fed)]

        self._join(feed_in_halves(list(rows), feed)[0])

    def resume(self, rows: Sequence[DecodingRow]) -> None:
        """Add back at least one row whose call was answered, and feed each result in one pass."""
        caches = [row.cache for row in rows if row.cache is not None]
        for row in rows:
            row.cache = None
        cache = caches[0].join(caches[1:])
        self._join([self._feed(rows, cache, [row.pending for row in rows])])

    def step(self) -> None:
        self._choose(self._feed(self.rows, self._cache, [row.pending for row in self.rows]))

    def take_out(self, others: Sequence[DecodingRow] = ()) -> list[tuple[DecodingRow, ToolCall]]:
        """Remove `others` and rows that ended or wait; return waiting rows with their calls."""
        staying, waiting = [], []
        for index, row in enumerate(self.rows):
            if row.stopped_by is not None or row in others:
                continue
            if row.awaited is None:
                staying.append(index)
            else:
                row.cache = self._cache.fork([index])
                waiting.append((row, row.awaited))
        if not staying:
            self._cache = self._model.contexts(0)
        elif len(staying) < len(self.rows):
            # The last rows fill the gaps, so only their keys are copied.
            last = iter([index for index in staying if index >= len(staying)])
            staying = [index if index in staying else next(last) for index in range(len(staying))]
            self._cache.keep(staying)
        self.rows = [self.rows[index] for index in staying]
        return waiting

    def answer(self, row: DecodingRow, result: str | None) -> None:
        """Insert the result of a call; the row can then `resume`, unless it has ended.

        If `result` is None, the row writes another call; if it is `NO_ANSWER`, no further call.
        """
        call, cache = row.open_call, row.cache
        if call is None or call.request is None or cache is None:
            raise ValueError(f"Text {row.index} does not wait for a result.")
        limit = row.decoding.max_result_tokens
        inserted = cut_result(self._tokenizer, result, max_tokens=limit) if result else ""
        if inserted:
            forced = self._tokenizer.encode_pieces([f" {inserted}", CALL_CLOSE])
            row.close(call, call.request, inserted, forced)
        else:
            if result == NO_ANSWER:
                call.alternatives.clear()
            self._advance(row, self._undo(row, call, NO_RESULT, 0, cache), 0, cache)

    def _join(self, groups: Sequence[_FedRows]) -> None:
        for group in groups:
            self._choose(group)
        caches = [*([self._cache] if self.rows else []), *(group.cache for group in groups)]
        self._cache = caches[0].join(caches[1:])
        self.rows += [row for group in groups for row in group.rows]

    def _feed(
        self, rows: Sequence[DecodingRow], cache: Contexts, fed: Sequence[Sequence[int]]
    ) -> _FedRows:
        # At least two tokens, since ` [` may be banned, and k to know ranks of ` [` up to k.
        count = max(
            2, *(max(row.settings.top_tokens, row.decoding.settings.call_top_k) for row in rows)
        )
        expected = cache.next_tokens(fed, open_id=self._open_id, count=count)
        return _FedRows(rows, cache, expected)

    def _choose(self, group: _FedRows) -> None:
        for index, row in enumerate(group.rows):
            row.pending = []
            self._advance(row, group.expected[index], index, group.cache)

    def _advance(self, row: DecodingRow, expected: NextTokens, index: int, cache: Contexts) -> None:
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
        can_open = not (decoding.is_disabled or row.is_banned or row.skips_opening)
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
            is_disabled=not can_open or row.is_inside_character,
        )
        if token == self._open_id:
            self._open(row, expected.kept(), length, chance)
            return
        if temperature := row.settings.temperature:
            # With calls disabled, the model may write the bracket as text.
            banned = None if decoding.is_disabled else self._open_id
            token = expected.sampled(
                row.settings.uniform(), temperature, top_p=row.settings.top_p, banned=banned
            )
        self._emit(row, token, expected, chance)

    def _open(self, row: DecodingRow, before: NextTokens, length: int, chance: CallChance) -> None:
        row.open(self._open_id, before, length=length, chance=chance)
        # Without an enabled tool the bracket is undone at once, so it need not be fed.
        row.pending = [self._open_id] if row.decoding.enabled_tools else []

    def _emit(self, row: DecodingRow, token: int, expected: NextTokens, chance: CallChance) -> None:
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
        """Choose a token of a call; return a reason if the call cannot continue."""
        decoding = row.decoding
        token = expected.ranked[0]
        if not call.written.tokens and token in (masked := self._masked_starts(decoding)):
            token = expected.most_likely_except(masked)
        if call.attempts < decoding.settings.call_attempts and "(" in call.written.text:
            row.add_alternative(call, expected.ranked[1], expected)
        row.record(token, "sampled", expected)
        # Special tokens are not text, so no call contains one.
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
        """Return the first tokens of blocked tools' names that start no enabled tool's name."""
        enabled = set(map(self._first_token, decoding.enabled_tools))
        return sorted(set(map(self._first_token, decoding.blocked_tools)) - enabled)

    def _first_token(self, tool_name: str) -> int:
        return self._tokenizer.encode_continuation(f"{tool_name}(")[0]

    def _undo(
        self, row: DecodingRow, call: OpenCall, reason: str, index: int, cache: Contexts
    ) -> NextTokens:
        """Replace a call by the next alternative or by text; return the distribution at ` [`."""
        if (alternative := self._next_call(row, call)) is None:
            row.undo(call, reason)
            cache.forget(index, call.length)
        else:
            tokens = alternative.tokens
            fed = cache.length(index) - call.length - 1
            shared = len(common_prefix([tokens[:-1], call.written.tokens[:fed]]))
            cache.forget(index, call.length + 1 + shared)
            row.begin_alternative(call, alternative, reason)
            row.pending = tokens[shared:]
        return call.before

    def _next_call(self, row: DecodingRow, call: OpenCall) -> Alternative | None:
        """Return the most likely start of another call; None if no other may be written."""
        decoding = row.decoding
        if not call.is_certain or call.attempts >= decoding.settings.call_attempts:
            return None
        special = {*self._end_ids, *self._tokenizer.special_ids}
        for alternative in sorted(call.alternatives, key=lambda each: -each.log_probability):
            if alternative.tokens[-1] in special:
                continue
            # Skip alternatives that cannot become a call.
            with suppress(CallSyntaxError):
                is_whole = read_open_call(
                    self._tokenizer.decode_continuation(alternative.tokens),
                    enabled_tools=decoding.enabled_tools,
                    blocked_tools=decoding.blocked_tools,
                    parse_arguments=None,
                )
                # A complete call would only cut the arguments short and would run before it is fed.
                if not is_whole:
                    return alternative
        return None


def common_prefix(rows: Sequence[list[int]]) -> list[int]:
    """Return the longest prefix that all sequences share.

    Example:
        >>> common_prefix([[0, 5, 7, 1], [0, 5, 6]])
        [0, 5]
    """
    # The lexicographically smallest and largest rows share exactly the prefix of all rows.
    pairs = zip(min(rows), max(rows), strict=False)
    return [token for token, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]


def has_prefix(tokens: Sequence[int], prefix: Sequence[int]) -> bool:
    return tokens[: len(prefix)] == prefix


def _feed_shared_prefixes(rows: Sequence[DecodingRow], prefix: Contexts) -> Contexts:
    """Return one context per row, which holds `prefix`.

    If some prompt is a prefix of another, contexts hold all tokens of their rows but the last.
    """
    maximal_rows: list[list[int]] = []
    index_of_row = []
    for row in rows:
        rest = row.pending[prefix.length(0) : -1]
        if not maximal_rows or not has_prefix(maximal_rows[-1], rest):
            maximal_rows.append(rest)
        index_of_row.append(len(maximal_rows) - 1)
    if len(maximal_rows) == len(rows) or not maximal_rows[0]:
        return prefix.fork([0] * len(rows))
    contexts = prefix.fork([0] * len(maximal_rows))
    contexts.feed(maximal_rows)
    contexts = contexts.fork(index_of_row)
    for index, row in enumerate(rows):
        contexts.forget(index, len(row.pending) - 1)
    return contexts
