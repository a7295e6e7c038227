"""Protocols between the method and a language model.

`language_model` implements them with a local network, `toolformer.served` with requests to a
server. They cover three tasks:

    sampling    probability of ` [` before each token of texts after P(x); continuations there
    scoring     -log p of given tokens after given tokens
    decoding    next-token distribution of several growing texts

Log-probabilities and losses are in nats. Token rows exclude padding unless stated otherwise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self

import numpy as np

from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window

# Every model reports the rank of a token up to this one; see `NextTokens.call_rank`. vLLM needs a
# flag to report more.
TOLD_RANKS = 20


class Place(NamedTuple):
    """Position before a token in one of several texts; row and position count from 0."""

    row: int
    position: int


class Continuation(NamedTuple):
    """Tokens that continue a text from a position, and the tokens to predict after them.

    Both have at least one token. All of `following` except the last token is fed, too.
    """

    place: TextPosition
    tokens: tuple[int, ...]
    following: tuple[int, ...]

    @property
    def fed(self) -> tuple[int, ...]:
        return (*self.tokens, *self.following[:-1])


@dataclass(slots=True)
class Branch:
    """One sampled continuation.

    Attributes:
        uniforms: random numbers in [0, 1), one per token, shape `(max tokens,)`.
        log_probability: sum over the sampled tokens at temperature 1.
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
        targets: Sequence[tuple[Place, int]],
        *,
        min_probability: float = 0.0,
        most: int | None = None,
    ) -> list[float]:
        """Return -log p of tokens at positions, given the prompt and the text before them.

        Args:
            targets: pairs of position and token.
            min_probability: the loss of a less likely token may be infinite.
            most: the loss of a token may also be infinite if this many target tokens of the same
                row are more likely.
        """
        ...

    def ranks(self, positions: Sequence[Place], token: int) -> list[tuple[int, float]]:
        """Return rank (from 1) and log-probability of a token per position; see `NextTokens`."""
        ...

    def sample(
        self,
        positions: Sequence[Place],
        groups: Sequence[Sequence[Branch]],
        *,
        forced_ids: Sequence[int],
        max_new_tokens: int,
        temperature: float,
        may_finish: Callable[[int], bool],
        is_finished: Callable[[Branch], bool],
    ) -> None:
        """Sample continuations of the texts into the branches (§2, "Sampling API Calls").

        This uses the texts up: no other method may be called afterwards.

        Args:
            positions: at least one, in ascending order of their rows.
            groups: the branches that start at each position.
            forced_ids: at least one token, fed before sampling starts.
            temperature: 1 is the model's own distribution.
            may_finish: whether a branch can end with this token. `is_finished` is called only for
                branches whose last token may end them.
        """

    def continuation_losses(self, continuations: Sequence[Continuation]) -> list[list[float]]:
        """Return -log p of the `following` tokens of at least one continuation."""
        ...

    def contexts(self, positions: Sequence[Place]) -> "Contexts":
        """Return growing texts that start at positions, in ascending order of their rows."""
        ...


class NextTokens(Protocol):
    """Next-token distribution after a text.

    The rank of a token is one more than the number of strictly more likely tokens. Among equally
    likely tokens, the lowest id comes first.
    """

    @property
    def ranked(self) -> list[int]:
        """The most likely tokens, best first."""
        ...

    @property
    def call_rank(self) -> int | None:
        """Rank of the token that opens a call, from 1.

        None if a server does not report it: it is above `TOLD_RANKS` and the requested `count`.
        """
        ...

    @property
    def call_log_probability(self) -> float | None:
        """Log-probability of the token that opens a call; None if `call_rank` is None."""
        ...

    def log_probability(self, token: int) -> float: ...

    def likeliest_but(self, tokens: Sequence[int]) -> int:
        """Return the most likely token other than these."""
        ...

    def sampled(
        self, uniform: float, temperature: float, *, top_p: float = 1.0, banned: int | None = None
    ) -> int:
        """Return the token that a random number in [0, 1) selects at a temperature above 0.

        Args:
            top_p: sample only from the smallest set of most likely tokens with this total
                probability at that temperature. The set always contains the most likely token.
            banned: never return this token. If the set contains no other, return the most likely
                other token.
        """
        ...

    def kept(self) -> Self:
        """Return a copy that stays valid after the next step."""
        ...


class Contexts(Protocol):
    """Batch of texts that grow token by token and can forget their last tokens."""

    def length(self, row: int) -> int:
        """Return the number of tokens of a row."""
        ...

    def feed(self, tokens: Sequence[Sequence[int]]) -> object:
        """Append at least one token to every row."""

    def next_tokens(
        self, tokens: Sequence[Sequence[int]], *, open_id: int, count: int
    ) -> Sequence[NextTokens]:
        """Append at least one token to every row and return the distributions after them.

        Args:
            open_id: token that opens a call.
            count: number of most likely tokens to report, at most the size of the vocabulary.
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
        """Return the rows of this batch and others, none of them empty. All of them are used up."""
        ...


class Model(Protocol):
    """Causal language model that chooses its batch sizes unless the user does.

    Attributes:
        bos_id: token before every scored text, so that the first token has a probability.
        prompt_start: start of few-shot prompts: the start token if the tokenizer itself adds one
            to every text, otherwise empty.
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
    def precision(self) -> str:
        """Data type of the computations."""
        ...

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end a text, and the start token."""
        ...

    @property
    def keys_per_token(self) -> int:
        """Number of cached tokens before a continuation that cost as much as one fed token."""
        ...

    def batch_tokens(self, *, window_tokens: int) -> int:
        """Return the token budget of a batch for scoring and prefill.

        Args:
            window_tokens: maximum length of a window.
        """
        ...

    def windows_per_batch(self, *, windows: int, branches: int, keys: int) -> int:
        """Return how many of `windows` texts to sample together.

        Args:
            branches: number of branches per text, `k · m`.
            keys: maximum number of cached tokens per text, including its branches.
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
        """Return -log p of tokens after prefixes of rows.

        Args:
            rows: token ids, ragged, with the start token.
            targets: triples of row, position of the last token of the prefix, and token.
            banned: token whose probability is set to 0; the others are renormalised.
        """
        ...

    def read(self, prompt: str | None, windows: Sequence[Window]) -> Texts:
        """Prefill windows of at least one token after a prompt.

        Args:
            prompt: contains the slot `{text}` exactly once; None for only the start token.
        """
        ...

    def contexts(self, rows: int) -> Contexts:
        """Return this many empty texts."""
        ...

    def ask_while(self, is_wanted: Callable[[], bool]) -> None:
        """Cancel server requests once `is_wanted()` is false; a local pass runs to its end.

        Args:
            is_wanted: called about once per second by the threads that wait for an answer.
        """
