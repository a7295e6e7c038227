"""Greedy decoding in which the model calls tools (paper §2 "Inference" and §4.2).

    prompt | text … [ Calculator(6 * 7) -> | 42 ] | text …
             sampled  trigger, sampled       forced  sampled, from the same keys and values

The prompts of one `complete` are decoded together (`decoding_batch`), and texts that end make room
for others. What all prompts begin with, such as the instruction of a benchmark, is fed once, and so
is a prompt that others go on with.

The caller runs the calls. Trigger and call syntax are in `triggers`.
"""

from collections.abc import Callable, Sequence

from toolformer.decoding.completions import Completion, Decoding
from toolformer.decoding.decoding_batch import DecodingBatch, common_opening, goes_on_with
from toolformer.decoding.decoding_row import DecodingRow, RowSettings
from toolformer.decoding.triggers import CallChance, first_opening
from toolformer.errors import SequenceTooLongError
from toolformer.forward.model import REPORTED_RANKS, Contexts, Model
from toolformer.forward.tokenization import REPLACEMENT_CHARACTER
from tools.protocol import ToolCall

# Others enter once at most this share of the places is taken: they are fed in a pass of their own.
_REFILL_BELOW = 0.75
# Tokens of a call besides the model's and the result's: ` [`, one more than `max_call_tokens`
# before the call is given up, the space before the result where it is a token of its own, `]`.
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

    The start token stands in front of each prompt, as it does in scoring and finetuning.

    A call opens where its tool is likely enough: see `toolformer.decoding.triggers`. Where it grows
    too long or gets no result, the next likeliest is written, `call_attempts` in all. Then, and
    where what follows ` [` is no call of an enabled tool, it is undone, and no other opened in that
    text, which goes on as if the opening token had been banned there. No call is opened inside a
    character of several tokens.

    Args:
        run_calls: gets pairs of index into `prompts` and call, all that are pending in a step, and
            returns for each a result free of call markers (`tools.syntax.clean_result`), None, or
            `tools.protocol.NO_ANSWER`.
        prompt_ids: the tokens of each prompt, without the start token, where they are known; by
            default the prompts are encoded.
        parse_arguments: tool name and arguments to normalised arguments; a CallSyntaxError of it
            undoes the call.
        end_ids: tokens after which nothing follows; by default `Model.end_ids`.
        stop_texts: the output ends before the first of these that appears outside calls.
        find_end: returns the offset at which the text since the last call ends, or None while it
            goes on; called after each token.
        without_calls: completions of the same prompts that only differ in that calls were disabled.
            Up to where the first call can open a text is the same, so it is not decoded again.
        is_forced: whether a call opens in each text at the one place of its completion without
            calls where ` [` is likeliest, whatever its rank and probability. Needs these.
        rows_at_once: most texts that are decoded at the same time; chosen for the device by
            default. Changes last digits only.

    Returns:
        One completion per prompt, in order.

    Raises:
        SequenceTooLongError: a prompt leaves no room for its continuation; see
            `max_prompt_length`.
        OutOfMemoryError: memory does not hold a single prompt.
    """
    if prompt_ids is None:
        prompt_ids = [model.tokenizer.encode(prompt) for prompt in prompts]
    settings = RowSettings(decoding, parse_arguments, stop_texts, find_end=find_end)
    rows = [
        DecodingRow(index, prompt, [model.bos_id, *ids], model.tokenizer, settings)
        for index, (prompt, ids) in enumerate(zip(prompts, prompt_ids, strict=True))
    ]
    if is_forced:
        known = _forced(rows, without_calls or ())
    else:
        known = _known_without_calls(rows, without_calls, decoding)
    unknown = [row for row in rows if row.index not in known]
    for row in unknown:
        check_length(model, row, f"Prompt {row.index}")
    if unknown:
        batch = DecodingBatch(model, model.end_ids if end_ids is None else end_ids)
        row_tokens = max(len(row.pending) for row in unknown) + max_tokens_after_prompt(decoding)
        max_rows = rows_at_once or model.rows_at_once(row_tokens=row_tokens)
        _decode(unknown, batch, shared_opening(model, unknown), max_rows, run_calls, progress)
    return [known.get(row.index) or row.completion for row in rows]


def _known_without_calls(
    rows: Sequence[DecodingRow], without_calls: Sequence[Completion] | None, decoding: Decoding
) -> dict[int, Completion]:
    """Completions in which no call can open; the other rows are told to begin where one can."""
    if without_calls is None:
        return {}
    if decoding.is_disabled:
        return dict(enumerate(without_calls))
    ranks = {step.call_rank for completion in without_calls for step in completion.trace}
    if decoding.settings.call_top_k > REPORTED_RANKS and None in ranks:
        # Of a server that told no rank it is not known where a call could open.
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
            row.begin_with(completion.trace[:opening])
    return known


def _forced(
    rows: Sequence[DecodingRow], without_calls: Sequence[Completion]
) -> dict[int, Completion]:
    """Completions without a place for a call; the other rows are told to open one."""
    known = {}
    for row, completion in zip(rows, without_calls, strict=True):
        probabilities = {
            at: step.call_probability
            for at, step in enumerate(completion.trace)
            if step.call_probability is not None
            # Not inside a character.
            and not (at and completion.trace[at - 1].text.endswith(REPLACEMENT_CHARACTER))
        }
        if not probabilities:
            known[row.index] = completion
            continue
        row.begin_with(completion.trace[: max(probabilities, key=lambda at: probabilities[at])])
        row.is_forced = True
    return known


def max_prompt_length(model: Model, decoding: Decoding) -> int:
    """Most tokens that a prompt may have, without the start token, for `complete` to take it."""
    return model.context_length - 1 - max_tokens_after_prompt(decoding)


def max_tokens_after_prompt(decoding: Decoding) -> int:
    """Most tokens that may follow a prompt, those of calls included."""
    if decoding.is_disabled:
        return decoding.settings.max_new_tokens
    call = decoding.settings.max_call_tokens + decoding.max_result_tokens + _CALL_MARGIN
    return decoding.settings.max_new_tokens + decoding.settings.max_calls * call


def _decode(
    rows: Sequence[DecodingRow],
    batch: DecodingBatch,
    opening: Contexts,
    max_rows: int,
    run_calls: RunCalls,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Decode all rows to their ends, behind the `opening` that all prompts share."""
    waiting = _in_order_of_feeding(rows)
    answered: list[DecodingRow] = []
    ended = 0
    while batch.rows or waiting or answered:
        if answered:
            batch.resume(answered)
        elif waiting and len(batch.rows) <= max_rows * _REFILL_BELOW:
            room = max_rows - len(batch.rows)
            entering, waiting = waiting[:room], waiting[room:]
            batch.enter(entering, opening)
        else:
            batch.step()
        asking = batch.take_out()
        if asking:
            results = run_calls([(row.index, call) for row, call in asking])
            for (row, _), result in zip(asking, results, strict=True):
                batch.answer(row, result)
        answered = [row for row, _ in asking if row.stopped_by is None]
        ended_before, ended = ended, len(rows) - len(batch.rows) - len(waiting) - len(answered)
        if progress is not None and ended > ended_before:
            progress(ended, len(rows))


