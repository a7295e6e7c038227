"""-log p of chosen tokens of a batch of rows.

    ids:      BOS | a b c | BOS | d e …        rows packed one behind the other, where the model can
    states:   row r of the batch, place t      predicts the row's token t + 1

Does not know calls, positions or weights.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolformer.attention import PackedRows
from toolformer.language_model import LOGIT_ROWS, LanguageModel

if TYPE_CHECKING:
    import torch


def losses_at(
    model: LanguageModel,
    rows: Sequence[Sequence[int]],
    places: Sequence[tuple[int, int, int]],
) -> list[float]:
    """Losses of tokens at places of a batch, in nats.

    Args:
        model: any.
        rows: token ids, ragged; fed together.
        places: (row, place of the state, token) for each wanted loss.
    """
    import torch

    if not places:
        return []
    losses: list[float] = []
    with torch.inference_mode():
        states = _packed_states(model, rows) if model.packs_rows else _padded_states(model, rows)
        starts = [0]
        for row in rows:
            starts.append(starts[-1] + len(row))
        index = torch.tensor([starts[row] + place for row, place, _ in places])
        wanted = states[index.to(model.device)]
        tokens = torch.tensor([token for _, _, token in places], device=model.device)
        for start in range(0, len(places), LOGIT_ROWS):
            chunk = slice(start, start + LOGIT_ROWS)
            logits = model.logits(wanted[chunk])
            chosen = logits.gather(1, tokens[chunk][:, None])[:, 0]
            losses.extend((torch.logsumexp(logits, dim=-1) - chosen).tolist())
    return losses


def _packed_states(model: LanguageModel, rows: Sequence[Sequence[int]]) -> "torch.Tensor":
    """Hidden states of all rows, one behind the other, shape `(tokens, hidden)`."""
    import torch

    lengths = [len(row) for row in rows]
    return model.packed_hidden_states(
        torch.tensor([token for row in rows for token in row]),
        torch.cat([torch.arange(length) for length in lengths]),
        PackedRows(lengths),
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
