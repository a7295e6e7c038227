"""-log p of chosen tokens of a batch of rows.

    ids:      BOS a b | c d e | c f g …        the opening that all rows share is fed once; then the
                                               rows, one behind the other, where the model can
    states:   row r of the batch, place t      predicts the row's token t + 1

Does not know calls, positions or weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from toolformer.forward.attention import Layer, PackedRows
from toolformer.forward.language_model import LOGIT_ROWS, LanguageModel

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class SharedOpening:
    """Keys and values of the tokens that all rows begin with.

    Attributes:
        length: of the opening in tokens.
        layers: per layer keys and values, each of shape `(key heads, length, head size)`.
    """

    length: int
    layers: tuple[Layer, ...]


NO_OPENING = SharedOpening(0, ())


def common_opening(rows: Sequence[list[int]]) -> list[int]:
    """The tokens that all rows begin with.

    Example:
        >>> common_opening([[0, 5, 7, 1], [0, 5, 6]])
        [0, 5]
    """
    # In lexicographic order all rows lie between these two, and begin with what they share.
    pairs = zip(min(rows), max(rows), strict=False)
    return [token for token, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]


def feed_opening(model: LanguageModel, openings: Sequence[list[int]]) -> SharedOpening:
    """Feed once what rows begin with, for all their batches.

    A model that does not pack rows gets no opening: its padded batches need no mask, and behind
    a cache they would.

    Args:
        model: any.
        openings: the beginning of each row as far as no state of it is wanted, at least one.
    """
    import torch

    shared = common_opening(openings)
    if not shared or len(openings) == 1 or not model.packs_rows:
        return NO_OPENING
    plan = PackedRows([len(shared)], keeps=True)
    with torch.inference_mode():
        model.packed_hidden_states(torch.tensor(shared), torch.arange(len(shared)), plan)
    return SharedOpening(len(shared), tuple(plan.kept))


def losses_at(
    model: LanguageModel,
    rows: Sequence[Sequence[int]],
    places: Sequence[tuple[int, int, int]],
    *,
    opening: SharedOpening = NO_OPENING,
) -> list[float]:
    """Losses of tokens at places of a batch, in nats.

    Args:
        model: any.
        rows: token ids, ragged, the opening included; fed together.
        places: (row, place of the state, token) for each wanted loss; none within the opening.
        opening: what all rows begin with, fed already; each row is longer.
    """
    import torch

    if not places:
        return []
    with torch.inference_mode():
        if model.packs_rows:
            states = _packed_states(model, [row[opening.length :] for row in rows], opening)
        else:
            states = _padded_states(model, rows)
        starts = [0]
        for row in rows:
            starts.append(starts[-1] + len(row) - opening.length)
        index = torch.tensor([starts[row] + place - opening.length for row, place, _ in places])
        wanted = states[index.to(model.device)]
        tokens = torch.tensor([token for _, _, token in places], device=model.device)
        return losses_of_states(model, wanted, tokens)


def losses_of_states(
    model: LanguageModel, states: "torch.Tensor", tokens: "torch.Tensor"
) -> list[float]:
    """Losses of tokens by the states that predict them, in nats.

    Args:
        model: any.
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


def _packed_states(
    model: LanguageModel, rows: Sequence[Sequence[int]], opening: SharedOpening
) -> "torch.Tensor":
    """Hidden states of all rows behind their opening, one after the other, `(tokens, hidden)`."""
    import torch

    lengths = [len(row) for row in rows]
    return model.packed_hidden_states(
        torch.tensor([token for row in rows for token in row]),
        torch.cat([torch.arange(length) for length in lengths]) + opening.length,
        PackedRows(lengths, prefix=opening.layers),
    )


def _padded_states(model: LanguageModel, rows: Sequence[Sequence[int]]) -> "torch.Tensor":
    """The same from a right-padded batch, which needs no mask."""
    import torch

    width = max(len(row) for row in rows)
    input_ids = torch.full((len(rows), width), model.bos_id, dtype=torch.long)
    for index, row in enumerate(rows):
        input_ids[index, : len(row)] = torch.tensor(row)
    hidden = model.hidden_states(input_ids.to(model.device))
    return torch.cat([hidden[index, : len(row)] for index, row in enumerate(rows)])
