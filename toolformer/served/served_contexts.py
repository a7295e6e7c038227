"""Texts that grow at a server: decoding, a request for each token of each text.

A server reads a text anew each time, but for what its prefix caching spares it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from toolformer.errors import ServedModelError
from toolformer.forward.model import TOLD_RANKS
from toolformer.served.completion_forms import CompletionForms, seed_of

# Of a place where another token than the opening of a call is wanted.
_DRAWS = 8


@dataclass(frozen=True, slots=True)
class ServedNextTokens:
    """A `toolformer.forward.model.NextTokens` as a server tells it.

    Attributes:
        context: the text in front.
        told: log-probabilities of tokens, in nats, the ranked ones among them.
    """

    forms: CompletionForms
    context: tuple[int, ...]
    told: dict[int, float]
    ranked: list[int]
    call_rank: int | None
    call_log_probability: float | None

    def log_probability(self, token: int) -> float:
        """See `NextTokens.log_probability`; of a token that is not ranked it is a request."""
        if token not in self.told:
            (seen,) = self.forms.last([[*self.context, token]])
            self.told[token] = seen.log_probability
        return self.told[token]

    def likeliest_but(self, tokens: Sequence[int]) -> int:
        """See `NextTokens.likeliest_but`.

        Raises:
            ServedModelError: the server tells no others.
        """
        for token in self.ranked:
            if token not in tokens:
                return token
        raise ServedModelError(
            f"The {len(self.ranked)} likeliest tokens that the server tells all begin the names of "
            "blocked tools. Expected another one among them: block fewer tools."
        )

    def drawn(
        self, uniform: float, temperature: float, *, top_p: float = 1.0, banned: int | None = None
    ) -> int:
        """See `NextTokens.drawn`; the server draws, seeded by the random number.

        A banned token is drawn again, and after some draws the likeliest other one is taken.
        """
        seed = seed_of(uniform)
        for attempt in range(_DRAWS):
            ((((token, log_probability),),),) = self.forms.samples(
                [self.context],
                [seed ^ attempt],
                max_new_tokens=1,
                temperature=temperature,
                # Servers refuse 0; so little leaves the likeliest token alone.
                top_p=max(top_p, 1e-9),
            )
            self.told[token] = log_probability
            if token != banned:
                return token
        return self.likeliest_but([] if banned is None else [banned])

    def kept(self) -> Self:
        """See `NextTokens.kept`."""
        return self


class ServedContexts:
    """A `toolformer.forward.model.Contexts` of a served model: the tokens of its rows."""

    def __init__(self, forms: CompletionForms, rows: Sequence[Sequence[int]]):
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
        all_told = self._forms.likeliest(self._rows, max(TOLD_RANKS, count + 1))
        all_ranked = [sorted(told, key=lambda token: (-told[token], token)) for told in all_told]
        # What is not told is less likely than the first `count`, unless the last are all equal.
        unclear = [
            (row, told)
            for row, told, ranked in zip(self._rows, all_told, all_ranked, strict=True)
            if open_id not in told and told[ranked[-1]] == told[ranked[count - 1]]
        ]
        asked = self._forms.last([[*row, open_id] for row, _ in unclear])
        for (_, told), seen in zip(unclear, asked, strict=True):
            told[open_id] = seen.log_probability
        return [
            _expected(self._forms, tuple(row), told, ranked, open_id)
            for row, told, ranked in zip(self._rows, all_told, all_ranked, strict=True)
        ]

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


def _expected(
    forms: CompletionForms,
    context: tuple[int, ...],
    told: dict[int, float],
    ranked: list[int],
    open_id: int,
) -> ServedNextTokens:
    call = told.get(open_id)
    rank = None
    # All that are likelier are told.
    if call is not None and call >= told[ranked[-1]]:
        rank = 1 + sum(told[token] > call for token in ranked)
    return ServedNextTokens(forms, context, told, ranked, rank, call)
