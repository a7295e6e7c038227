"""Candidate calls of one tool for a batch of windows (paper §2, "Sampling API Calls").

One pass over the texts gives p_i at all positions; the m samples at the k chosen positions are
then decoded together over the same keys and values, so no text token is fed twice. Does not
execute or score calls.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from toolformer.branches import Branch, sample_branches
from toolformer.calls import call_open_id
from toolformer.checkpoint import Checkpoint
from toolformer.errors import SequenceTooLongError
from toolformer.language_model import LanguageModel
from toolformer.positions import choose_positions
from toolformer.prefix_cache import PromptPrefix, causal_mask, compute_prompt_prefix
from toolformer.samples import (
    CallReader,
    SampledCall,
    SamplingParameters,
    branch_uniforms,
    forced_text,
    read_samples,
)
from toolformer.windows import Window

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache

# Rows of the output layer computed at once: bounds the memory of full-vocabulary logits.
_LOGIT_ROWS = 512


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
    takes_arguments: bool,
    parse_arguments: Callable[[str], str],
    parameters: SamplingParameters,
) -> list[SampledCall]:
    """Sample the calls of one tool for a batch of windows.

    Args:
        model: the annotating model.
        prefix: the tool's prompt.
        windows: fed together; all with at least one token.
        tool_name: as written in calls.
        takes_arguments: whether there is anything to sample after `Tool(`. If not, a constrained
            call is settled once its position is chosen, and each position has one sample.
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
        is_settled = parameters.is_constrained and not takes_arguments
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
        if not is_settled:
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
        sampled = (
            [")"] if is_settled else [model.tokenizer.decode(branch.tokens) for branch in group]
        )
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


def sample_shard(
    model: LanguageModel,
    prompt: str | None,
    windows: Sequence[Window],
    *,
    tool_name: str,
    takes_arguments: bool,
    parse_arguments: Callable[[str], str],
    parameters: SamplingParameters,
    windows_per_batch: int,
    window_tokens: int,
    checkpoint: Checkpoint,
    progress: Callable[[int, int], None],
) -> list[SampledCall]:
    """Sample the calls of one tool for all windows of a shard, batch by batch.

    Args:
        model, tool_name, takes_arguments, parse_arguments, parameters: see `sample_calls`.
        prompt: the tool's few-shot prompt; None leaves it out, for a model that was taught calls.
        windows: of the shard's preselected texts.
        windows_per_batch: fed together.
        window_tokens: most tokens of a window.
        checkpoint: keeps finished batches.
        progress: told windows done and windows in all.

    Returns:
        One row per sample, in the order of the windows.

    Raises:
        SequenceTooLongError: prompt, text and call do not fit the model's context.
    """
    prefix = compute_prompt_prefix(model, prompt)
    check_context(
        prefix.length, window_tokens, parameters.max_new_tokens, context_length=model.context_length
    )
    rows: list[SampledCall] = []
    done = 0
    for number, group in enumerate(plan_groups(windows, windows_per_batch=windows_per_batch)):
        stored = checkpoint.step(
            f"sampled-{number:05d}",
            lambda group=group: [
                asdict(row)
                for row in sample_calls(
                    model,
                    prefix,
                    [windows[index] for index in group],
                    tool_name=tool_name,
                    takes_arguments=takes_arguments,
                    parse_arguments=parse_arguments,
                    parameters=parameters,
                )
            ],
        )
        rows.extend(SampledCall(**row) for row in stored)
        done += len(group)
        progress(done, len(windows))
    place = {(window.document_id, window.index): place for place, window in enumerate(windows)}
    return sorted(
        rows, key=lambda row: (place[row.document_id, row.window], row.position, row.sample_index)
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

    text_parts = [prefix.text_ids(model, window.text) for window in windows]
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
