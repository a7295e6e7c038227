"""What the calls that a model writes itself gain at given places of texts, in nats.

    text:     x_0 … x_{p-1} | x_p x_{p+1} …                    L(text alone), from p on
    call:     x_0 … x_{p-1} [Tool(a) -> r] x_p x_{p+1} …       L(text with the call), from p on
              gain at p = L(text alone) - L(text with the call)

The call is the one that decoding would write at p. The caller runs the tools in between.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import NamedTuple

from toolformer.calls import call_ids
from toolformer.decoding.completions import BY_RANK_ALONE, Decoding, TraceStep
from toolformer.decoding.decoder import complete, longest_prompt_tokens
from toolformer.decoding.triggers import tool_meant
from toolformer.filtering import Baseline
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.model import Model, Place
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window
from toolformer.scoring.call_scorer import Pruning, ScoringParameters
from toolformer.scoring.loss_form import LossForm, Placement
from toolformer.scoring.losses import scorer_for
from toolformer.scoring.scored_call import ScoredCall
from tools.errors import CallSyntaxError
from tools.protocol import ToolCall


class AnsweredCall(NamedTuple):
    """A call and its result, one line without markers."""

    call: ToolCall
    result: str


class WrittenCall(NamedTuple):
    """What a model writes where a call opens.

    Attributes:
        probability: p(` [`) · p(tool | ` [`).
        call: None where what follows the name is no call that could be made.
    """

    tool: str
    probability: float
    call: ToolCall | None


def written_calls(
    model: Model,
    windows: Sequence[Window],
    places: Sequence[Place],
    *,
    decoding: Decoding,
    parse_arguments: Callable[[str, str], str],
    progress: Callable[[int, int], None],
) -> dict[Place, WrittenCall]:
    """The calls that decoding would make if it opened one at each place.

    Behind the text in front of a place the model goes on to the arrow; the call is then noted and
    taken back, with which the text ends. A text is fed once for places that are decoded together.

    Args:
        places: in them, of which k allows a call.
        decoding: the decoding that is asked about; a call is opened whatever its
            probability.
        parse_arguments: see `toolformer.decoding.decoder.complete`.

    Returns:
        By place; none where what the model writes names none of the tools, or where there is no
        room for a call in the model's context.
    """
    # One token behind the call, or in its place, ends the text. Whether a call has a result is
    # known later.
    decoding = replace(
        decoding.changed(max_new_tokens=1, max_calls=1, call_attempts=1),
        min_call_probability=BY_RANK_ALONE,
    )
    max_prompt = longest_prompt_tokens(model, decoding)
    roomy = [place for place in places if place.position <= max_prompt]
    calls: dict[int, ToolCall] = {}

    def note(asked: Sequence[tuple[int, ToolCall]]) -> list[None]:
        calls.update(asked)
        return [None] * len(asked)

    completions = complete(
        model,
        # What is fed are the tokens; nobody reads the prompts of these completions.
        [""] * len(roomy),
        prompt_ids=[windows[place.row].ids[: place.position] for place in roomy],
        decoding=decoding,
        run_calls=note,
        parse_arguments=parse_arguments,
        progress=progress,
    )
    named = (
        _named_tool(completion.trace, model.tokenizer, decoding.enabled_tools)
        for completion in completions
    )
    return {
        place: WrittenCall(*found, calls.get(index))
        for index, (place, found) in enumerate(zip(roomy, named, strict=True))
        if found is not None
    }


def _named_tool(
    trace: Sequence[TraceStep], tokenizer: Tokenizer, tools: Sequence[str]
) -> tuple[str, float] | None:
    """The tool whose call was taken back, and its probability; see `tool_meant`."""
    undone: Iterator[TraceStep] = takewhile(lambda step: step.kind == "undone", trace)
    opening = next(undone, None)
    probability, tokens = (opening and opening.call_probability) or 0.0, []
    least = dict.fromkeys(tools, 0.0)
    for step in undone:
        tokens.append(step.token)
        probability *= math.exp(step.log_probability or 0.0)
        try:
            tool = tool_meant(tokenizer.decode_behind(tokens), probability, least=least)
        except CallSyntaxError:
            return None
        if tool is not None:
            return tool, probability
    return None


def call_gains(
    model: Model,
    windows: Sequence[Window],
    answered: Mapping[Place, AnsweredCall],
    *,
    weights: tuple[float, ...],
    token_budget: int,
    checkpoint: Checkpoint,
    progress: Callable[[int, int], None],
) -> dict[Place, float]:
    """By how much each call with its result lowers the loss of the text behind it.

    Args:
        weights: weights of the tokens from a place on.

    Returns:
        By place, in nats; none where call and text do not fit the model's context, and 0 where a
        loss is not finite, as the filter keeps no such call.

    Raises:
        OutOfMemoryError: a single row does not fit the device's memory.
    """
    texts = [windows[text] for text in dict.fromkeys(place.row for place in answered)]
    calls = {
        place: ScoredCall(
            call_id=f"{place.row} {place.position}",
            window=windows[place.row].key,
            position=place.position,
            call=answered_call.call,
            result=answered_call.result,
        )
        for place, answered_call in answered.items()
        if place.position + len(call_ids(model.tokenizer, *answered_call)) + len(weights)
        <= model.context_length
    }
    scorer = scorer_for(
        model,
        {window.key: window for window in texts},
        ScoringParameters(LossForm(Placement.INLINE, weights), token_budget),
    )
    losses = scorer.score(
        list(calls.values()),
        pruning=Pruning(-math.inf, baseline=Baseline.WITHOUT_CALL),
        checkpoint=checkpoint,
        progress=progress,
    )
    gains = {}
    for place, call in calls.items():
        call_losses = losses[call.call_id]
        with_result = call_losses.loss_with_result
        gain = math.nan if with_result is None else call_losses.loss_without_call - with_result
        gains[place] = gain if math.isfinite(gain) else 0.0
    return gains
