"""The language modelling loss of rows and its gradient, in little memory.

Logits over the whole vocabulary would be the largest thing in memory, so the output layer is
computed, and differentiated, in pieces of which each is freed before the next. Does not step an
optimiser.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toolformer.forward.language_model import LOGIT_ROWS, LanguageModel

if TYPE_CHECKING:
    import torch

# Rows of the output layer computed at once.


def add_gradient(
    model: LanguageModel, rows: Sequence[Sequence[int]], *, batch_tokens: int, precision: str
) -> float:
    """Add the gradient of some rows of a batch to that of the weights.

    Args:
        model: the model, with float32 weights.
        rows: token ids without a beginning-of-sequence token, which is put in front; fed as one.
        batch_tokens: tokens of the whole batch. The parts of a batch add up to its mean loss per
            token, however it is divided.
        precision: `float32` or `bfloat16`.

    Returns:
        These rows' share of the batch's mean loss, in nats per token.
    """
    import torch

    with _autocast(model, precision):
        hidden, targets = _hidden_states(model, rows)
    loss = 0.0
    gradients: list[torch.Tensor] = []
    for piece, targets_of_piece in _pieces(hidden, targets):
        leaf = piece.detach().requires_grad_()
        with _autocast(model, precision):
            logits = model.logits(leaf)
        piece_loss = _cross_entropy(logits, targets_of_piece) / batch_tokens
        piece_loss.backward()
        gradients.append(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad)
        loss += piece_loss.item()
    hidden.backward(torch.cat(gradients))
    return loss


def summed_loss(model: LanguageModel, rows: Sequence[Sequence[int]], *, precision: str) -> float:
    """Sum of -log p over all tokens of some rows, in nats; leaves no gradient.

    Args:
        model: the model.
        rows: token ids without a beginning-of-sequence token, which is put in front; fed as one.
        precision: `float32` or `bfloat16`.
    """
    import torch

    with torch.no_grad(), _autocast(model, precision):
        hidden, targets = _hidden_states(model, rows)
        return sum(
            _cross_entropy(model.logits(piece), targets_of_piece).item()
            for piece, targets_of_piece in _pieces(hidden, targets)
        )


def _hidden_states(
    model: LanguageModel, rows: Sequence[Sequence[int]]
) -> tuple["torch.Tensor", "torch.Tensor"]:
    """Hidden states from which the tokens are predicted, and these tokens, padding left out.

    fed:       BOS  x_0  …  x_{n-2}  pad      hidden state j predicts x_j; x_{n-1} predicts
    predicted: x_0  x_1  …  x_{n-1}   –       nothing and is not fed

    Returns:
        Shapes `(tokens, hidden)` and `(tokens,)`.
    """
    import torch

    width = max(map(len, rows))
    # Right-padded causal rows need no attention mask: no token sees what stands behind it.
    fed = torch.full((len(rows), width), model.bos_id)
    targets = torch.zeros((len(rows), width), dtype=torch.long)
    is_token = torch.zeros((len(rows), width), dtype=torch.bool)
    for place, row in enumerate(rows):
        targets[place, : len(row)] = torch.tensor(row)
        is_token[place, : len(row)] = True
    fed[:, 1:] = torch.where(is_token[:, 1:], targets[:, :-1], model.bos_id)
    is_token = is_token.to(model.device)
    hidden = model.hidden_states(fed.to(model.device))
    return hidden[is_token], targets.to(model.device)[is_token]


def _pieces(
    hidden: "torch.Tensor", targets: "torch.Tensor"
) -> "list[tuple[torch.Tensor, torch.Tensor]]":
    return list(zip(hidden.split(LOGIT_ROWS), targets.split(LOGIT_ROWS), strict=True))


def _cross_entropy(logits: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits, targets, reduction="sum")


def _autocast(model: LanguageModel, precision: str) -> Any:
    import torch

    return torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
