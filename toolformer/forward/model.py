"""Protocols between the method and a language model.

`language_model` implements them with a local network, `toolformer.served` with requests to a
server. Losses and log-probabilities are in nats.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self

import numpy as np

from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window

# Every model reports the rank of a token up to this one; see `NextTokens.call_rank`. vLLM needs a
# flag to report more.
REPORTED_RANKS = 20


class TextPosition(NamedTuple):
    """Position before a token in one of several texts; row and position count from 0."""

    row: int
    position: int


class Continuation(NamedTuple):
    """Tokens that continue a text at a position, and at least one token to predict after them."""

    place: TextPosition
    tokens: tuple[int, ...]
    following: tuple[int, ...]

    @property
    def fed(self) -> tuple[int, ...]:
        return (*self.tokens, *self.following[:-1])


@dataclass(slots=True)
class Branch:
    """Sampled continuation.

    `uniforms` are random numbers in [0, 1), one per token. `log_probability` is the sum over the
    sampled tokens at temperature 1.
    """

    uniforms: np.ndarray
    tokens: list[int] = field(default_factory=list)
    token_texts: list[str] = field(default_factory=list)
    log_probability: float = 0.0
    is_finished: bool = False


class Texts(Protocol):
    """Texts that were prefilled after one prompt."""

    def losses(
        self,
        targets: Sequence[tuple[TextPosition, int]],
        *,
        min_probability: float = 0.0,
        most: int | None = None,
    ) -> list[float]:
        """Return -log p of (position, token) pairs, given the prompt and the text before.

        The loss may be infinite if the probability is below `min_probability`, or below that of
        `most` other target tokens of the same row.
        """
        ...

    def ranks(self, positions: Sequence[TextPosition], token: int) -> list[tuple[int, float]]:
        """Return rank (from 1) and log-probability of a token per position; see `NextTokens`."""
        ...

    def sample(
        self,
        positions: Sequence[TextPosition],
        groups: Sequence[Sequence[Branch]],
        *,
        forced_ids: Sequence[int],
        max_new_tokens: int,
        temperature: float,
        may_finish: Callable[[int], bool],
        is_finished: Callable[[Branch], bool],
    ) -> None:
        """Sample continuations into the branches; afterwards the texts can no longer be used.

        There is at least one position, in ascending order of rows; each has a group of branches.
        `forced_ids` (at least one) are fed before the sampled tokens. `is_finished` is called only
        after tokens that `may_finish`. §2, "Sampling API Calls".
        """

    def continuation_losses(self, continuations: Sequence[Continuation]) -> list[list[float]]:
        """Return -log p of the `following` tokens of at least one continuation."""
        ...

    def contexts(self, positions: Sequence[TextPosition]) -> "Contexts":
        """Return growing texts that start at positions, in ascending order of rows."""
        ...


class NextTokens(Protocol):
    """Next-token distribution after a text.

    Rank 1 is the most likely token. Equally likely tokens share a rank; the lowest id comes first.
    """

    @property
    def ranked(self) -> list[int]:
        """Most likely tokens, best first."""
        ...

    @property
    def call_rank(self) -> int | None:
        """Rank of the token that opens a call, from 1; None if a server does not report it."""
        ...

    @property
    def call_log_probability(self) -> float | None:
        """Log-probability of the token that opens a call; None if `call_rank` is None."""
        ...

    def log_probability(self, token: int) -> float: ...

    def most_likely_except(self, tokens: Sequence[int]) -> int:
        """Return the most likely token that is not in `tokens`."""
        ...

    def sampled(
        self, uniform: float, temperature: float, *, top_p: float = 1.0, banned: int | None = None
    ) -> int:
        """Return the token that a random number in [0, 1) selects at a temperature above 0.

        `top_p` is the probability mass of nucleus sampling at that temperature. If the nucleus
        consists only of the banned token, return the most likely other token.
        """
        ...

    def kept(self) -> Self:
        """Return a copy that stays valid after the next step."""
        ...


class Contexts(Protocol):
    """Batch of texts that grow token by token and can forget their last tokens."""

    def length(self, row: int) -> int: ...

    def feed(self, tokens: Sequence[Sequence[int]]) -> object:
        """Append at least one token to every row."""

    def next_tokens(
        self, tokens: Sequence[Sequence[int]], *, open_id: int, count: int
    ) -> Sequence[NextTokens]:
        """Append tokens to every row; return the distributions after them.

        `open_id` is the token that opens a call. `count` most likely tokens are ranked.
        """
        ...

    def forget(self, row: int, length: int) -> None:
        """Forget all but the first `length` tokens of a row."""

    def fork(self, rows: Sequence[int]) -> Self:
        """Return copies of at least one row; the originals stay. A row may be named repeatedly."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Keep at least one row, in this order. A row whose index stays the same is not copied."""

    def join(self, others: Sequence[Self]) -> Self:
        """Return the rows of this batch and of other non-empty batches; all of them are used up."""
        ...


class Model(Protocol):
    """Causal language model.

    `bos_id` is prepended to scored texts, so that their first token has a probability.
    `prompt_start` is what few-shot prompts begin with: the start token if the tokenizer itself adds
    one to every text, otherwise nothing.
    """

    name: str
    tokenizer: Tokenizer
    bos_id: int
    prompt_start: list[int]
    context_length: int

    @property
    def tokens_fed(self) -> int:
        """Number of tokens fed so far, including padding: the unit of the method's cost."""
        ...

    @property
    def precision(self) -> str: ...

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end a text, and the start token."""
        ...

    @property
    def keys_per_token(self) -> int:
        """Number of cached tokens before a continuation that cost as much as one fed token."""
        ...

    def batch_tokens(self, *, window_tokens: int) -> int:
        """Return the token budget of a batch for scoring and prefill."""
        ...

    def windows_per_batch(self, *, windows: int, branches: int, keys: int) -> int:
        """Return how many of `windows` texts to sample together.

        Each text has k · m `branches` and at most `keys` cached tokens, including its branches.
        """
        ...

    def rows_at_once(self, *, row_tokens: int) -> int:
        """Return how many texts to complete together; `row_tokens` bounds prompt and completion."""
        ...

    def losses_at(
        self,
        rows: Sequence[Sequence[int]],
        targets: Sequence[tuple[int, int, int]],
        *,
        banned: int | None = None,
    ) -> list[float]:
        """Return -log p for triples of row, position of the token before, and token.

        Rows include the start token. The probability of the banned token is set to 0.
        """
        ...

    def read(self, prompt: str | None, windows: Sequence[Window]) -> Texts:
        """Prefill windows of at least one token after a prompt, or after only the start token."""
        ...

    def contexts(self, rows: int) -> Contexts: ...

    def ask_while(self, is_wanted: Callable[[], bool]) -> None:
        """Cancel server requests once `is_wanted()` is false. It is called once per second."""
