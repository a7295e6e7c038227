"""Texts that grow at a server while they are decoded: one request per token and text.

The server reads a text anew each time, except for the prefix in its cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from toolformer.errors import ServedModelError
from toolformer.forward.model import REPORTED_RANKS
from toolformer.served.completion_requests import CompletionRequests


@dataclass(frozen=True, slots=True)
class ServedNextTokens:
    """A `toolformer.forward.model.NextTokens` that a server reported.

    Attributes:
        context: the tokens before it.
        told: log-probabilities of tokens in nats, with those of all ranked tokens.
    """

    forms: CompletionRequests
    context: tuple[int, ...]
    told: dict[int, float]
    ranked: list[int]
    call_rank: int | None
    call_log_probability: float | None

    def log_probability(self, token: int) -> float:
        """See `NextTokens.log_probability`; a token that is not ranked costs a request."""
        if token not in self.told:
            (seen,) = self.forms.last([[*self.context, token]])
            self.told[token] = seen.log_probability
        return self.told[token]

    def most_likely_except(self, tokens: Sequence[int]) -> int:
        """See `NextTokens.most_likely_except`.

        Raises:
            ServedModelError: the server reports no other token.
        """
        for token in self.ranked:
            if token not in tokens:
                return token
        raise ServedModelError(
            f"The {len(self.ranked)} likeliest tokens that the server reports all begin the names "
            "of blocked tools. Expected at least one other token. Block fewer tools."
        )

    def sampled(self, uniform: float, temperature: float, **_: Any) -> int:  # noqa: ARG002
        """Raise a `ServedModelError`: no single tokens are drawn at a server."""
        raise ServedModelError(
            f"The temperature is {temperature:g}, and a served model decodes greedily. Expected 0. "
            "Leave the temperature out, or run the model on this machine."
        )

    def kept(self) -> Self:
        """See `NextTokens.kept`."""
        return self


class ServedContexts:
    """A `toolformer.forward.model.Contexts` of a served model: the tokens of its rows."""

    def __init__(self, forms: CompletionRequests, rows: Sequence[Sequence[int]]):
        self._forms = forms
        self._rows = [list(row) for row in rows]

    def length(self, row: int) -> int:
        """See `Contexts.length`."""
        return len(self._rows[row])

    def feed(self, tokens: Sequence[Sequence[int]]) -> None:
        """See `Contexts.feed`."""
        for row, new in zip(self._rows, tokens, strict=True):
            row += new

    def next_tokens(
        self, tokens: Sequence[Sequence[int]], *, open_id: int, count: int
    ) -> list[ServedNextTokens]:
        """See `Contexts.next_tokens`."""
        self.feed(tokens)
        all_told = self._forms.likeliest(self._rows, max(REPORTED_RANKS, count + 1))
        found = []
        for row, told in zip(self._rows, all_told, strict=True):
            ranked = sorted(told, key=lambda token, told=told: (-told[token], token))
            call = told.get(open_id)
            # All likelier tokens are reported too.
            rank = None if call is None else 1 + sum(value > call for value in told.values())
            found.append(ServedNextTokens(self._forms, tuple(row), told, ranked, rank, call))
        return found

    def forget(self, row: int, length: int) -> None:
        """See `Contexts.forget`."""
        del self._rows[row][length:]

    def fork(self, rows: Sequence[int]) -> "ServedContexts":
        """See `Contexts.fork`."""
        return ServedContexts(self._forms, [self._rows[row] for row in rows])

    def keep(self, rows: Sequence[int]) -> None:
        """See `Contexts.keep`."""
        self._rows = [self._rows[row] for row in rows]

    def join(self, others: Sequence["ServedContexts"]) -> "ServedContexts":
        """See `Contexts.join`."""
        return ServedContexts(self._forms, [row for each in (self, *others) for row in each._rows])
