"""The language modelling loss of rows and its gradient, in little memory.

Logits over the whole vocabulary would be the largest thing in memory, so the output layer is
computed, and differentiated, in pieces of which each is freed before the next.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from toolformer.forward.language_model import LanguageModel
from toolformer.settings.training_sections import LossWeightsSettings
from toolformer.training.training_rows import TrainingRow

ALIKE = LossWeightsSettings(text=1.0, call=1.0, tool=1.0, result=1.0)
CALLS_ALONE = LossWeightsSettings(text=0.0, call=1.0, tool=1.0, result=0.0)


def token_weights(row: TrainingRow, weights: LossWeightsSettings) -> list[float]:
    """Return the weight of each token of a row."""
    by_kind = _by_kind(weights)
    return [by_kind[kind] for kind in row.kinds]


def total_weight(rows: Sequence[TrainingRow], weights: LossWeightsSettings) -> float:
    """Return the sum of the weights of all tokens of some rows."""
    by_kind = [*enumerate(_by_kind(weights))]
    return sum(row.kinds.count(kind) * weight for row in rows for kind, weight in by_kind)


def _by_kind(weights: LossWeightsSettings) -> tuple[float, ...]:
    # In the order of the kinds; the prompt of a chat counts nothing.
    return weights.text, weights.call, weights.tool, weights.result, 0.0


def add_gradient(
    model: LanguageModel,
    rows: Sequence[TrainingRow],
    *,
    weights: LossWeightsSettings,
    batch_weight: float,
    precision: str,
    with_weights: Callable[..., Any] = lambda compute: compute(),
) -> float:
    """Add the gradient of some rows of a batch to that of the weights.

    Args:
        model: with float32 weights.
        rows: fed as one, each with a beginning-of-sequence token in front.
        batch_weight: weight of all tokens of the whole batch together. The parts of a batch add up
            to its mean loss per unit of weight, however it is divided.
        precision: `float32` or `bfloat16`.
        with_weights: runs the forward pass, with the weights that this process holds parts of.

    Returns:
        These rows' share of the batch's mean loss, in nats per token.
    """

    def forward() -> tuple[Tensor, Tensor, float]:
        """The hidden states, and the gradient by them of the loss behind them."""
        with _autocast(model, precision):
            hidden, targets = _fed(model, [row.ids for row in rows])
        loss = 0.0
        gradients: list[Tensor] = []
        for piece, targets_of_piece, weights_of_piece in _pieces(
            model, hidden, targets, _weights(model, rows, weights)
        ):
            leaf = piece.detach().requires_grad_()
            with _autocast(model, precision):
                logits = model.logits(leaf)
            losses = cross_entropy(logits, targets_of_piece, reduction="none")
            piece_loss = (losses * weights_of_piece).sum() / batch_weight
            piece_loss.backward()
            gradients.append(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)
            loss += piece_loss.item()
        return hidden, torch.cat(gradients), loss

    hidden, gradient, loss = with_weights(forward)
    hidden.backward(gradient)
    return loss


def summed_losses(
    model: LanguageModel,
    rows: Sequence[TrainingRow],
    *,
    weights: Sequence[LossWeightsSettings],
    precision: str,
    with_weights: Callable[..., Any] = lambda compute: compute(),
) -> list[float]:
    """Sums of -log p over all tokens of some rows, in nats, by each of these weights.

    The arguments are those of `add_gradient`; no gradient is left.
    """

    def forward() -> list[float]:
        hidden, targets = _fed(model, [row.ids for row in rows])
        each = [_weights(model, rows, one) for one in weights]
        sums = [0.0] * len(weights)
        for piece, tokens, *by in _pieces(model, hidden, targets, *each):
            losses = cross_entropy(model.logits(piece), tokens, reduction="none")
            sums = [
                total + (losses * one).sum().item() for total, one in zip(sums, by, strict=True)
            ]
        return sums

    with torch.no_grad(), _autocast(model, precision):
        return with_weights(forward)


def _weights(
    model: LanguageModel, rows: Sequence[TrainingRow], weights: LossWeightsSettings
) -> Tensor:
    of_tokens = [weight for row in rows for weight in token_weights(row, weights)]
    return torch.tensor(of_tokens, device=model.device)


# fed:       BOS  x_0  …  x_{n-2}  pad      hidden state j predicts x_j; x_{n-1} predicts
# predicted: x_0  x_1  …  x_{n-1}   –       nothing and is not fed


def _fed(model: LanguageModel, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Hidden states from which the tokens are predicted, and these tokens, padding left out.

    Returns:
        Shapes `(tokens, hidden)` and `(tokens,)`.
    """
    # Right-padded causal rows need no attention mask: no token sees what stands behind it.
    fed = pad_sequence(
        [torch.tensor([model.bos_id, *row[:-1]]) for row in rows],
        batch_first=True,
        padding_value=model.bos_id,
    )
    lengths = torch.tensor([len(row) for row in rows])
    is_token = (torch.arange(fed.shape[1]) < lengths[:, None]).to(model.device)
    targets = torch.tensor([token for row in rows for token in row], device=model.device)
    return model.hidden_states(fed.to(model.device))[is_token], targets


def _pieces(model: LanguageModel, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
    return list(zip(*(each.split(model.logit_rows) for each in tensors), strict=True))


def _autocast(model: LanguageModel, precision: str) -> Any:
    return torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
