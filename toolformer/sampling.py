"""Candidate calls of one tool for a batch of windows (paper §2, "Sampling API Calls").

One pass over the texts gives p_i at all positions; the m samples at the k chosen positions are then
decoded together over the same keys and values, so no text token is fed twice. A tool may propose
positions, and calls that need no sampling.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from toolformer.branches import Branch, sample_branches
from toolformer.calls import call_open_ids
from toolformer.errors import SequenceTooLongError
from toolformer.forward.batching import longest_first
from toolformer.forward.branch_keys import BranchKeys
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.geometry import choose_windows_per_batch, feed_in_batches
from toolformer.forward.language_model import LOGIT_ROWS, LanguageModel
from toolformer.forward.prefill import ReadTexts
from toolformer.forward.prefix_cache import PromptPrefix, SplitPrompt, prompt_prefix
from toolformer.forward.windows import Window
from toolformer.positions import choose_positions
from toolformer.samples import (
    NOT_PROPOSED,
    PROPOSED_CALL,
    PROPOSED_POSITION,
    CallReader,
    SampledCall,
    SamplingParameters,
    branch_uniforms,
    forced_text,
    proposed_text,
    read_samples,
)

if TYPE_CHECKING:
    import torch

    from toolformer.forward.tokenization import Tokenizer

# The smallest that corpus.window_tokens may be.
_SMALLEST_WINDOW = 8

# Positions that a tool proposes in a window, each with the arguments of the call proposed there;
# without arguments the call is sampled.
ProposedCalls = Mapping[int, str | None]


def check_context(
    tool_name: str,
    prompt: str | None,
    tokenizer: "Tokenizer",
    *,
    window_tokens: int,
    max_new_tokens: int,
    context_length: int,
) -> None:
    """Make sure that prompt, text and call fit the context; needs no weights.

    Raises:
        SequenceTooLongError: with the window size that would fit, or the prompt where none does.
    """
    shared = 0 if prompt is None else len(tokenizer.encode(SplitPrompt.of(prompt).prefix))
    # The text stands in the prompt and again as the beginning of the output. Tokenised inside
    # the prompt it can come out a little longer than alone.
    copies = 1 if prompt is None else 2
    slack = 16 + window_tokens // 16
    needed = shared + copies * window_tokens + max_new_tokens + slack
    if needed <= context_length:
        return
    fitting = (context_length - shared - max_new_tokens - 16) * 16 // (16 * copies + 1)
    figures = (
        f"A prompt of {shared} tokens ({tool_name}), a window of {window_tokens} ({copies}×) and a "
        f"call of {max_new_tokens} need {needed} tokens, but the model takes {context_length}."
    )
    if fitting >= _SMALLEST_WINDOW:
        raise SequenceTooLongError(
            f"{figures} Set corpus.window_tokens to at most {fitting}, or shorten the prompt "
            f"(tools.{tool_name}.prompt)."
        )
    raise SequenceTooLongError(
        f"{figures} Beside that prompt no window fits: set tools.{tool_name}.prompt to a shorter "
        "file or to short, lower sampling.max_new_tokens, or take a model with a longer context "
        "(language_model.path)."
    )


def sample_calls(
    model: LanguageModel,
    prefix: PromptPrefix,
    windows: Sequence[Window],
    *,
    tool_name: str,
    takes_arguments: bool,
    parse_arguments: Callable[[str], str],
    parameters: SamplingParameters,
    proposed: Sequence[ProposedCalls] | None = None,
    branches: list[Branch] | None = None,
) -> list[SampledCall]:
    """Sample the calls of one tool for a batch of windows.

    Args:
        windows: fed together; all with at least one token.
        takes_arguments: whether there is anything to sample after `Tool(`. If not, a constrained
            call is settled once its position is chosen, and each position has one sample.
        parse_arguments: the tool's own check, raising CallSyntaxError.
        proposed: what the tool proposes in each window: among these positions the k of largest
            p_i are taken, whatever τ_s is. None where p_i alone chooses.
        branches: gets what was sampled, token by token, in the order of its rows.

    Returns:
        One row per sample or proposed call, by window, position and sample index.
    """
    import torch

    forced_ids = model.tokenizer.encode_pieces(
        forced_text(tool_name, is_constrained=parameters.is_constrained)
    )
    is_settled = parameters.is_constrained and not takes_arguments
    with torch.inference_mode():
        allowed = [allowed_positions(window) for window in windows]
        if proposed is not None:
            allowed = [
                [
                    is_allowed and position in row_proposals
                    for position, is_allowed in enumerate(places)
                ]
                for places, row_proposals in zip(allowed, proposed, strict=True)
            ]
        # Nothing is asked of a text behind the last place where a call may stand.
        read = [
            window.up_to(_last(places) + 1) for window, places in zip(windows, allowed, strict=True)
        ]
        texts = ReadTexts(model, prefix, read)
        chosen, keys = _choose(model, texts, allowed, parameters, proposed)
        sampled_at = [place for place in chosen if place.arguments is None]
        groups = [
            [
                Branch(
                    branch_uniforms(
                        parameters.seed,
                        windows[place.row].document_id,
                        windows[place.row].index,
                        tool_name,
                        place.position,
                        sample_index,
                        count=parameters.max_new_tokens,
                    )
                )
                for sample_index in range(parameters.calls_per_position)
            ]
            for place in sampled_at
        ]
        if sampled_at and not is_settled:
            sample_branches(
                model,
                keys,
                groups,
                parents=[place.node for place in sampled_at],
                # All tokens of ` [` but the last are fed already.
                forced_ids=forced_ids[len(call_open_ids(model.tokenizer)) - 1 :],
                max_new_tokens=parameters.max_new_tokens,
                temperature=parameters.temperature,
                is_finished=CallReader(parameters.is_constrained).is_finished,
            )
    if branches is not None:
        branches += itertools.chain.from_iterable(groups)
    rows: list[SampledCall] = []
    remaining = iter(groups)
    for place in chosen:
        if place.arguments is not None:
            sampled = [proposed_text(tool_name, place.arguments)]
        else:
            group = next(remaining)
            sampled = (
                [")"]
                if is_settled
                else [model.tokenizer.decode_behind(branch.tokens) for branch in group]
            )
        rows.extend(
            read_samples(
                windows[place.row],
                place.position,
                place.call_probability,
                sampled,
                tool_name=tool_name,
                parse_arguments=parse_arguments,
                parameters=parameters,
                proposed=_how_proposed(place, is_chosen_by_tool=proposed is not None),
            )
        )
    return rows


def allowed_positions(window: Window) -> list[bool]:
    """Where a call may stand.

    At the beginning of a character, not before a `[` of the text, and not in a sentence that lost
    something when it was read.
    """
    allowed = []
    for offset in window.offsets:
        is_before_bracket = offset is not None and window.text[offset:].lstrip(" ").startswith("[")
        is_damaged = offset is not None and any(
            start <= window.start + offset < stop for start, stop in window.damaged_spans
        )
        allowed.append(offset is not None and not is_before_bracket and not is_damaged)
    return allowed


def sample_shard(
    model: LanguageModel,
    prompt: str | None,
    windows: Sequence[Window],
    *,
    tool_name: str,
    takes_arguments: bool,
    parse_arguments: Callable[[str], str],
    parameters: SamplingParameters,
    window_tokens: int,
    checkpoint: Checkpoint,
    progress: Callable[[int, int], None],
    windows_per_batch: int | None = None,
    proposed: Sequence[ProposedCalls] | None = None,
) -> list[SampledCall]:
    """Sample the calls of one tool for all windows of a shard, batch by batch.

    Windows of like length are sampled together, and the batches follow from the windows alone,
    never from what happens to be left to do: numbers are bit-equal only in equal batches.

    Args:
        model, tool_name, takes_arguments, parse_arguments, parameters: see `sample_calls`.
        prompt: the tool's few-shot prompt; None to leave it out.
        windows: windows of the shard's preselected texts.
        windows_per_batch: fed together; chosen for the device by default.
        proposed: see `sample_calls`; one for each window.

    Returns:
        One row per sample, in the order of the windows.

    Raises:
        SequenceTooLongError: prompt, text and call do not fit the model's context.
        OutOfMemoryError: a single window does not fit the device's memory.
    """
    if proposed is not None:
        with_calls = [
            (window, calls) for window, calls in zip(windows, proposed, strict=True) if calls
        ]
        windows, proposed = [window for window, _ in with_calls], [calls for _, calls in with_calls]
    check_context(
        tool_name,
        prompt,
        model.tokenizer,
        window_tokens=window_tokens,
        max_new_tokens=parameters.max_new_tokens,
        context_length=model.context_length,
    )
    prefix = prompt_prefix(model, prompt)
    # Stored, so that a resumed shard goes on with it, whatever memory is free by then.
    geometry = checkpoint.step(
        "geometry",
        lambda: {
            "windows_per_batch": windows_per_batch
            or choose_windows_per_batch(
                model,
                windows=len(windows),
                branches_per_window=parameters.positions_per_text * parameters.calls_per_position,
                window_tokens=window_tokens,
                prompt_tokens=prefix.length,
                max_new_tokens=parameters.max_new_tokens,
            ),
        },
    )
    order = longest_first([len(window.ids) for window in windows])
    rows: list[SampledCall] = []
    batches = feed_in_batches(
        len(windows),
        size=geometry["windows_per_batch"],
        end_of_batch=lambda start, size: min(start + size, len(windows)),
        compute=lambda start, end: [
            asdict(row)
            for row in sample_calls(
                model,
                prefix,
                [windows[index] for index in order[start:end]],
                tool_name=tool_name,
                takes_arguments=takes_arguments,
                parse_arguments=parse_arguments,
                parameters=parameters,
                proposed=proposed and [proposed[index] for index in order[start:end]],
            )
        ],
        checkpoint=checkpoint,
        label="sampled",
    )
    for _, end, stored in batches:
        rows.extend(SampledCall(**row) for row in stored)
        progress(end, len(windows))
    index_of = {(window.document_id, window.index): index for index, window in enumerate(windows)}
    return sorted(
        rows,
        key=lambda row: (
            index_of[row.document_id, row.window_index],
            row.position,
            row.sample_index,
        ),
    )


@dataclass(frozen=True, slots=True)
class _ChosenPosition:
    """A position that gets calls.

    Attributes:
        node: node of the branch keys behind which its calls go on.
        arguments: arguments of the call that the tool proposes there; None where calls are sampled.
    """

    row: int
    position: int
    call_probability: float
    node: int
    arguments: str | None


def _how_proposed(chosen: _ChosenPosition, *, is_chosen_by_tool: bool) -> str:
    if chosen.arguments is not None:
        return PROPOSED_CALL
    return PROPOSED_POSITION if is_chosen_by_tool else NOT_PROPOSED


def _choose(
    model: LanguageModel,
    texts: ReadTexts,
    allowed: Sequence[Sequence[bool]],
    parameters: SamplingParameters,
    proposed: Sequence[ProposedCalls] | None,
) -> tuple[list[_ChosenPosition], BranchKeys]:
    """The positions of all windows, and the keys to go on with.

    Where `" ["` is several tokens, p_i is the product of their probabilities, and each but the last
    is fed behind every position that its factors so far leave above the threshold.
    """
    import torch

    open_ids = call_open_ids(model.tokenizer)
    places = [list(itertools.compress(itertools.count(), is_allowed)) for is_allowed in allowed]
    states = torch.cat(
        [text_states[at] for text_states, at in zip(texts.states, places, strict=True)]
    )
    threshold = parameters.sampling_threshold if proposed is None else -math.inf
    probability_of = {
        (row, position): probability
        for (row, position), probability in zip(
            ((row, position) for row, at in enumerate(places) for position in at),
            _next_token_probabilities(model, states, open_ids[0]),
            strict=True,
        )
        if probability > threshold
    }
    keys = texts.branch_keys([texts.start(*place) for place in probability_of])
    # No pair where ` [` is one token.
    for token, following in itertools.pairwise(open_ids if probability_of else []):
        states = keys.feed(range(len(probability_of)), [[token]] * len(probability_of))
        factors = _next_token_probabilities(model, states, following)
        for place, factor in zip(probability_of, factors, strict=True):
            probability_of[place] *= factor
    probabilities = [[0.0] * len(is_allowed) for is_allowed in allowed]
    for (row, position), probability in probability_of.items():
        probabilities[row][position] = probability
    node_of = {place: node for node, place in enumerate(probability_of)}
    chosen = [
        _ChosenPosition(
            row,
            position,
            row_probabilities[position],
            node_of[row, position],
            proposed[row].get(position) if proposed else None,
        )
        for row, row_probabilities in enumerate(probabilities)
        for position in choose_positions(
            row_probabilities,
            sampling_threshold=parameters.sampling_threshold,
            positions_per_text=parameters.positions_per_text,
            is_allowed=allowed[row],
            proposed=proposed and proposed[row],
        )
    ]
    return chosen, keys


def _last(places: Sequence[bool]) -> int:
    """The last position that is allowed; 0 where none is, since no window is empty."""
    return max(itertools.compress(itertools.count(), places), default=0)


def _next_token_probabilities(
    model: LanguageModel, states: "torch.Tensor", token: int
) -> list[float]:
    """The probability of a token behind each state; these have shape `(n, hidden)`."""
    import torch
    from torch.nn.functional import cross_entropy

    wanted = torch.full((len(states),), token, device=states.device)
    probabilities: list[float] = []
    for start in range(0, len(states), LOGIT_ROWS):
        chunk = slice(start, start + LOGIT_ROWS)
        losses = cross_entropy(model.logits(states[chunk]), wanted[chunk], reduction="none")
        probabilities.extend((-losses).exp().tolist())
    return probabilities
