"""A beam over keys that its beginnings share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from toolformer.forward.branch_keys import BranchKeys
from toolformer.forward.network import Network

if TYPE_CHECKING:
    import torch


class KeysBeam:
    """A `toolformer.forward.model.Beam` of a network.

    Args:
        keys: what stands in front of the beginnings, a start for each.
        states: behind it, shape `(beginnings, hidden)`.
    """

    def __init__(self, model: Network, keys: BranchKeys, states: "torch.Tensor"):
        self._model = model
        self._keys = keys
        self._states = states

    def log_probabilities(self, tokens: Sequence[Sequence[int]]) -> list[list[float]]:
        """See `Beam.log_probabilities`."""
        import torch

        with torch.inference_mode():
            told = torch.log_softmax(self._model.logits(self._states), dim=-1)
            return [row[list(wanted)].tolist() for row, wanted in zip(told, tokens, strict=True)]

    def follow(self, parents: Sequence[int], tokens: Sequence[int]) -> None:
        """See `Beam.follow`."""
        import torch

        with torch.inference_mode():
            self._states = self._keys.feed(parents, [[token] for token in tokens])
