"""The tokens of prompts, each with what the model expected in its place."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from toolformer.decoding.decoding_row import DecodingRow
from toolformer.forward.language_model import LOGIT_ROWS, LanguageModel
from toolformer.forward.tokenization import (
    MAX_TOKENS_PER_CHARACTER,
    REPLACEMENT_CHARACTER,
    Tokenizer,
)

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class PromptStep:
    """A token of a prompt.

    Attributes:
        token: its id.
        text: its text; the replacement character for part of a character.
        offset: where it begins in the prompt, in characters; parts of a character begin together.
        log_probability: of the token, in nats; None for the first one of a prompt.
        rank: one more than the number of likelier tokens; None for the first one.
        top: the likeliest tokens there, best first, as many as were asked for: id, text and
            log-probability.
    """

    token: int
    text: str
    offset: int
    log_probability: float | None
    rank: int | None
    top: tuple[tuple[int, str, float], ...]


def prompt_steps(
    model: LanguageModel, rows: Sequence[DecodingRow]
) -> list[tuple[list[PromptStep], "torch.Tensor"]]:
    """Feed the prompts of rows by themselves; the rows stay as they are.

    Args:
        rows: at least one, of whose prompts nothing is fed yet; fed together, padded to the
            longest.

    Returns:
        For each row the steps of its prompt, and the logits behind it, float32, shape
        `(1, vocabulary)`.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    # Right-padded causal rows need no mask: no token sees what stands behind it.
    input_ids = pad_sequence([torch.tensor(row.pending) for row in rows], batch_first=True)
    found = []
    with torch.inference_mode():
        all_states = model.hidden_states(input_ids.to(model.device))
        for row, states in zip(rows, all_states, strict=True):
            ids, start = row.pending, len(row.pending) - row.prompt_tokens
            numbers: list[list[float]] = []
            for begin in range(start, len(ids) - 1, LOGIT_ROWS):
                given = ids[begin + 1 : begin + 1 + LOGIT_ROWS]
                logits = model.logits(states[begin : begin + len(given)])
                numbers += _numbers(logits, given, row.settings.prompt_top or 0)
            last = model.logits(states[len(ids) - 1 : len(ids)])
            found.append((_steps(model.tokenizer, ids[start:], numbers), last))
    return found


def _numbers(logits: "torch.Tensor", given: Sequence[int], count: int) -> list[list[float]]:
    """Of each row: rank and log-probability of its token, the likeliest tokens, and theirs."""
    import torch

    tokens = torch.tensor(given, device=logits.device)[:, None]
    rank = (logits > logits.gather(1, tokens)).sum(dim=1, keepdim=True) + 1
    likeliest = logits.topk(min(count, logits.shape[1])).indices
    # As the losses of scoring are computed, so that both have the same last digits.
    found = logits.log_softmax(dim=1).gather(1, torch.cat([tokens, likeliest], dim=1))
    # To the host at once. Doubles hold all of them exactly.
    return torch.cat([rank.double(), found[:, :1], likeliest, found[:, 1:]], dim=1).tolist()


def _steps(
    tokenizer: Tokenizer, ids: Sequence[int], numbers: Sequence[Sequence[float]]
) -> list[PromptStep]:
    steps: list[PromptStep] = []
    parts: list[int] = []
    offset = 0
    # Nothing is expected in place of the first.
    expected = [(None, None), *numbers]
    for token, (rank, log_probability, *likeliest) in zip(ids, expected, strict=False):
        decode = tokenizer.decode_behind if len(parts) < len(steps) else tokenizer.decode
        parts.append(token)
        text = tokenizer.token_text(token) if steps else tokenizer.decode([token])
        half = len(likeliest) // 2
        top = tuple(
            (int(other), tokenizer.token_text(int(other)), value)
            for other, value in zip(likeliest[:half], likeliest[half:], strict=True)
        )
        rank = None if rank is None else int(rank)
        steps.append(PromptStep(token, text, offset, log_probability, rank, top))
        piece = decode(parts)
        is_whole = not piece.endswith(REPLACEMENT_CHARACTER)
        if is_whole or len(parts) == MAX_TOKENS_PER_CHARACTER:
            offset, parts = offset + len(piece), []
    return steps
