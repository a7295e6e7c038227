"""Candidate calls of one tool for a batch of windows (paper §2, "Sampling API Calls").

One pass over the texts gives p_i at all positions; the m samples at the k chosen positions are then
decoded together over the same keys and values, so no text token is fed twice. A tool may propose
positions, and calls that need no sampling. A text with no more than k proposals, all of them calls,
is not fed: there is nothing to choose, so p_i is not known.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from toolformer.calls import call_open_id
from toolformer.errors import SequenceTooLongError
from toolformer.forward.batching import feed_in_batches, longest_first
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.model import Branch, Model, TextPosition, Texts
from toolformer.forward.windows import SplitPrompt, Window
from toolformer.positions import choose_positions
from toolformer.samples import (
    NOT_PROPOSED,
    PROPOSED_CALL,
    PROPOSED_POSITION,
    CallReader,
    SampledCall,
    branch_uniforms,
    forced_text,
    parse_samples,
    proposed_text,
)
from toolformer.settings.annotation_sections import SamplingSettings
from toolformer.settings.sections import Settings
from toolformer.settings.tool_sections import ToolSettings

if TYPE_CHECKING:
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
    settings: Settings,
    *,
    context_length: int,
) -> None:
    """Raise if a sampled or a scored row may not fit the context; needs no weights.

    Raises:
        SequenceTooLongError: with the window size that would fit, or the prompt where none does.
    """
    window_tokens = settings.corpus.window_tokens
    max_new_tokens = settings.sampling.max_new_tokens
    max_result_tokens = settings.execution.max_result_tokens
    shared = shared_tokens(tokenizer, prompt)
    # The text stands in the prompt and again as the beginning of the output. Tokenised inside
    # the prompt it can come out a little longer than alone.
    copies = 1 if prompt is None else 2
    # Brackets, the tool's name and the arrow of each call are not counted in its limits.
    is_chained = settings.sampling.is_chained
    first = max_new_tokens + max_result_tokens + 16 if is_chained else 0
    rows = (
        (
            copies,
            shared + first + max_new_tokens,
            f"A prompt of {shared} tokens ({tool_name}), a window of {window_tokens} ({copies}×)",
            f"a call of {max_new_tokens}",
        ),
        (
            1,
            first + max_new_tokens + max_result_tokens,
            f"A window of {window_tokens} tokens",
            f"a call of {max_new_tokens} with a result of {max_result_tokens} ({tool_name})",
        ),
    )
    needed, text, call = max(
        (others + copies * window_tokens + 16 + window_tokens // 16, text, call)
        for copies, others, text, call in rows
    )
    if needed <= context_length:
        return
    fitting = min(
        (16 * (context_length - others - 16) + 15) // (16 * copies + 1)
        for copies, others, *_ in rows
    )
    figures = (
        f"{text}{f', a first call of {first} with its result' if first else ''} and {call} need "
        f"{needed} tokens, but the model takes {context_length}."
    )
    if fitting >= _SMALLEST_WINDOW:
        raise SequenceTooLongError(
            f"{figures} Set corpus.window_tokens to at most {fitting}, or shorten the prompt "
            f"(tools.{tool_name}.prompt)."
        )
    raise SequenceTooLongError(
        f"{figures} Beside these no window fits: set tools.{tool_name}.prompt to a shorter "
        "file or to short, lower sampling.max_new_tokens or execution.max_result_tokens, or take a "
        "model with a longer context (language_model.path)."
    )


def shared_tokens(tokenizer: "Tokenizer", prompt: str | None) -> int:
    """Tokens of a prompt up to its text."""
    return 0 if prompt is None else len(SplitPrompt.of(prompt).shared_ids(tokenizer))


def sample_calls(
    model: Model,
    prompt: str | None,
    windows: Sequence[Window],
    *,
    tool_name: str,
    takes_arguments: bool,
    parse_arguments: Callable[[str], str],
    tool: ToolSettings,
    sampling: SamplingSettings,
    proposed: Sequence[ProposedCalls] | None = None,
    branches: list[Branch] | None = None,
) -> list[SampledCall]:
    """Sample the calls of one tool for a batch of windows.

    Args:
        prompt: the tool's few-shot prompt; None to leave it out.
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
    is_settled = sampling.is_constrained and not takes_arguments
    allowed = [allowed_positions(window) for window in windows]
    if proposed is not None:
        allowed = [
            [is_allowed and position in row_proposals for position, is_allowed in enumerate(places)]
            for places, row_proposals in zip(allowed, proposed, strict=True)
        ]
    # Nothing is asked of a text behind the last place where a call may stand.
    read = [
        window.up_to(_last(places) + 1) for window, places in zip(windows, allowed, strict=True)
    ]
    texts = model.read(prompt, read)
    chosen = _choose(texts, call_open_id(model.tokenizer), allowed, tool, proposed)
    sampled = [] if is_settled else [each for each in chosen if each.arguments is None]
    for each in sampled:
        window = windows[each.place.row]
        each.branches = [
            Branch(
                branch_uniforms(
                    sampling.seed,
                    window.document_id,
                    window.index,
                    tool_name,
                    each.place.position,
                    sample_index,
                    count=sampling.max_new_tokens,
                )
            )
            for sample_index in range(tool.calls_per_position)
        ]
    # Neither end of a text nor another special token is text, so none is part of a call.
    ends = model.end_ids | model.tokenizer.special_ids
    reader, token_text = CallReader(sampling.is_constrained), model.tokenizer.token_text
    if sampled:
        texts.sample(
            [each.place for each in sampled],
            [each.branches for each in sampled],
            forced_ids=model.tokenizer.encode_pieces(
                forced_text(tool_name, is_constrained=sampling.is_constrained)
            ),
            max_new_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            may_finish=lambda token: token in ends or reader.may_finish(token_text(token)),
            is_finished=lambda branch: (
                branch.tokens[-1] in ends or reader.is_finished(branch.token_texts)
            ),
        )
    if branches is not None:
        branches += itertools.chain.from_iterable(each.branches for each in sampled)
    return [
        row
        for each in chosen
        for row in parse_samples(
            windows[each.place.row],
            each.place.position,
            each.call_probability,
            each.texts(model.tokenizer, tool_name, ends),
            tool_name=tool_name,
            parse_arguments=parse_arguments,
            sampling=sampling,
            proposed=each.proposed(is_chosen_by_tool=proposed is not None),
        )
    ]


