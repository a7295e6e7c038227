"""Ranks, most likely tokens and samples from next-token logits.

Logits computed in half precision are often equal. The rank of a token is therefore one more than
the number of tokens with strictly larger logits, and among equal logits the lowest id comes first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch

# Sampling accumulates the probabilities of this many tokens in descending order and treats the rest
# as one bucket. Summing a whole vocabulary in id order would lose the last digits that make a
# sample independent of its batch.
_HEAD_TOKENS = 256


@dataclass(frozen=True, slots=True)
class LocalNextTokens:
    """Logits of one row, a view of shape `(vocabulary,)`, as `NextTokens`."""

    logits: torch.Tensor
    ranked: list[int]
    log_probabilities: list[float]
    call_rank: int
    call_log_probability: float

    def log_probability(self, token: int) -> float:
        if token in self.ranked:
            return self.log_probabilities[self.ranked.index(token)]
        return float(self.logits.log_softmax(dim=-1)[token])

    def most_likely_except(self, tokens: Sequence[int]) -> int:
        logits = self.logits.clone()
        logits[tokens] = float("-inf")
        return int(logits.argmax())

    def sampled(
        self, uniform: float, temperature: float, *, top_p: float = 1.0, banned: int | None = None
    ) -> int:
        logits = self.logits.clone()
        if top_p < 1:
            probabilities = (logits.double() / temperature).softmax(dim=-1)
            ranked, order = probabilities.sort(descending=True, stable=True)
            num_kept = 1 + int((ranked.cumsum(dim=-1)[:-1] < top_p).sum())
            logits[order[num_kept:]] = float("-inf")
        if banned is not None:
            logits[banned] = float("-inf")
            if logits.max() == float("-inf"):
                return self.most_likely_except([banned])
        tokens, _ = sample_tokens(
            logits[None], np.array([uniform]), rows=np.array([0]), temperature=temperature
        )
        return int(tokens[0])

    def kept(self) -> Self:
        """Return a copy that does not keep the logits of the other rows alive."""
        return replace(self, logits=self.logits.clone())


def next_tokens(logits: torch.Tensor, *, open_id: int, count: int) -> list[LocalNextTokens]:
    """Return the distributions of rows of float32 logits; see `Contexts.next_tokens`."""
    # One more than requested, to detect logits equal to the last one that would be left out.
    values, tokens = logits.topk(min(count + 1, logits.shape[1]))
    open_ranks, open_log_probabilities = ranks(logits, open_id)
    others = [open_ranks, open_log_probabilities, logits.logsumexp(dim=1)]
    # Copied to the host once, because each copy waits for the device. Doubles hold all of these
    # numbers exactly.
    numbers = torch.cat([torch.stack(others, dim=1), -values, tokens], dim=1).tolist()
    expected = []
    for row_logits, (rank, log_probability, total, *most_likely) in zip(
        logits, numbers, strict=True
    ):
        half = values.shape[1]
        pairs = sorted(zip(most_likely[:half], map(int, most_likely[half:]), strict=True))
        if half > count and pairs[count][0] == pairs[count - 1][0]:
            last = pairs[count][0]
            equal = torch.nonzero(row_logits == -last)[:count, 0].tolist()
            pairs = [pair for pair in pairs if pair[0] < last] + [(last, token) for token in equal]
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
    """Return rank (from 1) and log-probability of a token per row, both float64.

    >>> ranks(torch.tensor([[2.0, 1.0, 2.0, 3.0]]), 2)[0]
    tensor([2.], dtype=torch.float64)
    """
    own = logits[:, token]
    rank = (logits > own[:, None]).sum(dim=1) + 1
    return rank.double(), (own - logits.logsumexp(dim=1)).double()


def sample_tokens(
    logits: torch.Tensor, uniforms: np.ndarray, *, rows: np.ndarray, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """Sample tokens by inverting the cumulative distribution function at `uniforms` in [0, 1).

    Logits are float32 of shape `(nodes, vocabulary)`. `rows` holds the node of each branch; it has
    shape `(branches,)` like the returned tokens and log-probabilities (at temperature 1).
    """
    total = torch.logsumexp(logits, dim=-1, keepdim=True)
    scaled, normaliser = logits, total
    if temperature != 1:
        scaled = logits / temperature
        normaliser = torch.logsumexp(scaled, dim=-1, keepdim=True)
    head_size = min(_HEAD_TOKENS, logits.shape[-1])
    top, order = torch.topk(scaled, head_size, dim=-1)
    cumulative = torch.exp(top.double() - normaliser.double()).cumsum(dim=-1)
    row = torch.from_numpy(rows).to(logits.device)
    drawn = torch.from_numpy(uniforms).to(logits.device)[:, None]
    indices = torch.searchsorted(cumulative[row], drawn, right=True)[:, 0]
    tokens = order[row, indices.clamp(max=head_size - 1)]
    found, log_probabilities, indices = _on_host(
        tokens, logits[row, tokens] - total[row, 0], indices
    )
    if len(in_tail := np.flatnonzero(indices >= head_size)):
        row, drawn = (each[torch.from_numpy(in_tail).to(each.device)] for each in (row, drawn))
        remaining = drawn - cumulative[row, -1:]
        tokens = _tail_tokens(scaled[row], order[row], normaliser[row], remaining)
        found[in_tail], log_probabilities[in_tail] = _on_host(
            tokens, logits[row, tokens] - total[row, 0]
        )
    return found.astype(int), log_probabilities


def _on_host(*numbers: torch.Tensor) -> np.ndarray:
    # One copy, because each copy waits for the device. Doubles hold all of these numbers exactly.
    return torch.stack([each.double() for each in numbers]).cpu().numpy()


def _tail_tokens(
    scaled: torch.Tensor, head: torch.Tensor, normaliser: torch.Tensor, remaining: torch.Tensor
) -> torch.Tensor:
    """Return the tokens at which the cumulative probability outside the head exceeds a number."""
    # In place: float64 probabilities of a whole vocabulary take twice the memory of its logits.
    probabilities = scaled.double().sub_(normaliser.double()).exp_()
    cumulative = probabilities.scatter_(1, head, 0.0).cumsum_(dim=1)
    tokens = torch.searchsorted(cumulative, remaining, right=True)
    # Rounding can leave the number just above the sum. In that case, take the most likely token.
    return torch.where(tokens < cumulative.shape[1], tokens, head[:, :1])[:, 0]
