"""The protocols through which the method asks a language model, whoever runs it.

    sampling    probability of ` [` before each token of texts after P(x); continuations there
    scoring     -log p of given tokens after given tokens
    decoding    the next token of each of several growing texts, with the likeliest ones

`language_model` answers by passes of a network, `toolformer.served` by requests to a server.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self

import numpy as np

from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window

# Ranks that every model reports; see `NextTokens.call_rank`. vLLM needs a flag to report more.
REPORTED_RANKS = 20


class TextPosition(NamedTuple):
    """A place in one of several texts: before its token at this position, both from 0."""

    row: int
    position: int


class Continuation(NamedTuple):
    """Tokens that continue a text from a place, and those predicted after them, at least one each.

    Attributes:
        following: fed too, but for the last.
    """

    place: TextPosition
    tokens: tuple[int, ...]
    following: tuple[int, ...]

    @property
    def fed(self) -> tuple[int, ...]:
        """The tokens that are fed."""
        return (*self.tokens, *self.following[:-1])


@dataclass(slots=True)
class Branch:
    """One continuation that is sampled.

    Attributes:
        uniforms: its random numbers in [0, 1), one per token; shape `(most tokens,)`.
        log_probability: sum over the sampled tokens, at temperature 1, in nats.
    """

    uniforms: np.ndarray
    tokens: list[int] = field(default_factory=list)
    token_texts: list[str] = field(default_factory=list)
    log_probability: float = 0.0
    is_finished: bool = False


class Texts(Protocol):
    """Texts behind one prompt, read once."""

    def losses(
        self,
        places: Sequence[tuple[TextPosition, int]],
        *,
        min_probability: float = 0.0,
        most: int | None = None,
    ) -> list[float]:
        """-log p of tokens at places, behind the prompt and the text in front, in nats.

        Args:
            min_probability: the loss of a less likely token may be infinite.
            most: so may that of a token that so many others of the same row exceed.
        """
        ...

    def ranks(self, places: Sequence[TextPosition], token: int) -> list[tuple[int, float]]:
        """Rank, from 1, and log-probability in nats of a token at places; see `NextTokens`."""
        ...

    def sample(
        self,
        places: Sequence[TextPosition],
        groups: Sequence[Sequence[Branch]],
        *,
        forced_ids: Sequence[int],
        max_new_tokens: int,
        temperature: float,
        may_finish: Callable[[int], bool],
        is_finished: Callable[[Branch], bool],
    ) -> None:
        """Sample continuations of the texts; the branches are filled in place.

        Args:
            places: in the order of their rows; at least one. This is the last question.
            groups: the branches that start at each place.
            forced_ids: tokens before what is sampled; at least one.
            temperature: 1 is the model's own distribution.
            may_finish: whether a branch can end with a token; if not, no branch is asked.
            is_finished: whether a branch ends with its last token.

        Paper: §2, "Sampling API Calls".
        """

    def continuation_losses(self, continuations: Sequence[Continuation]) -> list[list[float]]:
        """-log p of the tokens after continuations, at least one, in nats.

        Returns:
            Shape `(continuations, following)`, ragged.
        """
        ...

    def contexts(self, places: Sequence[TextPosition]) -> "Contexts":
        """Return texts that grow from places, in the order of their rows."""
        ...


class NextTokens(Protocol):
    """What a model expects behind a text.

    A token's rank is one more than the number of tokens that are likelier, and of equal ones the
    lowest comes first.
    """

    @property
    def ranked(self) -> list[int]:
        """The likeliest tokens, best first."""
        ...

    @property
    def call_rank(self) -> int | None:
        """Rank of the token that opens a call, from 1.

        None if a server does not report it, above `REPORTED_RANKS` and the `count` asked for.
        """
        ...

    @property
    def call_log_probability(self) -> float | None:
        """Log-probability of the same token, in nats; None only where its rank is."""
        ...

    def log_probability(self, token: int) -> float:
        """Log-probability of a token, in nats."""
        ...

    def most_likely_except(self, tokens: Sequence[int]) -> int:
        """The likeliest token that is none of these."""
        ...

    def sampled(
        self, uniform: float, temperature: float, *, top_p: float = 1.0, banned: int | None = None
    ) -> int:
        """The token that a random number in [0, 1) draws at a temperature above 0.

        Args:
            top_p: only the fewest likeliest tokens with this total probability at that temperature
                have a chance; always the likeliest one.
            banned: a token without a chance; if it alone is left, the likeliest other is taken.
        """
        ...

    def kept(self) -> Self:
        """The same for longer than a step."""
        ...


class Contexts(Protocol):
    """Texts that grow token by token, a row each, and can forget their last tokens."""

    def length(self, row: int) -> int:
        """How many tokens a row has."""
        ...

    def feed(self, tokens: Sequence[Sequence[int]]) -> object:
        """Append tokens to every row, at least one to each."""

    def next_tokens(
        self, tokens: Sequence[Sequence[int]], *, open_id: int, count: int
    ) -> Sequence[NextTokens]:
        """Append tokens to every row, at least one each, and return what is expected after them.

        Args:
            count: how many of the likeliest tokens are wanted; no more than there are.
        """
        ...

    def forget(self, row: int, length: int) -> None:
        """Forget all but the first `length` tokens of a row."""

    def fork(self, rows: Sequence[int]) -> Self:
        """Some of the rows, at least one, each as often as it is named; these stay as they are."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Leave these rows, at least one, in this order; one that keeps its place is not copied."""

    def join(self, others: Sequence[Self]) -> Self:
        """The rows of all these, which have at least one each; they are used up."""
        ...