def _in_order_of_feeding(rows: Sequence[DecodingRow]) -> list[DecodingRow]:
    """Behind each row those whose prompts it goes on with; so that little is padded, by length."""
    families: list[list[DecodingRow]] = []
    for row in sorted(rows, key=lambda row: row.pending, reverse=True):
        if families and goes_on_with(families[-1][0].pending, row.pending):
            families[-1].append(row)
        else:
            families.append([row])
    families.sort(key=lambda family: (-len(family[0].pending), family[0].index))
    return [row for family in families for row in family]


def shared_opening(model: Model, rows: Sequence[DecodingRow], *, least: int = 1) -> Contexts:
    """What all prompts begin with, fed once where it has so many tokens."""
    shared = common_opening([row.pending[:-1] for row in rows]) if len(rows) > 1 else []
    opening = model.contexts(1)
    if len(shared) >= least:
        opening.feed([shared])
    return opening


def check_length(model: Model, row: DecodingRow, name: str) -> None:
    """Raise SequenceTooLongError, with a name for the prompt, where it leaves no room."""
    limits = row.decoding.settings
    # Tokens known from a completion without calls are among the new ones.
    start = len(row.pending) - row.prompt_tokens - row.tokens_outside_calls
    max_prompt_tokens = model.context_length - start - max_tokens_after_prompt(row.decoding)
    if row.prompt_tokens > max_prompt_tokens:
        raise SequenceTooLongError(
            f"{name} has {row.prompt_tokens} tokens. Expected at most "
            f"{max(max_prompt_tokens, 0)}: of the model's {model.context_length}, the new tokens "
            f"({limits.max_new_tokens}) and {limits.max_calls} calls of maximum length "
            "need the others. Shorten the prompt or lower max_new_tokens or max_calls."
        )
