"""Computes the language modelling loss of rows, and its gradient, with little memory.

Logits over the whole vocabulary would dominate memory. The output layer is therefore computed and
differentiated in chunks of tokens, and each chunk is freed before the next one.
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

EQUAL_WEIGHTS = LossWeightsSettings(text=1.0, call=1.0, tool=1.0, result=1.0)
CALLS_ONLY = LossWeightsSettings(text=0.0, call=1.0, tool=1.0, result=0.0)


def token_weights(row: TrainingRow, weights: LossWeightsSettings) -> list[float]:
    by_kind = _by_kind(weights)
    return [by_kind[kind] for kind in row.kinds]


def total_weight(rows: Sequence[TrainingRow], weights: LossWeightsSettings) -> float:
    by_kind = [*enumerate(_by_kind(weights))]
    return sum(row.kinds.count(kind) * weight for row in rows for kind, weight in by_kind)


def _by_kind(weights: LossWeightsSettings) -> tuple[float, ...]:
    # In the order of the kinds. The prompt of a chat has no weight.
    return weights.text, weights.call, weights.tool, weights.result, 0.0


def add_gradient(
    model: LanguageModel,
    rows: Sequence[TrainingRow],
    *,
    weights: LossWeightsSettings,
    batch_weight: float,
    precision: str,
    with_full_weights: Callable[..., Any] = lambda compute: compute(),
) -> float:
    """Accumulate the gradient of a micro-batch and return its share of the batch's mean loss.

    The loss is in nats per token. Losses are divided by `batch_weight`, the total weight of all
    tokens of the batch, so those of the micro-batches add up to the mean loss of the batch.
    `with_full_weights` runs the forward pass while this process has the full weights.
    """

    def forward() -> tuple[Tensor, Tensor, float]:
        """Return the hidden states, the gradient of the loss with respect to them, and the loss."""
        with _autocast(model, precision):
            hidden, targets = _hidden_states_and_targets(model, [row.ids for row in rows])
        loss = 0.0
        gradients: list[Tensor] = []
        for chunk, chunk_targets, chunk_weights in _chunks(
            model, hidden, targets, _weights(model, rows, weights)
        ):
            leaf = chunk.detach().requires_grad_()
            with _autocast(model, precision):
                logits = model.logits(leaf)
            losses = cross_entropy(logits, chunk_targets, reduction="none")
            chunk_loss = (losses * chunk_weights).sum() / batch_weight
            chunk_loss.backward()
            gradients.append(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)
            loss += chunk_loss.item()
        return hidden, torch.cat(gradients), loss

    hidden, gradient, loss = with_full_weights(forward)
    hidden.backward(gradient)
    return loss


def summed_losses(
    model: LanguageModel,
    rows: Sequence[TrainingRow],
    *,
    weights: Sequence[LossWeightsSettings],
    precision: str,
    with_full_weights: Callable[..., Any] = lambda compute: compute(),
) -> list[float]:
    """Return the weighted sum of -log p over all tokens, in nats, once per set of weights.

    Computes no gradient; see `add_gradient` for the arguments.
    """

    def forward() -> list[float]:
        hidden, targets = _hidden_states_and_targets(model, [row.ids for row in rows])
        weight_tensors = [_weights(model, rows, each) for each in weights]
        sums = [0.0] * len(weights)
        for chunk, chunk_targets, *chunk_weights in _chunks(
            model, hidden, targets, *weight_tensors
        ):
            losses = cross_entropy(model.logits(chunk), chunk_targets, reduction="none")
            sums = [
                total + (losses * each).sum().item()
                for total, each in zip(sums, chunk_weights, strict=True)
            ]
        return sums

    with torch.no_grad(), _autocast(model, precision):
        return with_full_weights(forward)


def _weights(
    model: LanguageModel, rows: Sequence[TrainingRow], weights: LossWeightsSettings
) -> Tensor:
    per_token = [weight for row in rows for weight in token_weights(row, weights)]
    return torch.tensor(per_token, device=model.device)


# Alignment: hidden state j predicts x_j. The last token predicts nothing, so it is not fed.
#
#   input:   BOS  x_0  …  x_{n-2}  pad
#   target:  x_0  x_1  …  x_{n-1}   –


def _hidden_states_and_targets(
    model: LanguageModel, rows: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor]:
    """Return hidden states `(tokens, hidden)` and the tokens they predict `(tokens,)`, unpadded."""
    # Right-padded causal rows need no attention mask, since no token attends to later tokens.
    inputs = pad_sequence(
        [torch.tensor([model.bos_id, *row[:-1]]) for row in rows],
        batch_first=True,
        padding_value=model.bos_id,
    )
    lengths = torch.tensor([len(row) for row in rows])
    is_token = (torch.arange(inputs.shape[1]) < lengths[:, None]).to(model.device)
    targets = torch.tensor([token for row in rows for token in row], device=model.device)
    return model.hidden_states(inputs.to(model.device))[is_token], targets


def _chunks(model: LanguageModel, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
    return list(zip(*(each.split(model.logit_rows) for each in tensors), strict=True))


def _autocast(model: LanguageModel, precision: str) -> Any:
    return torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