class Model(Protocol):
    """A causal language model; it says how much is asked of it at once, unless the user does.

    Attributes:
        bos_id: the token before every scored text, so that its first token has a probability.
        prompt_start: what few-shot prompts begin with: the start token if the tokenizer itself puts
            one before every text, else nothing.
    """

    name: str
    tokenizer: Tokenizer
    bos_id: int
    prompt_start: list[int]
    context_length: int

    @property
    def tokens_fed(self) -> int:
        """Token positions fed so far, padding included: in these the method's cost is counted."""
        ...

    @property
    def precision(self) -> str:
        """What its numbers are computed in."""
        ...

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens after which nothing follows: those that end a text, and the start token."""
        ...

    @property
    def keys_per_token(self) -> int:
        """How many tokens of a text in front of a continuation count as one of its own."""
        ...

    def batch_tokens(self, *, window_tokens: int) -> int:
        """Most tokens of a batch, in scoring and reading; a window has at most `window_tokens`."""
        ...

    def windows_per_batch(self, *, windows: int, branches: int, keys: int) -> int:
        """How many of some texts are sampled together.

        Args:
            branches: sampled at each text, `k · m`.
            keys: most tokens that are held for each text with its branches.
        """
        ...

    def rows_at_once(self, *, row_tokens: int) -> int:
        """How many texts of at most `row_tokens`, prompt and completion, are completed together."""
        ...

    def losses_at(
        self,
        rows: Sequence[Sequence[int]],
        places: Sequence[tuple[int, int, int]],
        *,
        banned: int | None = None,
    ) -> list[float]:
        """-log p of tokens at places of a batch, in nats.

        Args:
            rows: token ids, ragged; all that is fed, with the start token.
            places: row, place of the last token before it, token, for each wanted loss.
            banned: a token whose probability is 0; those of the others sum to 1.
        """
        ...

    def read(self, prompt: str | None, windows: Sequence[Window]) -> Texts:
        """Read windows of at least one token after a prompt.

        Args:
            prompt: with the slot `{text}` exactly once; None for the start token alone.
        """
        ...

    def contexts(self, rows: int) -> Contexts:
        """So many empty texts."""
        ...

    def ask_while(self, is_wanted: Callable[[], bool]) -> None:
        """Break off requests to a server once this is false; a pass goes on to its end.

        Args:
            is_wanted: called about once a second by the threads that wait for an answer.
        """
