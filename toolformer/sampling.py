"""Candidate calls of one tool for a batch of windows (paper §2, "Sampling API Calls").

One pass over the texts gives p_i at all positions; the m samples at the k chosen positions are
then decoded together over the same keys and values, so no text token is fed twice. Does not
execute or score calls.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from toolformer.branches import Branch, sample_branches
from toolformer.calls import call_open_id
from toolformer.errors import SequenceTooLongError
from toolformer.language_model import LanguageModel
from toolformer.positions import choose_positions
from toolformer.prefix_cache import PromptPrefix, causal_mask
from toolformer.windows import Window
from tools.errors import CallSyntaxError
from tools.syntax import CALL_CLOSE, CALL_OPEN, parse_sample

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache

# Rows of the output layer computed at once: bounds the memory of full-vocabulary logits.
_LOGIT_ROWS = 512
# Reasons of the engine itself; the others come from `tools.syntax`.
DUPLICATE = "duplicate"
INVALID_ARGUMENTS = "invalid_arguments"


@dataclass(frozen=True, slots=True)
class SamplingParameters:
    """The paper's parameters of sampling, and our decisions where it is silent.

    Attributes:
        sampling_threshold: τ_s.
        positions_per_text: k.
        calls_per_position: m.
        max_new_tokens: most tokens of one sample after the forced ones.
        temperature: of the sampling distribution.
        seed: of all random numbers of the run.
        is_constrained: the tool's name and `(` are forced after ` [`, and `]` once the brackets
            opened so are closed; otherwise all of the call is sampled.
        round: which round of annotation, from 1.
    """

    sampling_threshold: float
    positions_per_text: int
    calls_per_position: int
    max_new_tokens: int
    temperature: float
    seed: int
    is_constrained: bool
    round: int


@dataclass(frozen=True, slots=True)
class SampledCall:
    """One sample, parsed or not; `arguments` is None where it could not be parsed."""

    call_id: str
    document_id: str
    window: int
    position: int
    character_offset: int
    call_probability: float
    sample_index: int
    arguments: str | None
    sample_text: str
    status: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class CallReader:
    """Finds the end of a sampled call while it is being sampled.

    Attributes:
        is_constrained: the opening bracket of the call was forced, so its closing one ends it.
    """

    is_constrained: bool

    def end(self, text: str) -> int | None:
        """How much of `text` belongs to the sample; None while it is not finished.

        A line break or, in constrained sampling, an opening square bracket can never become part
        of a call, so they end it too.
        """
        depth = 1
        for index, character in enumerate(text):
            if character in "]\n":
                return index + (character == "]")
            if self.is_constrained:
                if character == "[":
                    return index + 1
                depth += (character == "(") - (character == ")")
                if depth == 0:
                    return index + 1
        return None

    def is_finished(self, token_texts: Sequence[str]) -> bool:
        """Whether the sampled tokens so far need no continuation."""
        newest = token_texts[-1]
        if not any(mark in newest for mark in ("]", "\n", "[", ")")):
            return False
        return self.end("".join(token_texts)) is not None


def forced_text(tool_name: str, *, is_constrained: bool) -> list[str]:
    """The pieces of text that are forced at a chosen position."""
    return [CALL_OPEN, f"{tool_name}("] if is_constrained else [CALL_OPEN]


def sample_text_of(sampled: str, tool_name: str, *, is_constrained: bool) -> str:
    """What stands after ` [`, from the sampled part alone, cut where the call ends."""
    end = CallReader(is_constrained).end(sampled)
    text = sampled if end is None else sampled[:end]
    if not is_constrained:
        return text
    is_closed = end is not None and text.endswith(")")
    return f"{tool_name}({text}{CALL_CLOSE if is_closed else ''}"


def call_id(
    document_id: str, window: int, tool_name: str, position: int, sample_index: int, round_: int
) -> str:
    """Key of one sample: a digest of what it is a sample of."""
    return _digest(document_id, window, tool_name, position, sample_index, round_).hex()


def branch_uniforms(
    seed: int,
    document_id: str,
    window: int,
    tool_name: str,
    position: int,
    sample_index: int,
    *,
    count: int,
) -> np.ndarray:
    """The random numbers of one branch: its own, whatever else is sampled beside it."""
    digest = _digest(seed, document_id, window, tool_name, position, sample_index)
    key = int.from_bytes(digest, "little")
    return np.random.Generator(np.random.Philox(key=key)).random(count)


def _digest(*parts: object) -> bytes:
    # Not `hash`: it is salted per process.
    joined = "\x1f".join(str(part) for part in parts)
    return hashlib.blake2b(joined.encode(), digest_size=16).digest()


def check_context(
    prefix_tokens: int, window_tokens: int, max_new_tokens: int, context_length: int
) -> None:
    """Make sure that prompt, text (twice) and call fit the context.

    Raises:
        SequenceTooLongError: with the window size that would fit.
    """
    # The text stands in the prompt and again as the beginning of the output. Tokenised inside
    # the prompt it can come out a little longer than alone.
    slack = 16 + window_tokens // 16
    needed = prefix_tokens + 2 * window_tokens + max_new_tokens + slack
    if needed > context_length:
        fitting = (context_length - prefix_tokens - max_new_tokens - 16) * 16 // 33
        raise SequenceTooLongError(
            f"A prompt of {prefix_tokens} tokens, twice a window of {window_tokens} and a call of "
            f"{max_new_tokens} need {needed} tokens, but the model takes {context_length}. "
            f"Set corpus.window_tokens to at most {max(fitting, 0)}, or shorten the prompt."
        )


def plan_groups(windows: Sequence[Window], *, windows_per_batch: int) -> list[list[int]]:
    """Which windows are sampled together: like lengths, the same for every run over a shard.

    Numbers are bit-equal only in equal batches, so the plan follows from the windows alone and
    never from what happens to be left to do.
    """
    order = sorted(range(len(windows)), key=lambda index: (-len(windows[index].ids), index))
    return [
        order[start : start + windows_per_batch]
        for start in range(0, len(order), windows_per_batch)
    ]


def sample_calls(
    model: LanguageModel,
    prefix: PromptPrefix,
    windows: Sequence[Window],
    *,
    tool_name: str,
    parse_arguments: Callable[[str], str],
    parameters: SamplingParameters,
) -> list[SampledCall]:
    """Sample the calls of one tool for a batch of windows.

    Args:
        model: the annotating model.
        prefix: the tool's prompt.
        windows: fed together; all with at least one token.
        tool_name: as written in calls.
        parse_arguments: the tool's own check, raising CallSyntaxError.
        parameters: see there.

    Returns:
        One row per sample, by window, position and sample index.
    """
    import torch

    with torch.inference_mode():
        cache, text_lengths, probabilities = _read_texts(model, prefix, windows)
        forced_ids = model.tokenizer.encode_pieces(
            forced_text(tool_name, is_constrained=parameters.is_constrained)
        )
        chosen: list[tuple[int, int]] = []
        groups: list[list[Branch]] = []
        for row, window in enumerate(windows):
            for position in choose_positions(
                probabilities[row],
                sampling_threshold=parameters.sampling_threshold,
                positions_per_text=parameters.positions_per_text,
                is_allowed=allowed_positions(window),
            ):
                chosen.append((row, position))
                groups.append(
                    [
                        Branch(
                            row=row,
                            visible=prefix.length + text_lengths[row] + position,
                            uniforms=branch_uniforms(
                                parameters.seed,
                                window.document_id,
                                window.index,
                                tool_name,
                                position,
                                sample_index,
                                count=parameters.max_new_tokens,
                            ),
                        )
                        for sample_index in range(parameters.calls_per_position)
                    ]
                )
        sample_branches(
            model,
            cache,
            groups,
            forced_ids=forced_ids,
            max_new_tokens=parameters.max_new_tokens,
            temperature=parameters.temperature,
            stop_rule=CallReader(parameters.is_constrained),
        )
    rows: list[SampledCall] = []
    for (row, position), group in zip(chosen, groups, strict=True):
        sampled = [model.tokenizer.decode(branch.tokens) for branch in group]
        rows.extend(
            read_samples(
                windows[row],
                position,
                probabilities[row][position],
                sampled,
                tool_name=tool_name,
                parse_arguments=parse_arguments,
                parameters=parameters,
            )
        )
    return rows


def allowed_positions(window: Window) -> list[bool]:
    """Where a call may stand: at the beginning of a character, and not before a `[` of the text."""
    allowed = []
    for offset in window.offsets:
        is_before_bracket = offset is not None and window.text[offset:].lstrip(" ").startswith("[")
        allowed.append(offset is not None and not is_before_bracket)
    return allowed


def read_samples(
    window: Window,
    position: int,
    call_probability: float,
    sampled: Sequence[str],
    *,
    tool_name: str,
    parse_arguments: Callable[[str], str],
    parameters: SamplingParameters,
) -> Iterator[SampledCall]:
    """Parse the samples of one position; equal calls after the first are duplicates."""
    offset = window.offsets[position]
    if offset is None:
        raise ValueError(f"Position {position} lies inside a character of the window.")
    seen: set[str] = set()
    for sample_index, text in enumerate(sampled):
        sample_text = sample_text_of(text, tool_name, is_constrained=parameters.is_constrained)
        arguments: str | None = None
        reason: str | None = None
        try:
            raw_arguments = parse_sample(sample_text, tool_name)
            try:
                arguments = parse_arguments(raw_arguments)
            except CallSyntaxError:
                arguments, reason = raw_arguments, INVALID_ARGUMENTS
        except CallSyntaxError as error:
            reason = error.reason
        if reason is None and arguments is not None:
            if arguments in seen:
                reason = DUPLICATE
            seen.add(arguments)
        yield SampledCall(
            call_id=call_id(
                window.document_id,
                window.index,
                tool_name,
                position,
                sample_index,
                parameters.round,
            ),
            document_id=window.document_id,
            window=window.index,
            position=position,
            character_offset=window.start + offset,
            call_probability=call_probability,
            sample_index=sample_index,
            arguments=arguments,
            sample_text=sample_text,
            status="parsed" if reason is None else "dropped",
            reason=reason,
        )


def _read_texts(
    model: LanguageModel, prefix: PromptPrefix, windows: Sequence[Window]
) -> tuple["DynamicCache", list[int], list[list[float]]]:
    """Feed the texts after the shared prefix.

        fed row:     text part (… Output:) | x_0 x_1 … x_{n-1}
        logits row:         s-1              s   …  s+n-2        predicts x_0 … x_{n-1}

    Returns:
        The cache, the length `s` of each text part, and p_i for each position of each window.
    """
    import torch

    text_parts = [
        model.tokenizer.encode(prefix.prompt.text_part(window.text)) for window in windows
    ]
    lengths = [len(part) for part in text_parts]
    rows = [part + list(window.ids) for part, window in zip(text_parts, windows, strict=True)]
    width = max(len(row) for row in rows)
    input_ids = torch.zeros((len(rows), width), dtype=torch.long)
    for index, row in enumerate(rows):
        input_ids[index, : len(row)] = torch.tensor(row)
    cache = prefix.cache(len(rows))
    positions = torch.arange(prefix.length, prefix.length + width, device=model.device)
    hidden = model.hidden_states(
        input_ids.to(model.device),
        cache=cache,
        attention_mask=causal_mask(width, prefix.length, model),
        position_ids=positions[None],
    )
    row_index = [index for index, window in enumerate(windows) for _ in window.ids]
    logit_rows = [
        length - 1 + position
        for length, window in zip(lengths, windows, strict=True)
        for position in range(len(window.ids))
    ]
    flat = hidden[torch.tensor(row_index), torch.tensor(logit_rows)]
    probabilities = _call_probabilities(model, flat)
    split = iter(probabilities)
    return cache, lengths, [[next(split) for _ in window.ids] for window in windows]


def _call_probabilities(model: LanguageModel, hidden: "torch.Tensor") -> list[float]:
    import torch

    open_id = call_open_id(model.tokenizer)
    probabilities: list[float] = []
    for chunk in hidden.split(_LOGIT_ROWS):
        logits = model.logits(chunk)
        log_probability = logits[:, open_id] - torch.logsumexp(logits, dim=-1)
        probabilities.extend(log_probability.exp().tolist())
    return probabilities
