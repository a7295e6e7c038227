"""Log-probabilities by plain transformers: whole rows through the model's own forward pass.

One row at a time, without a cache, and what is fed is put together from the tokenizer alone: so the
engine's numbers can be compared with these.
"""

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from toolformer.forward.language_model import LanguageModel
from toolformer.loss_weights import TOKEN_WEIGHTS

if TYPE_CHECKING:
    import torch


class PlainScores:
    """What plain transformers say of a model."""

    def __init__(self, model: LanguageModel):
        self._model = model
        # Of rows that are asked for at several places.
        self._scores: dict[tuple[tuple[int, ...], ...], list[float]] = {}

    def behind(self, ids: Sequence[int], begin: int) -> "torch.Tensor":
        """The values log p( · | ids before it) for the places of a row from `begin` on, in nats.

        Args:
            ids: all of the row, with its start token.
            begin: at least 1.

        Returns:
            Shape `(places + 1, vocabulary)`: the last one is of what would follow the row.
        """
        import torch

        network = self._model.model
        # Most classes compute the logits of the last tokens alone, where they are told so.
        keeps = "logits_to_keep" in inspect.signature(network.forward).parameters
        fewer = {"logits_to_keep": len(ids) - begin + 1} if keeps else {}
        with torch.inference_mode():
            row = torch.tensor([list(ids)], device=self._model.device)
            logits = network(input_ids=row, use_cache=False, **fewer).logits[0]
            return torch.log_softmax(logits[begin - 1 - len(ids) :].float(), dim=-1).cpu()

    def of_tokens(self, before: Sequence[int], ids: Sequence[int]) -> list[float]:
        """Log-probabilities of tokens behind the start token and others, in nats."""
        key = tuple(before), tuple(ids)
        if key not in self._scores:
            scores = self.behind([self._model.bos_id, *before, *ids], 1 + len(before))
            self._scores[key] = [float(scores[at, token]) for at, token in enumerate(ids)]
        return self._scores[key]

    def loss(self, before: Sequence[int], ids: Sequence[int], begin: int) -> float:
        """The paper's loss of the tokens of a text from `begin` on, with tokens before the text."""
        scores = self.of_tokens(before, ids)[begin:]
        return -sum(weight * score for weight, score in zip(TOKEN_WEIGHTS, scores, strict=False))

    def prompt_ids(self, prompt: str, text: str) -> list[int]:
        """P(x) as tokens, with a seam in front of the space before the text."""
        before, after = prompt.split("{text}")
        shared = before.rstrip(" ")
        tokenizer = self._model.tokenizer
        behind = tokenizer.encode_behind(f"{before[len(shared) :]}{text}{after}")
        return [*self._prompt_start, *tokenizer.encode(shared), *behind]

    @cached_property
    def _prompt_start(self) -> list[int]:
        """The start token, where the tokenizer itself puts something in front of a text."""
        backend = self._model.tokenizer.backend
        alone = backend.encode("a", add_special_tokens=False)
        is_led = backend.encode("a", add_special_tokens=True)[: len(alone)] != alone
        return [self._model.bos_id] if is_led else []


def can_be_drawn(
    log_probabilities: "torch.Tensor", uniform: float, token: int, *, rounding: float
) -> bool:
    """Whether rounding of the logits, in other batches or on another processor, can draw a token.

    The tokens whose order among the 256 likeliest is not a matter of rounding bound the part of
    [0, 1) that belongs to the token. Of the others, which stand in the order of their ids, one can
    take the place of the 256th token, and all between them move by as much.

    Args:
        log_probabilities: shape `(vocabulary,)`, in nats.
        rounding: how far rounding moves a log-probability.
    """
    probabilities = log_probabilities.double().exp()
    likeliest = probabilities.topk(min(256, len(probabilities))).indices
    if token in likeliest:
        above = probabilities[log_probabilities > log_probabilities[token] + rounding].sum()
        upto = probabilities[log_probabilities >= log_probabilities[token] - rounding].sum()
        slack = rounding
    else:
        others = probabilities.clone()
        others[likeliest] = 0
        above = probabilities[likeliest].sum() + others[:token].sum()
        upto = above + probabilities[token]
        slack = rounding + float(probabilities[likeliest[-1]])
    return float(above) - slack <= uniform <= float(upto) + slack
