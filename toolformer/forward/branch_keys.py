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

from toolformer.forward.key_rows import KeyRows
from toolformer.forward.plain_rows import PlainRows

if TYPE_CHECKING:
    import torch


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
        keys: of prompt and text, one row per text. They grow.
        rows: how many there are.
        starts: in the order of their rows.
    """

    def __init__(self, keys: KeyRows, rows: int, starts: Sequence[Start]):
        import torch

        self._keys, self._row_count = keys, rows
        # Per node its row, how many keys of the text it sees, and the places of its own tokens.
        self._rows = torch.tensor([start.row for start in starts])
        self._seen = torch.tensor([start.visible for start in starts])
        self._paths = torch.empty((len(starts), 0), dtype=torch.long)

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

        chosen, ids = torch.tensor(parents), torch.tensor(tokens)
        self._rows, self._seen = self._rows[chosen], self._seen[chosen]
        self._drop_ended_rows()
        paths, count = self._paths[chosen], ids.shape[1]
        # Nodes of a row follow each other, in the cache as here.
        places = torch.arange(len(parents)) - torch.searchsorted(self._rows, self._rows)
        slots = places[:, None] * count + torch.arange(count)
        before, shape = self._keys.count, (self._row_count, int(slots.max()) + 1)
        of_node = self._rows[:, None], slots
        keys = before + slots
        input_ids, position_ids = torch.zeros(shape, dtype=torch.long), torch.zeros(shape).long()
        input_ids[of_node] = ids
        position_ids[of_node] = self._seen[:, None] + paths.shape[1] + torch.arange(count)
        visible = torch.zeros((*shape, before + shape[1]), dtype=torch.bool)
        # Padding sees the first key only: a row of nothing would turn into NaN.
        visible[:, :, 0] = True
        sees = torch.arange(visible.shape[2]) < self._seen[:, None]
        sees.scatter_(1, paths, torch.ones_like(paths, dtype=torch.bool))
        for step in range(count):
            sees.scatter_(1, keys[:, step : step + 1], torch.ones_like(keys[:, :1]).bool())
            visible[self._rows, slots[:, step]] = sees
        self._paths = torch.cat([paths, keys], dim=1)
        hidden = self._keys.feed(input_ids, position_ids, visible)
        return hidden[self._rows.to(hidden.device), slots[:, -1].to(hidden.device)]

    def _drop_ended_rows(self) -> None:
        """Leave out texts all of whose branches have ended: their rows would be padding."""
        rows, self._rows = self._rows.unique(return_inverse=True)
        if len(rows) < self._row_count:
            on_device = rows.to(self._keys.model.device)
            positions = self._keys.positions.expand(self._row_count, -1)[rows]
            self._keys = self._keys.mapped(lambda states: states[on_device], positions)
            self._row_count = len(rows)


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
