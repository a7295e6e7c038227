"""What a model expects next, from its logits: ranks, the likeliest tokens, the opening of a call.

Logits computed in half precision are often equal. One rule everywhere: a token's rank is one more
than the number of tokens with strictly larger logits, and of equal ones the lowest comes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch

# Sampling cumulates the probabilities of this many tokens in descending order and treats the rest
# as one bucket: summing a whole vocabulary in id order loses the last digits that make a sample
# the same in every batching.
_HEAD_TOKENS = 256


@dataclass(frozen=True, slots=True)
class LocalNextTokens:
    """A `toolformer.forward.model.NextTokens` from logits.

    Attributes:
        logits: shape `(vocabulary,)`; a view of those of all rows, see `kept`.
        log_probabilities: log-probabilities of the ranked tokens, in nats.
    """

    logits: torch.Tensor
    ranked: list[int]
    log_probabilities: list[float]
    call_rank: int
    call_log_probability: float

    def log_probability(self, token: int) -> float:
        """See `NextTokens.log_probability`."""
        if token in self.ranked:
            return self.log_probabilities[self.ranked.index(token)]
        return float(self.logits.log_softmax(dim=-1)[token])

    def most_likely_except(self, tokens: Sequence[int]) -> int:
        """See `NextTokens.most_likely_except`."""
        logits = self.logits.clone()
        logits[tokens] = float("-inf")
        return int(logits.argmax())

    def sampled(
        self, uniform: float, temperature: float, *, top_p: float = 1.0, banned: int | None = None
    ) -> int:
        """See `NextTokens.sampled`."""
        logits = self.logits.clone()
        if top_p < 1:
            chances = (logits.double() / temperature).softmax(dim=-1)
            ranked, order = chances.sort(descending=True, stable=True)
            left = 1 + int((ranked.cumsum(dim=-1)[:-1] < top_p).sum())
            logits[order[left:]] = float("-inf")
        if banned is not None:
            logits[banned] = float("-inf")
            if logits.max() == float("-inf"):
                return self.most_likely_except([banned])
        tokens, _ = sample_tokens(
            logits[None], np.array([uniform]), rows=np.array([0]), temperature=temperature
        )
        return int(tokens[0])

    def kept(self) -> Self:
        """The same for longer than a step: the logits of the other rows can be freed."""
        return replace(self, logits=self.logits.clone())


def next_tokens(logits: torch.Tensor, *, open_id: int, count: int) -> list[LocalNextTokens]:
    """What is expected behind each row of logits.

    Args:
        logits: float32, shape `(rows, vocabulary)`.
        open_id, count: see `toolformer.forward.model.Contexts.next_tokens`.
    """
    # With one more, which shows whether equal ones are left out.
    values, tokens = logits.topk(min(count + 1, logits.shape[1]))
    open_ranks, open_log_probabilities = ranks(logits, open_id)
    others = [open_ranks, open_log_probabilities, logits.logsumexp(dim=1)]
    # To the host at once: it waits for the device each time. Doubles hold all of them exactly.
    numbers = torch.cat([torch.stack(others, dim=1), -values, tokens], dim=1).tolist()
    expected = []
    for row_logits, (rank, log_probability, total, *likeliest) in zip(logits, numbers, strict=True):
        half = values.shape[1]
        pairs = sorted(zip(likeliest[:half], map(int, likeliest[half:]), strict=True))
        if half > count and pairs[count][0] == pairs[count - 1][0]:
            least = pairs[count][0]
            equal = torch.nonzero(row_logits == -least)[:count, 0].tolist()
            pairs = [pair for pair in pairs if pair[0] < least] + [(least, at) for at in equal]
        expected.append(
            LocalNextTokens(
                row_logits,
                ranked=[token for _, token in pairs[:count]],
                log_probabilities=[-negative - total for negative, _ in pairs[:count]],
                call_rank=int(rank),
                call_log_probability=log_probability,
            )
        )
    return expected


def ranks(logits: torch.Tensor, token: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rank, from 1, and log-probability of a token in each row of logits.

    Args:
        logits: float32, shape `(rows, vocabulary)`.

    Returns:
        Both in float64, shape `(rows,)`.

    Example:
        >>> import torch
        >>> ranks(torch.tensor([[2.0, 1.0, 2.0, 3.0]]), 2)[0]
        tensor([2.], dtype=torch.float64)
    """
    own = logits[:, token]
    rank = (logits > own[:, None]).sum(dim=1) + 1
    return rank.double(), (own - logits.logsumexp(dim=1)).double()


def sample_tokens(
    logits: torch.Tensor, uniforms: np.ndarray, *, rows: np.ndarray, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw tokens by inverting the cumulative distribution at given numbers.

    Args:
        logits: float32, shape `(nodes, vocabulary)`.
        uniforms: in [0, 1), shape `(branches,)`.
        rows: the node of each branch, shape `(branches,)`.
        temperature: above 0.

    Returns:
        Tokens, and their log-probabilities at temperature 1 in nats, of shape `(branches,)`.
    """
    total = torch.logsumexp(logits, dim=-1, keepdim=True)
    scaled, normaliser = logits, total
    if temperature != 1:
        scaled = logits / temperature
        normaliser = torch.logsumexp(scaled, dim=-1, keepdim=True)
    head_size = min(_HEAD_TOKENS, logits.shape[-1])
    top, order = torch.topk(scaled, head_size, dim=-1)
    cumulated = torch.exp(top.double() - normaliser.double()).cumsum(dim=-1)
    row = torch.from_numpy(rows).to(logits.device)
    drawn = torch.from_numpy(uniforms).to(logits.device)[:, None]
    places = torch.searchsorted(cumulated[row], drawn, right=True)[:, 0]
    tokens = order[row, places.clamp(max=head_size - 1)]
    found, log_probabilities, places = _on_host(tokens, logits[row, tokens] - total[row, 0], places)
    if len(in_tail := np.flatnonzero(places >= head_size)):
        row, drawn = (each[torch.from_numpy(in_tail).to(each.device)] for each in (row, drawn))
        remaining = drawn - cumulated[row, -1:]
        tokens = _tokens_of_the_tail(scaled[row], order[row], normaliser[row], remaining)
        found[in_tail], log_probabilities[in_tail] = _on_host(
            tokens, logits[row, tokens] - total[row, 0]
        )
    return found.astype(int), log_probabilities


def _on_host(*numbers: torch.Tensor) -> np.ndarray:
    """All at once, since the host waits for the device each time. Doubles hold them exactly."""
    return torch.stack([each.double() for each in numbers]).cpu().numpy()


def _tokens_of_the_tail(
    scaled: torch.Tensor, head: torch.Tensor, normaliser: torch.Tensor, remaining: torch.Tensor
) -> torch.Tensor:
    """Return the tokens at which the probability beyond the head reaches what remains.

    Args:
        scaled: float32, shape `(draws, vocabulary)`.
        head: the likeliest tokens, best first, shape `(draws, head)`.
        normaliser, remaining: shape `(draws, 1)`.
    """
    # In place: probabilities of a whole vocabulary take twice the memory of its logits.
    probabilities = scaled.double().sub_(normaliser.double()).exp_()
    cumulated = probabilities.scatter_(1, head, 0.0).cumsum_(dim=1)
    tokens = torch.searchsorted(cumulated, remaining, right=True)
    # Rounding can leave the number just above the sum; the likeliest token then.
    return torch.where(tokens < cumulated.shape[1], tokens, head[:, :1])[:, 0]
