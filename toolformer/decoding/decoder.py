"""Decodes texts greedily with live tool calls (paper §2 "Inference" and §4.2).

    prompt | text … [ Calculator(6 * 7) -> | 42 ] | text …
             sampled  trigger, sampled       forced  sampled, from the same KV cache

The prompts of one `complete` are decoded in one continuous batch (`decoding_batch`). A prefix that
all prompts share, such as the instruction of a benchmark, is fed only once. So is a prompt that is
a prefix of other prompts. The caller runs the calls.
"""

from collections.abc import Callable, Sequence

from toolformer.decoding.completions import Completion, Decoding
from toolformer.decoding.decoding_batch import DecodingBatch, common_prefix, has_prefix
from toolformer.decoding.decoding_row import DecodingRow, RowSettings
from toolformer.decoding.triggers import CallChance, first_opening
from toolformer.errors import SequenceTooLongError
from toolformer.forward.model import REPORTED_RANKS, Contexts, Model
from toolformer.forward.tokenization import REPLACEMENT_CHARACTER
from tools.protocol import ToolCall

# New texts enter once at most this share of the rows is in use. Feeding them takes a separate pass,
# so several enter together.
_REFILL_BELOW = 0.75
# Tokens of a call beyond `max_call_tokens` and its result: ` [`, the token that exceeds the limit,
# the space before the result if it is a separate token, and `]`.
_CALL_MARGIN = 4

RunCalls = Callable[[Sequence[tuple[int, ToolCall]]], Sequence[str | None]]


