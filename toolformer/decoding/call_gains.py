"""Measures how likely calls are to open in texts, and how much the model's own calls gain.

    text:     x_0 … x_{p-1} | x_p x_{p+1} …                    L(text alone), from p on
    call:     x_0 … x_{p-1} [Tool(a) -> r] x_p x_{p+1} …       L(text with the call), from p on
              gain at p = L(text alone) - L(text with the call)

The call is the one that decoding would write at p. The caller runs the tools after `written_calls`
and before `call_gains`.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import NamedTuple

from toolformer.calls import call_ids, call_open_id
from toolformer.decoding.completions import BY_RANK_ONLY, Decoding, TraceStep
from toolformer.decoding.decoder import complete, max_prompt_length
from toolformer.decoding.triggers import NO_CHANCE, CallChance, identify_tool
from toolformer.forward.batching import plan_batches
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.model import Model, TextPosition
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window
from toolformer.scoring.call_scorer import ScoredCall
from toolformer.scoring.losses import scorer_for
from toolformer.settings.annotation_sections import ScoringSettings
from tools.errors import CallSyntaxError
from tools.protocol import ToolCall


def call_chances(
    model: Model,
    windows: Sequence[Window],
    *,
    token_budget: int,
    progress: Callable[[int, int], None],
) -> list[list[CallChance]]:
    """Return rank and probability of ` [` before each token, `NO_CHANCE` inside a character.

    Each text is fed once, without calls.
    """
    chances = [[NO_CHANCE] * len(window.ids) for window in windows]
    open_id = call_open_id(model.tokenizer)
    done = 0
    for batch in plan_batches([len(window.ids) for window in windows], token_budget=token_budget):
        texts = model.read(None, [windows[index] for index in batch])
        positions = [
            TextPosition(row, position)
            for row, index in enumerate(batch)
            for position, offset in enumerate(windows[index].offsets)
            if offset is not None
        ]
        ranks = texts.ranks(positions, open_id)
        for at, (rank, log_probability) in zip(positions, ranks, strict=True):
            chances[batch[at.row]][at.position] = CallChance(rank, math.exp(log_probability))
        done += len(batch)
        progress(done, len(windows))
    return chances


class AnsweredCall(NamedTuple):
    call: ToolCall
    result: str


class WrittenCall(NamedTuple):
    """The call that a model writes after ` [`, None if invalid, and p(` [`) · p(tool | ` [`)."""

    tool: str
    probability: float
    call: ToolCall | None


def written_calls(
    model: Model,
    windows: Sequence[Window],
    positions: Sequence[TextPosition],
    *,
    decoding: Decoding,
    parse_arguments: Callable[[str, str], str],
    progress: Callable[[int, int], None],
) -> dict[TextPosition, WrittenCall]:
    """Return the call that decoding would write at each position; ` [` must be in the top k.

    The call opens whatever its probability, and is undone after its arrow. Positions are omitted
    if the model names no tool there, or if the context has no room for a call.
    """
    # One token after the call is enough, and the caller computes the results later.
    decoding = replace(
        decoding.changed(max_new_tokens=1, max_calls=1, call_attempts=1),
        min_call_probability=BY_RANK_ONLY,
    )
    max_prompt = max_prompt_length(model, decoding)
    fitting = [at for at in positions if at.position <= max_prompt]
    calls: dict[int, ToolCall] = {}

    def record(pending: Sequence[tuple[int, ToolCall]]) -> list[None]:
        calls.update(pending)
        return [None] * len(pending)

    completions = complete(
        model,
        # `prompt_ids` replaces the prompts, and their texts are not used.
        [""] * len(fitting),
        prompt_ids=[windows[at.row].ids[: at.position] for at in fitting],
        decoding=decoding,
        run_calls=record,
        parse_arguments=parse_arguments,
        progress=progress,
    )
    named_tools = (
        _named_tool(completion.trace, model.tokenizer, decoding.enabled_tools)
        for completion in completions
    )
    return {
        at: WrittenCall(*named_tool, calls.get(index))
        for index, (at, named_tool) in enumerate(zip(fitting, named_tools, strict=True))
        if named_tool is not None
    }


def _named_tool(
    trace: Sequence[TraceStep], tokenizer: Tokenizer, tools: Sequence[str]
) -> tuple[str, float] | None:
    """Return the tool of an undone call and its probability; see `identify_tool`."""
    undone: Iterator[TraceStep] = takewhile(lambda step: step.kind == "undone", trace)
    opening = next(undone, None)
    probability, tokens = (opening and opening.call_probability) or 0.0, []
    least = dict.fromkeys(tools, 0.0)
    for step in undone:
        tokens.append(step.token)
        probability *= math.exp(step.log_probability or 0.0)
        try:
            tool = identify_tool(tokenizer.decode_continuation(tokens), probability, least=least)
        except CallSyntaxError:
            return None
        if tool is not None:
            return tool, probability
    return None


def call_gains(
    model: Model,
    windows: Sequence[Window],
    answered: Mapping[TextPosition, AnsweredCall],
    *,
    scoring: ScoringSettings,
    token_budget: int,
    checkpoint: Checkpoint,
    progress: Callable[[int, int], None],
) -> dict[TextPosition, float]:
    """Return by how much each call with its result lowers the loss of the text after it, in nats.

    Calls are scored at their positions, whatever placement `scoring` has. The gain is 0 if a loss
    is not finite, since the filter keeps no such call. Calls that do not fit the model's context
    are omitted. Raise OutOfMemoryError if a single row does not fit the device's memory.
    """
    texts = [windows[text] for text in dict.fromkeys(at.row for at in answered)]
    calls = {
        at: ScoredCall(
            call_id=f"{at.row} {at.position}",
            window=windows[at.row].key,
            position=at.position,
            call=answered_call.call,
            result=answered_call.result,
        )
        for at, answered_call in answered.items()
        if at.position + len(call_ids(model.tokenizer, *answered_call)) + scoring.window_tokens
        <= model.context_length
    }
    scorer = scorer_for(
        model,
        {window.key: window for window in texts},
        # Losses are not negative, so with this threshold each call gets the two losses it needs.
        scoring.model_copy(
            update={
                "placement": "inline",
                "baseline": "without_call",
                "lowest_threshold": 0.0,
                "token_budget": token_budget,
            }
        ),
    )
    losses = scorer.score(list(calls.values()), checkpoint=checkpoint, progress=progress)
    gains = {}
    for at, call in calls.items():
        call_losses = losses[call.call_id]
        with_result = call_losses.loss_with_result
        gain = math.nan if with_result is None else call_losses.loss_without_call - with_result
        gains[at] = gain if math.isfinite(gain) else 0.0
    return gains
