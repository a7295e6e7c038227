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

from toolformer.forward.network import Network
from toolformer.forward.plain_rows import PlainRows

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

    def __init__(self, model: Network, cache: "DynamicCache", rows: int, starts: Sequence[Start]):
        import torch

        self._model = model
        self._cache = cache
        self._rows = rows
        self._starts = list(starts)
        # Per node the places of its own tokens within its row.
        self._paths: list[list[int]] = [[] for _ in starts]
        # Positions of all keys, those of padding 0.
        self._positions = torch.arange(cache.get_seq_length()).repeat(rows, 1)

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
            (self._rows, width, self._positions.shape[1] + width), dtype=torch.bool
        )
        # Padding sees the first key only: a row of nothing would turn into NaN.
        visible[:, :, 0] = True
        paths: list[list[int]] = []
        for start, parent, slot, node_tokens in zip(
            self._starts, parents, slots, tokens, strict=True
        ):
            path = list(self._paths[parent])
            for step, token in enumerate(node_tokens):
                path.append(self._positions.shape[1] + slot + step)
                input_ids[start.row, slot + step] = token
                position_ids[start.row, slot + step] = start.visible + depth + step
                seen = visible[start.row, slot + step]
                seen[: start.visible] = True
                seen[torch.tensor(path)] = True
            paths.append(path)
        self._paths = paths
        self._positions = torch.cat([self._positions, position_ids], dim=1)
        model = self._model
        hidden = model.hidden_states(
            input_ids.to(model.device),
            cache=self._cache,
            attention_mask=model.masks(visible, position_ids, self._positions),
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


class PlainBranches(BranchKeys):
    """The same on the plain path: a row for each node.

    Args:
        contexts: what stands in front of each start: a row, and tokens behind it that are fed with
            the first of its branches.
    """

    def __init__(self, contexts: Sequence[tuple[PlainRows, Sequence[int]]]):
        # Nodes of one start have the same length, and are fed together.
        self._starts = dict(enumerate(contexts))
        self._start_of = list(range(len(contexts)))
        self._row_of = [0] * len(contexts)

    def feed(self, parents: Sequence[int], tokens: Sequence[Sequence[int]]) -> "torch.Tensor":
        """See `BranchKeys.feed`."""
        import torch

        start_of = [self._start_of[parent] for parent in parents]
        nodes_of: dict[int, list[int]] = {}
        for node, start in enumerate(start_of):
            nodes_of.setdefault(start, []).append(node)
        states, starts, row_of = [], {}, [0] * len(parents)
        for start, nodes in nodes_of.items():
            context, behind = self._starts[start]
            rows = context.copied([self._row_of[parents[node]] for node in nodes])
            states.append(rows.feed([[*behind, *tokens[node]] for node in nodes])[:, -1])
            starts[start] = rows, ()
            for row, node in enumerate(nodes):
                row_of[node] = row
        self._starts, self._start_of, self._row_of = starts, start_of, row_of
        # Parents ascend, so nodes of a start follow each other.
        return torch.cat(states)
