"""What a network expected in place of given tokens."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolformer.forward.model import GivenToken
from toolformer.forward.network import LOGIT_ROWS, Network
from toolformer.forward.next_tokens import LogitsOfNext, next_tokens

if TYPE_CHECKING:
    import torch


def given_tokens(
    model: Network,
    rows: Sequence[Sequence[int]],
    *,
    top: Sequence[int],
    open_id: int,
    counts: Sequence[int],
) -> list[tuple[list[GivenToken], LogitsOfNext]]:
    """See `toolformer.forward.model.ReadingModel.given_tokens`; rows are padded to the longest."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    # Right-padded causal rows need no mask: no token sees what stands behind it.
    input_ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    found = []
    with torch.inference_mode():
        all_states = model.hidden_states(input_ids.to(model.device))
        for row, states, row_top, count in zip(rows, all_states, top, counts, strict=True):
            given: list[GivenToken] = []
            for begin in range(0, len(row) - 1, LOGIT_ROWS):
                ids = row[begin + 1 : begin + 1 + LOGIT_ROWS]
                given += _given(model.logits(states[begin : begin + len(ids)]), ids, row_top)
            last = model.logits(states[len(row) - 1 : len(row)])
            (behind,) = next_tokens(last, open_id=open_id, count=count)
            found.append((given, behind))
    return found


def _given(logits: "torch.Tensor", ids: Sequence[int], top: int) -> list[GivenToken]:
    import torch

    tokens = torch.tensor(ids, device=logits.device)[:, None]
    rank = (logits > logits.gather(1, tokens)).sum(dim=1, keepdim=True) + 1
    likeliest = logits.topk(min(top, logits.shape[1])).indices
    # As the losses of scoring are computed, so that both have the same last digits.
    found = logits.log_softmax(dim=1).gather(1, torch.cat([tokens, likeliest], dim=1))
    # To the host at once. Doubles hold all of them exactly.
    numbers = torch.cat([rank.double(), found[:, :1], likeliest, found[:, 1:]], dim=1).tolist()
    width = likeliest.shape[1]
    return [
        GivenToken(int(rank), own, list(zip(map(int, others[:width]), others[width:], strict=True)))
        for rank, own, *others in numbers
    ]
