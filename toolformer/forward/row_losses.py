"""-log p of chosen tokens of a batch of rows.

The state of row r at place t predicts the row's token t + 1.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

from toolformer.forward.network import LOGIT_ROWS, Network

if TYPE_CHECKING:
    import torch


def common_opening(rows: Sequence[list[int]]) -> list[int]:
    """The tokens that all rows begin with.

    Example:
        >>> common_opening([[0, 5, 7, 1], [0, 5, 6]])
        [0, 5]
    """
    # In lexicographic order all rows lie between these two, and begin with what they share.
    pairs = zip(min(rows), max(rows), strict=False)
    return [token for token, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]


def losses_at(
    model: Network, rows: Sequence[Sequence[int]], places: Sequence[tuple[int, int, int]]
) -> list[float]:
    """Losses of tokens at places of a batch, in nats.

    Args:
        rows: token ids, ragged; fed together, padded to the longest.
        places: (row, place of the state, token) for each wanted loss.
    """
    import torch
    from torch.nn.utils.rnn import pad_sequence

    if not places:
        return []
    # Right-padded causal rows need no mask: no token sees what stands behind it.
    input_ids = pad_sequence(
        [torch.tensor(row) for row in rows], batch_first=True, padding_value=model.bos_id
    )
    row_of, place_of, tokens = torch.tensor(places, device=model.device).unbind(1)
    with torch.inference_mode():
        states = model.hidden_states(input_ids.to(model.device))
        return losses_of_states(model, states[row_of, place_of], tokens)


def losses_of_all(model: Network, row: Sequence[int]) -> list[float]:
    """-log p of every token of the vocabulary behind a row of at least one token, in nats."""
    import torch

    with torch.inference_mode():
        states = model.hidden_states(torch.tensor([row], device=model.device))
        logits = model.logits(states[0, -1])
        return (torch.logsumexp(logits, dim=-1) - logits).tolist()


def losses_of_states(model: Network, states: "torch.Tensor", tokens: "torch.Tensor") -> list[float]:
    """Losses of tokens by the states that predict them, in nats.

    Args:
        states: shape `(tokens, hidden)`.
        tokens: int, shape `(tokens,)`, on the same device.
    """
    from torch.nn.functional import cross_entropy

    losses: list[float] = []
    for start in range(0, len(tokens), LOGIT_ROWS):
        chunk = slice(start, start + LOGIT_ROWS)
        logits = model.logits(states[chunk])
        losses.extend(cross_entropy(logits, tokens[chunk], reduction="none").tolist())
    return losses
