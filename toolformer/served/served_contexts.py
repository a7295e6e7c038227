"""Decodes texts with a completion server: one request per token and text.

The server prefills the text with every request, except for the prefix in its own cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from toolformer.errors import ServedModelError
from toolformer.forward.model import REPORTED_RANKS
from toolformer.served.completion_requests import CompletionRequests


@dataclass(frozen=True, slots=True)
class ServedNextTokens:
    """Reported `toolformer.forward.model.NextTokens` after the tokens of `context`."""

    forms: CompletionRequests
    context: tuple[int, ...]
    log_probabilities: dict[int, float]
    ranked: list[int]
    call_rank: int | None
    call_log_probability: float | None

    def log_probability(self, token: int) -> float:
        """See `NextTokens.log_probability`; a token that is not ranked costs a request."""
        if token not in self.log_probabilities:
            (score,) = self.forms.last([[*self.context, token]])
            self.log_probabilities[token] = score.log_probability
        return self.log_probabilities[token]

    def most_likely_except(self, tokens: Sequence[int]) -> int:
        for token in self.ranked:
            if token not in tokens:
                return token
        raise ServedModelError(
            f"The server reports only the {len(self.ranked)} most likely tokens, and all of them "
            "start the name of a blocked tool. Expected at least one other token. Block fewer "
            "tools."
        )

    def sampled(self, uniform: float, temperature: float, **_: Any) -> int:  # noqa: ARG002
        """Raise ServedModelError, because single tokens are not sampled at a server."""
        raise ServedModelError(
            f"The temperature is {temperature:g}, but a served model only decodes greedily. "
            "Expected 0. Omit the temperature, or run the model on this machine."
        )

    def kept(self) -> Self:
        return self


class ServedContexts:
    """Token rows of a served model as `toolformer.forward.model.Contexts`."""

    def __init__(self, forms: CompletionRequests, rows: Sequence[Sequence[int]]):
        self._forms = forms
        self._rows = [list(row) for row in rows]

    def length(self, row: int) -> int:
        return len(self._rows[row])

    def feed(self, tokens: Sequence[Sequence[int]]) -> None:
        for row, new in zip(self._rows, tokens, strict=True):
            row += new

    def next_tokens(
        self, tokens: Sequence[Sequence[int]], *, open_id: int, count: int
    ) -> list[ServedNextTokens]:
        self.feed(tokens)
        all_reported = self._forms.likeliest(self._rows, max(REPORTED_RANKS, count + 1))
        found = []
        for row, reported in zip(self._rows, all_reported, strict=True):
            ranked = sorted(reported, key=lambda token, by=reported: (-by[token], token))
            call = reported.get(open_id)
            # The server also reports all tokens that are more likely.
            rank = None if call is None else 1 + sum(value > call for value in reported.values())
            found.append(ServedNextTokens(self._forms, tuple(row), reported, ranked, rank, call))
        return found

    def forget(self, row: int, length: int) -> None:
        del self._rows[row][length:]

    def fork(self, rows: Sequence[int]) -> "ServedContexts":
        return ServedContexts(self._forms, [self._rows[row] for row in rows])

    def keep(self, rows: Sequence[int]) -> None:
        self._rows = [self._rows[row] for row in rows]

    def join(self, others: Sequence["ServedContexts"]) -> "ServedContexts":
        return ServedContexts(self._forms, [row for each in (self, *others) for row in each._rows])