def allowed_positions(window: Window) -> list[bool]:
    """Return per position whether a call may stand there.

    A call may stand where a character begins, unless a `[` of the text follows.
    """
    return [
        offset is not None and not window.text[offset:].lstrip(" ").startswith("[")
        for offset in window.offsets
    ]


def sample_shard(
    model: Model,
    prompt: str | None,
    windows: Sequence[Window],
    *,
    tool_name: str,
    takes_arguments: bool,
    parse_arguments: Callable[[str], str],
    tool: ToolSettings,
    sampling: SamplingSettings,
    window_tokens: int,
    checkpoint: Checkpoint,
    progress: Callable[[int, int], None],
    proposed: Sequence[ProposedCalls] | None = None,
) -> list[SampledCall]:
    """Sample the calls of one tool for all windows of a shard, batch by batch.

    Windows of like length are sampled together, and the batches follow from the windows alone,
    never from what happens to be left to do: numbers are bit-equal only in equal batches.

    Args:
        model, tool_name, takes_arguments, parse_arguments, tool, sampling: see `sample_calls`.
        windows: windows of the shard's preselected texts.
        proposed: see `sample_calls`; one for each window. Where a tool proposes at most k calls,
            all are taken without a pass of the model, and without p_i.

    Returns:
        One row per sample, in the order of the windows.

    Raises:
        SequenceTooLongError: a row does not fit the model's context; see `check_context`.
        OutOfMemoryError: a single window does not fit the device's memory.
    """
    index_of = {window.key: index for index, window in enumerate(windows)}
    rows: list[SampledCall] = []
    if proposed is not None:
        open_choices: list[tuple[Window, ProposedCalls]] = []
        for window, calls in zip(windows, proposed, strict=True):
            allowed = itertools.compress(itertools.count(), allowed_positions(window))
            placed = {position: calls[position] for position in allowed if position in calls}
            if len(placed) > tool.positions_per_text or None in placed.values():
                open_choices.append((window, placed))
                continue
            for position, arguments in placed.items():
                rows += parse_samples(
                    window,
                    position,
                    None,
                    [proposed_text(tool_name, str(arguments))],
                    tool_name=tool_name,
                    parse_arguments=parse_arguments,
                    sampling=sampling,
                    proposed=PROPOSED_CALL,
                )
        windows = [window for window, _ in open_choices]
        proposed = [placed for _, placed in open_choices]
    branches = tool.positions_per_text * tool.calls_per_position
    # The text stands in the prompt and behind it, and both are held twice for a moment.
    keys = shared_tokens(model.tokenizer, prompt) + 4 * window_tokens
    keys += branches * sampling.max_new_tokens
    # Stored, so that a resumed shard goes on with it, whatever memory is free by then.
    geometry = checkpoint.step(
        "geometry",
        lambda: {
            "windows_per_batch": sampling.windows_per_batch
            or model.windows_per_batch(windows=len(windows), branches=branches, keys=keys)
        },
    )
    order = longest_first([len(window.ids) for window in windows])
    batches = feed_in_batches(
        len(windows),
        size=geometry["windows_per_batch"],
        end_of_batch=lambda start, size: min(start + size, len(windows)),
        compute=lambda start, end: [
            asdict(row)
            for row in sample_calls(
                model,
                prompt,
                [windows[index] for index in order[start:end]],
                tool_name=tool_name,
                takes_arguments=takes_arguments,
                parse_arguments=parse_arguments,
                tool=tool,
                sampling=sampling,
                proposed=proposed and [proposed[index] for index in order[start:end]],
            )
        ],
        checkpoint=checkpoint,
        label="sampled",
    )
    for _, end, stored in batches:
        rows.extend(SampledCall(**row) for row in stored)
        progress(end, len(windows))
    return sorted(
        rows,
        key=lambda row: (
            index_of[row.document_id, row.window_index],
            row.position,
            row.sample_index,
        ),
    )


