"""Samples candidate calls of one tool for windows of texts (paper §2, "Sampling API Calls").

One pass over a text gives p_i at all positions. The m samples at the k chosen positions are then
decoded together from the same KV cache. A tool may propose positions, or whole calls that need no
sampling. A text with at most k proposals, all of them whole calls, is not fed, so its p_i are
unknown.
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

# Minimum of the setting corpus.window_tokens.
_MIN_WINDOW_TOKENS = 8

# {position in a window: arguments of the call that the tool proposes, or None to sample a call}
ProposedCalls = Mapping[int, str | None]


def check_context(
    tool_name: str,
    prompt: str | None,
    tokenizer: "Tokenizer",
    settings: Settings,
    *,
    context_length: int,
) -> None:
    """Raise SequenceTooLongError if a row for sampling or scoring may exceed the context.

    Needs no weights, so it can run before the model is loaded.
    """
    window_tokens = settings.corpus.window_tokens
    max_new_tokens = settings.sampling.max_new_tokens
    max_result_tokens = settings.execution.max_result_tokens
    prompt_tokens = shared_tokens(tokenizer, prompt)
    # The text occurs in the prompt and again at the start of the output. Inside the prompt, it can
    # have slightly more tokens, hence the margin of a sixteenth below.
    copies = 1 if prompt is None else 2
    # The limits of a call exclude its brackets, the tool's name and the arrow: 16 more tokens.
    is_chained = settings.sampling.is_chained
    first_call_tokens = max_new_tokens + max_result_tokens + 16 if is_chained else 0
    rows = (
        (
            copies,
            prompt_tokens + first_call_tokens + max_new_tokens,
            f"A prompt of {prompt_tokens} tokens ({tool_name}), "
            f"a window of {window_tokens} ({copies}×)",
            f"a call of {max_new_tokens}",
        ),
        (
            1,
            first_call_tokens + max_new_tokens + max_result_tokens,
            f"A window of {window_tokens} tokens",
            f"a call of {max_new_tokens} with a result of {max_result_tokens} ({tool_name})",
        ),
    )
    needed, text, call = max(
        (other_tokens + copies * window_tokens + 16 + window_tokens // 16, text, call)
        for copies, other_tokens, text, call in rows
    )
    if needed <= context_length:
        return
    fitting = min(
        (16 * (context_length - other_tokens - 16) + 15) // (16 * copies + 1)
        for copies, other_tokens, *_ in rows
    )
    first_call = f", a first call of {first_call_tokens} with its result" if is_chained else ""
    figures = (
        f"{text}{first_call} and {call} need "
        f"{needed} tokens. Expected at most {context_length}, the model's context length."
    )
    if fitting >= _MIN_WINDOW_TOKENS:
        raise SequenceTooLongError(
            f"{figures} Set corpus.window_tokens to at most {fitting}, or shorten the prompt "
            f"(tools.{tool_name}.prompt)."
        )
    raise SequenceTooLongError(
        f"{figures} With these limits no window fits. Set tools.{tool_name}.prompt to a shorter "
        "file or to short, lower sampling.max_new_tokens or execution.max_result_tokens, or choose "
        "a model with a longer context (language_model.path)."
    )


def shared_tokens(tokenizer: "Tokenizer", prompt: str | None) -> int:
    """Return the number of tokens of a prompt before its text."""
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
    """Sample the calls of one tool for a batch of windows, which are fed together.

    Args:
        prompt: the tool's few-shot prompt; None to omit it.
        takes_arguments: whether the tool has arguments to sample after `Tool(`. If not, constrained
            sampling returns one call per position.
        parse_arguments: parser of the tool, which may raise CallSyntaxError.
        proposed: proposals of the tool per window. The k proposed positions with the largest p_i
            are chosen, whatever τ_s is. None to choose among all positions.
        branches: list to append the sampled tokens to, in the order of the returned rows.
    """
    needs_no_tokens = sampling.is_constrained and not takes_arguments
    allowed = [allowed_positions(window) for window in windows]
    if proposed is not None:
        allowed = [
            [is_allowed and at in row_proposals for at, is_allowed in enumerate(row_allowed)]
            for row_allowed, row_proposals in zip(allowed, proposed, strict=True)
        ]
    # A text is only needed up to the last position that may have a call.
    needed = [
        window.up_to(_last(row_allowed) + 1)
        for window, row_allowed in zip(windows, allowed, strict=True)
    ]
    texts = model.read(prompt, needed)
    chosen = _choose(texts, call_open_id(model.tokenizer), allowed, tool, proposed)
    sampled = [] if needs_no_tokens else [choice for choice in chosen if choice.arguments is None]
    for choice in sampled:
        window = windows[choice.at.row]
        choice.branches = [
            Branch(
                branch_uniforms(
                    sampling.seed,
                    window.document_id,
                    window.index,
                    tool_name,
                    choice.at.position,
                    sample_index,
                    count=sampling.max_new_tokens,
                )
            )
            for sample_index in range(tool.calls_per_position)
        ]
    # Special tokens are not text, so no call contains one.
    ends = model.end_ids | model.tokenizer.special_ids
    reader, token_text = CallReader(sampling.is_constrained), model.tokenizer.token_text
    if sampled:
        texts.sample(
            [choice.at for choice in sampled],
            [choice.branches for choice in sampled],
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
        branches += itertools.chain.from_iterable(choice.branches for choice in sampled)
    return [
        row
        for choice in chosen
        for row in parse_samples(
            windows[choice.at.row],
            choice.at.position,
            choice.call_probability,
            choice.texts(model.tokenizer, tool_name, ends),
            tool_name=tool_name,
            parse_arguments=parse_arguments,
            sampling=sampling,
            proposed=choice.proposed(is_chosen_by_tool=proposed is not None),
        )
    ]


def allowed_positions(window: Window) -> list[bool]:
    """Return whether each position may have a call: a character begins and no `[` follows."""
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
    """Sample the calls of one tool for all windows of a shard, in batches; see `sample_calls`.

    Windows of similar lengths are sampled together. Batches depend on all windows of the shard, not
    on the remaining work, because results are bit-equal only in equal batches. If a tool proposes
    at most k calls in a window, all with arguments, they are used without feeding the window. Raise
    OutOfMemoryError if a single window does not fit the device's memory.
    """
    index_of = {window.key: index for index, window in enumerate(windows)}
    rows: list[SampledCall] = []
    if proposed is not None:
        windows_to_feed: list[tuple[Window, ProposedCalls]] = []
        for window, calls in zip(windows, proposed, strict=True):
            allowed = itertools.compress(itertools.count(), allowed_positions(window))
            allowed_calls = {position: calls[position] for position in allowed if position in calls}
            if len(allowed_calls) > tool.positions_per_text or None in allowed_calls.values():
                windows_to_feed.append((window, allowed_calls))
                continue
            for position, arguments in allowed_calls.items():
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
        windows = [window for window, _ in windows_to_feed]
        proposed = [allowed_calls for _, allowed_calls in windows_to_feed]
    branches = tool.positions_per_text * tool.calls_per_position
    # Four times the text: it occurs in the prompt and after it, and both are briefly copied.
    keys = shared_tokens(model.tokenizer, prompt) + 4 * window_tokens
    keys += branches * sampling.max_new_tokens
    # Stored so that a resumed shard keeps its batches, however much memory is free by then.
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
    """A position that gets calls: the proposed one if `arguments` is set, or one per branch."""

    at: TextPosition
    call_probability: float
    arguments: str | None
    branches: list[Branch] = field(default_factory=list)

    def texts(self, tokenizer: "Tokenizer", tool_name: str, ends: AbstractSet[int]) -> list[str]:
        """Return the samples without their forced text, or the proposed call."""
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
    """Return the positions that get calls, ordered by window and position."""
    positions = [
        TextPosition(row, position)
        for row, row_allowed in enumerate(allowed)
        for position in itertools.compress(itertools.count(), row_allowed)
    ]
    probabilities = [[0.0] * len(row_allowed) for row_allowed in allowed]
    # τ_s does not apply to proposed positions.
    threshold = tool.sampling_threshold if proposed is None else -math.inf
    losses = texts.losses(
        [(at, open_id) for at in positions],
        min_probability=max(threshold, 0.0),
        most=tool.positions_per_text,
    )
    for at, loss in zip(positions, losses, strict=True):
        probabilities[at.row][at.position] = math.exp(-loss)
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


def _last(is_allowed: Sequence[bool]) -> int:
    return max(itertools.compress(itertools.count(), is_allowed), default=0)
