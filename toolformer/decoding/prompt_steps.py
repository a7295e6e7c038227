"""The tokens of prompts, each with what the model expected in its place."""

from collections.abc import Sequence
from dataclasses import dataclass

from toolformer.calls import call_open_id
from toolformer.decoding.decoding_row import DecodingRow
from toolformer.forward.model import GivenToken, Model, NextTokens
from toolformer.forward.tokenization import (
    MAX_TOKENS_PER_CHARACTER,
    REPLACEMENT_CHARACTER,
    Tokenizer,
)


@dataclass(frozen=True, slots=True)
class PromptStep:
    """A token of a prompt.

    Attributes:
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
    model: Model, rows: Sequence[DecodingRow]
) -> list[tuple[list[PromptStep], NextTokens]]:
    """Feed the prompts of rows by themselves; the rows stay as they are.

    Args:
        rows: at least one, of whose prompts nothing is fed yet.

    Returns:
        For each row the steps of its prompt, and what is expected behind it.
    """
    given = model.given_tokens(
        [row.pending for row in rows],
        top=[row.settings.prompt_top or 0 for row in rows],
        open_id=call_open_id(model.tokenizer),
        counts=[max(2, row.settings.top_tokens) for row in rows],
    )
    found = []
    for row, (tokens, behind) in zip(rows, given, strict=True):
        start = len(row.pending) - row.prompt_tokens
        steps = _steps(model.tokenizer, row.pending[start:], tokens[start:])
        found.append((steps, behind))
    return found


def _steps(
    tokenizer: Tokenizer, ids: Sequence[int], given: Sequence[GivenToken]
) -> list[PromptStep]:
    steps: list[PromptStep] = []
    offsets = TokenOffsets(tokenizer)
    # Nothing is expected in place of the first.
    for token, expected in zip(ids, (None, *given), strict=False):
        text = tokenizer.token_text(token) if steps else tokenizer.decode([token])
        rank, log_probability, top = expected or (None, None, ())
        likeliest = tuple((other, tokenizer.token_text(other), value) for other, value in top)
        offset = offsets.add(token, text)
        steps.append(PromptStep(token, text, offset, log_probability, rank, likeliest))
    return steps


class TokenOffsets:
    """Where tokens that follow each other begin, in characters.

    Attributes:
        end: where the next one begins; parts of a character begin together.
    """

    def __init__(self, tokenizer: Tokenizer, begin: int = 0) -> None:
        self.end = begin
        self._tokenizer = tokenizer
        self._parts: list[int] = []

    def add(self, token: int, text: str) -> int:
        """Where a token begins that has this text by itself."""
        begin, parts = self.end, self._parts
        parts.append(token)
        piece = self._tokenizer.decode_behind(parts) if parts[1:] else text
        if not piece.endswith(REPLACEMENT_CHARACTER) or len(parts) == MAX_TOKENS_PER_CHARACTER:
            self.end, self._parts = begin + len(piece), []
        # Behind a part of no character, too.
        return begin if REPLACEMENT_CHARACTER in text else self.end - len(text)
