"""Keys and values of many short continuations of a few texts.

One row per text, all its branches side by side in it, and a 4-D mask that shows each branch its
own past:

    row:      prompt prefix | text part | x_0 … x_{n-2} | tokens of all branches, feed by feed
    branch at position p sees |<-- up to x_{p-1} --->|  and the tokens of its own path

Branches with the same tokens so far are one *node*: it is fed once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from toolformer.forward.language_model import LanguageModel, additive_mask

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache


@dataclass(frozen=True, slots=True)
class Start:
    """Where branches start: the text's row in its batch, and how many keys of it they see.

    The prompt's keys count, so `visible` is also the place of the first token of the branch.
    """

    row: int
    visible: int


class BranchKeys:
    """Keys and values that grow by one feed at a time.

    Args:
        cache: keys and values of prompt and text, one row per text. It grows.
        starts: in the order of their rows.
    """

    def __init__(
        self, model: LanguageModel, cache: "DynamicCache", rows: int, starts: Sequence[Start]
    ):
        self._model = model
        self._cache = cache
        self._rows = rows
        self._base_length = cache.get_seq_length()
        self._starts = list(starts)
        # Per node the places of its tokens behind the base, within its row.
        self._paths: list[list[int]] = [[] for _ in starts]
        self._appended = 0

    def feed(self, parents: Sequence[int], tokens: Sequence[Sequence[int]]) -> "torch.Tensor":
        """Feed the next tokens of all nodes; nodes without a child are forgotten.

        Args:
            parents: for each node which node of the last feed it continues, in the first feed
                which start. In ascending order.
            tokens: its next tokens, equally many for all.

        Returns:
            Hidden states behind each node's last token, shape `(nodes, hidden)`.
        """
        import torch

        count = len(tokens[0])
        self._starts = [self._starts[parent] for parent in parents]
        slots = self._slots(count)
        width = max(slots) + count
        depth = len(self._paths[parents[0]])
        rows = [start.row for start in self._starts]
        input_ids = torch.zeros((self._rows, width), dtype=torch.long)
        position_ids = torch.zeros((self._rows, width), dtype=torch.long)
        visible = torch.zeros(
            (self._rows, width, self._base_length + self._appended + width), dtype=torch.bool
        )
        # Padding sees the first key only: a row of nothing would turn into NaN.
        visible[:, :, 0] = True
        paths: list[list[int]] = []
        for start, parent, slot, node_tokens in zip(
            self._starts, parents, slots, tokens, strict=True
        ):
            path = list(self._paths[parent])
            for step, token in enumerate(node_tokens):
                path.append(self._appended + slot + step)
                input_ids[start.row, slot + step] = token
                position_ids[start.row, slot + step] = start.visible + depth + step
                seen = visible[start.row, slot + step]
                seen[: start.visible] = True
                seen[torch.tensor(path) + self._base_length] = True
            paths.append(path)
        self._paths = paths
        self._appended += width
        model = self._model
        hidden = model.hidden_states(
            input_ids.to(model.device),
            cache=self._cache,
            attention_mask=additive_mask(visible[:, None], model),
            position_ids=position_ids.to(model.device),
        )
        last = torch.tensor(slots) + count - 1
        return hidden[torch.tensor(rows).to(model.device), last.to(model.device)]

    def _slots(self, count: int) -> list[int]:
        """Where in its row each node's tokens of this feed stand."""
        used = [0] * self._rows
        slots: list[int] = []
        for start in self._starts:
            slots.append(used[start.row])
            used[start.row] += count
        return slots