def complete(
    model: Model,
    prompts: Sequence[str],
    *,
    decoding: Decoding,
    run_calls: RunCalls,
    prompt_ids: Sequence[Sequence[int]] | None = None,
    parse_arguments: Callable[[str, str], str] | None = None,
    end_ids: frozenset[int] | None = None,
    stop_texts: tuple[str, ...] = (),
    find_end: Callable[[str], int | None] | None = None,
    without_calls: Sequence[Completion] | None = None,
    is_forced: bool = False,
    rows_at_once: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """Continue prompts greedily, with tool calls, many at a time.

    The start token precedes each prompt, as in scoring and finetuning. A call opens if its tool is
    likely enough; see `toolformer.decoding.triggers`. If the call grows too long or gets no result,
    the next most likely one is written, up to `call_attempts` calls in all. After that, or if no
    call of an enabled tool follows ` [`, the call is undone: the text continues as if ` [` were
    banned at this token, and no further call opens. No call opens inside a multi-token character.

    Args:
        run_calls: gets all pending calls of a step with indices into `prompts`. For each call it
            returns a result (see `tools.syntax.clean_result`), None, or `tools.protocol.NO_ANSWER`.
        prompt_ids: tokens of the prompts without the start token, if known.
        parse_arguments: normalises a tool's arguments; its CallSyntaxError undoes the call.
        find_end: returns the offset at which the text since the last call ends, or None; called
            after each token.
        without_calls: completions of the same prompts with calls disabled; reused up to the token
            at which a call can first open.
        is_forced: open one call per text where its completion in `without_calls` gives ` [` the
            highest probability, whatever the rank.
        rows_at_once: maximum number of texts decoded together; affects only the last
            digits of probabilities.

    Raises:
        SequenceTooLongError: a prompt is longer than `max_prompt_length`.
        OutOfMemoryError: a single prompt does not fit the device's memory.
    """
    if prompt_ids is None:
        prompt_ids = [model.tokenizer.encode(prompt) for prompt in prompts]
    settings = RowSettings(decoding, parse_arguments, stop_texts, find_end=find_end)
    rows = [
        DecodingRow(index, prompt, [model.bos_id, *ids], model.tokenizer, settings)
        for index, (prompt, ids) in enumerate(zip(prompts, prompt_ids, strict=True))
    ]
    if is_forced:
        known = _force_openings(rows, without_calls or ())
    else:
        known = _known_without_calls(rows, without_calls, decoding)
    unknown = [row for row in rows if row.index not in known]
    for row in unknown:
        check_length(model, row, f"Prompt {row.index}")
    if unknown:
        batch = DecodingBatch(model, model.end_ids if end_ids is None else end_ids)
        row_tokens = max(len(row.pending) for row in unknown) + max_tokens_after_prompt(decoding)
        max_rows = rows_at_once or model.rows_at_once(row_tokens=row_tokens)
        _decode(unknown, batch, shared_prefix(model, unknown), max_rows, run_calls, progress)
    return [known.get(row.index) or row.completion for row in rows]


def _known_without_calls(
    rows: Sequence[DecodingRow], without_calls: Sequence[Completion] | None, decoding: Decoding
) -> dict[int, Completion]:
    """Return completions in which no call can open; advance other rows to the first opening."""
    if without_calls is None:
        return {}
    if decoding.is_disabled:
        return dict(enumerate(without_calls))
    ranks = {step.call_rank for completion in without_calls for step in completion.trace}
    if decoding.settings.call_top_k > REPORTED_RANKS and None in ranks:
        # The server did not report every rank, so a call could open at any of these tokens.
        return {}
    known = {}
    for row, completion in zip(rows, without_calls, strict=True):
        opening = first_opening(
            (CallChance(step.call_rank, step.call_probability) for step in completion.trace),
            call_top_k=decoding.settings.call_top_k,
            min_call_probability=decoding.min_call_probability,
            tools=decoding.enabled_tools,
        )
        if opening is None:
            known[row.index] = completion
        else:
            row.add_known(completion.trace[:opening])
    return known


def _force_openings(
    rows: Sequence[DecodingRow], without_calls: Sequence[Completion]
) -> dict[int, Completion]:
    """Return completions in which no call can be forced open; prepare the other rows for one."""
    known = {}
    for row, completion in zip(rows, without_calls, strict=True):
        probabilities = {
            at: step.call_probability
            for at, step in enumerate(completion.trace)
            if step.call_probability is not None
            # A call cannot open inside a character.
            and not (at and completion.trace[at - 1].text.endswith(REPLACEMENT_CHARACTER))
        }
        if not probabilities:
            known[row.index] = completion
            continue
        row.add_known(completion.trace[: max(probabilities, key=lambda at: probabilities[at])])
        row.is_forced = True
    return known


def max_prompt_length(model: Model, decoding: Decoding) -> int:
    """Return the maximum number of tokens of a prompt, without the start token, for `complete`."""
    return model.context_length - 1 - max_tokens_after_prompt(decoding)


def max_tokens_after_prompt(decoding: Decoding) -> int:
    """Return the maximum number of tokens after a prompt, including calls."""
    if decoding.is_disabled:
        return decoding.settings.max_new_tokens
    call = decoding.settings.max_call_tokens + decoding.max_result_tokens + _CALL_MARGIN
    return decoding.settings.max_new_tokens + decoding.settings.max_calls * call


def _decode(
    rows: Sequence[DecodingRow],
    batch: DecodingBatch,
    prefix: Contexts,
    max_rows: int,
    run_calls: RunCalls,
    progress: Callable[[int, int], None] | None,
) -> None:
    waiting = _feeding_order(rows)
    answered: list[DecodingRow] = []
    ended = 0
    while batch.rows or waiting or answered:
        if answered:
            batch.resume(answered)
        elif waiting and len(batch.rows) <= max_rows * _REFILL_BELOW:
            room = max_rows - len(batch.rows)
            entering, waiting = waiting[:room], waiting[room:]
            batch.enter(entering, prefix)
        else:
            batch.step()
        pending_calls = batch.take_out()
        if pending_calls:
            results = run_calls([(row.index, call) for row, call in pending_calls])
            for (row, _), result in zip(pending_calls, results, strict=True):
                batch.answer(row, result)
        answered = [row for row, _ in pending_calls if row.stopped_by is None]
        ended_before, ended = ended, len(rows) - len(batch.rows) - len(waiting) - len(answered)
        if progress is not None and ended > ended_before:
            progress(ended, len(rows))


def _feeding_order(rows: Sequence[DecodingRow]) -> list[DecodingRow]:
    """Order rows by length to reduce padding, each prompt directly before its own prefixes."""
    families: list[list[DecodingRow]] = []
    for row in sorted(rows, key=lambda row: row.pending, reverse=True):
        if families and has_prefix(families[-1][0].pending, row.pending):
            families[-1].append(row)
        else:
            families.append([row])
    families.sort(key=lambda family: (-len(family[0].pending), family[0].index))
    return [row for family in families for row in family]


def shared_prefix(model: Model, rows: Sequence[DecodingRow], *, min_tokens: int = 1) -> Contexts:
    shared = common_prefix([row.pending[:-1] for row in rows]) if len(rows) > 1 else []
    prefix = model.contexts(1)
    if len(shared) >= min_tokens:
        prefix.feed([shared])
    return prefix


def check_length(model: Model, row: DecodingRow, name: str) -> None:
    limits = row.decoding.settings
    # Known tokens of a completion without calls count as new tokens.
    start = len(row.pending) - row.prompt_tokens - row.tokens_outside_calls
    max_prompt_tokens = model.context_length - start - max_tokens_after_prompt(row.decoding)
    if row.prompt_tokens > max_prompt_tokens:
        raise SequenceTooLongError(
            f"{name} has {row.prompt_tokens} tokens. Expected at most "
            f"{max(max_prompt_tokens, 0)}: the rest of the model's context of "
            f"{model.context_length} tokens is reserved for {limits.max_new_tokens} new tokens and "
            f"{limits.max_calls} calls of maximum length. Shorten the prompt, or lower "
            "max_new_tokens or max_calls."
        )