@dataclass(slots=True)
class _ChosenPosition:
    """A position that gets calls.

    Attributes:
        arguments: arguments of the call that the tool proposes there; None where calls are sampled.
        branches: what is sampled there; none where the call is settled.
    """

    place: TextPosition
    call_probability: float
    arguments: str | None
    branches: list[Branch] = field(default_factory=list)

    def texts(self, tokenizer: "Tokenizer", tool_name: str, ends: AbstractSet[int]) -> list[str]:
        """What stands behind the forced text in each of its samples."""
        if self.arguments is not None:
            return [proposed_text(tool_name, self.arguments)]
        return [
            tokenizer.decode_continuation([token for token in branch.tokens if token not in ends])
            for branch in self.branches
        ] or [")"]

    def proposed(self, *, is_chosen_by_tool: bool) -> str:
        if self.arguments is not None:
            return PROPOSED_CALL
        return PROPOSED_POSITION if is_chosen_by_tool else NOT_PROPOSED


def _choose(
    texts: Texts,
    open_id: int,
    allowed: Sequence[Sequence[bool]],
    tool: ToolSettings,
    proposed: Sequence[ProposedCalls] | None,
) -> list[_ChosenPosition]:
    """The positions of all windows that get calls, in their order.

    Args:
        allowed: only proposed ones where the tool proposes some.
    """
    places = [
        TextPosition(row, position)
        for row, row_allowed in enumerate(allowed)
        for position in itertools.compress(itertools.count(), row_allowed)
    ]
    probabilities = [[0.0] * len(row_allowed) for row_allowed in allowed]
    # A position below the threshold is not chosen, but where the tool proposes it.
    threshold = tool.sampling_threshold if proposed is None else -math.inf
    losses = texts.losses(
        [(place, open_id) for place in places],
        min_probability=max(threshold, 0.0),
        most=tool.positions_per_text,
    )
    for place, loss in zip(places, losses, strict=True):
        probabilities[place.row][place.position] = math.exp(-loss)
    return [
        _ChosenPosition(
            TextPosition(row, position),
            row_probabilities[position],
            proposed[row].get(position) if proposed else None,
        )
        for row, row_probabilities in enumerate(probabilities)
        for position in choose_positions(
            row_probabilities,
            sampling_threshold=threshold,
            positions_per_text=tool.positions_per_text,
            is_allowed=allowed[row],
        )
    ]


def _last(places: Sequence[bool]) -> int:
    """The last position that is allowed; 0 where none is, since no window is empty."""
    return max(itertools.compress(itertools.count(), places), default=0)
