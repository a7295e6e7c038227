"""Keys and values of many short continuations of a few texts, packed.

    one text:   prompt prefix | text part | x_0 … x_{p_max - 1} |      shared by its branches
    one branch:                                     [ Tool ( a b c     its own, a few tokens

A branch at position p sees the shared keys before p and its own; one softmax covers both. Branches
with the same tokens so far are one *node*: it is fed once. What a model class without the engine's
attention does instead is in `stock_branch_keys`. Does not sample.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from toolformer.forward.attention import Layer
from toolformer.forward.language_model import LanguageModel

if TYPE_CHECKING:
    import torch

# Keys of branches are given room for this many tokens at a time: most calls close early, and room
# for the longest call in all branches would be most of the memory.
_ROOM = 16


@dataclass(frozen=True, slots=True)
class Start:
    """Where branches start: the text's row in its batch, and how many keys of it they see.

    The prompt's keys count, so `visible` is also the place of the first token of the branch.
    """

    row: int
    visible: int


class BranchKeys(Protocol):
    """Keys and values that grow by one feed at a time."""

    def feed(self, parents: Sequence[int], tokens: Sequence[Sequence[int]]) -> "torch.Tensor":
        """Feed the next tokens of all nodes; nodes without a child are forgotten.

        Args:
            parents: for each node which node of the last feed it continues, in the first feed
                which start. In ascending order.
            tokens: its next tokens, equally many for all.

        Returns:
            Hidden states behind each node's last token, shape `(nodes, hidden)`.
        """
        ...

    def feed_whole(self, parents: Sequence[int], tokens: Sequence[Sequence[int]]) -> "torch.Tensor":
        """The same with the states behind all tokens, shape `(nodes, tokens, hidden)`."""
        ...


class PackedBranchKeys:
    """See `BranchKeys`.

    Args:
        model: one that packs rows.
        prefix: per layer the prompt's keys and values; none without a prompt.
        texts: per row and layer the text's keys and values, without the prompt's.
        starts: in the order of their rows.
        most_tokens: most tokens that will be fed behind any start.
    """

    def __init__(
        self,
        model: LanguageModel,
        prefix: Sequence[Layer],
        texts: Sequence[Sequence[Layer]],
        starts: Sequence[Start],
        *,
        most_tokens: int,
    ):
        self._model = model
        self._most_tokens = most_tokens
        self._starts = list(starts)
        self._used = 0
        visible: dict[int, int] = {}
        for start in starts:
            visible[start.row] = max(start.visible, visible.get(start.row, 0))
        self._visible = visible
        layers = len(texts[0])
        self._shared: list[dict[int, Layer]] = [
            {
                row: _joined(prefix[layer] if prefix else None, texts[row][layer], end, most_tokens)
                for row, end in visible.items()
            }
            for layer in range(layers)
        ]
        keys = texts[0][0][0]
        # Each (nodes, key heads, room, head size).
        empty = keys.new_empty((len(starts), keys.shape[0], 0, keys.shape[2]))
        self._own: list[Layer] = [(empty, empty)] * layers
        self._biases: list[tuple[int, int, torch.Tensor]] = []
        self._own_bias = keys.new_empty((0, 0))
        self._count = 0

    def feed(self, parents: Sequence[int], tokens: Sequence[Sequence[int]]) -> "torch.Tensor":
        """See `BranchKeys`."""
        return self.feed_whole(parents, tokens)[:, -1]

    def feed_whole(self, parents: Sequence[int], tokens: Sequence[Sequence[int]]) -> "torch.Tensor":
        """See `BranchKeys`."""
        import torch

        self._count = len(tokens[0])
        self._select(parents)
        self._make_room()
        self._plan_biases()
        first = torch.tensor([start.visible for start in self._starts]) + self._used
        positions = first[:, None] + torch.arange(self._count)
        hidden = self._model.packed_hidden_states(
            torch.tensor(tokens).reshape(-1), positions.reshape(-1), self
        )
        self._used += self._count
        return hidden.view(len(tokens), self._count, -1)

    def attend(
        self,
        layer: int,
        query: "torch.Tensor",
        key: "torch.Tensor",
        value: "torch.Tensor",
        scaling: float,
    ) -> "torch.Tensor":
        """See `toolformer.forward.attention.AttentionPlan`."""
        import torch

        nodes, count = len(self._starts), self._count
        heads, _, head_size = query.shape
        key_heads = key.shape[0]
        shared = heads // key_heads
        own_keys, own_values = self._own[layer]
        room = own_keys.shape[2]
        for own, new in ((own_keys, key), (own_values, value)):
            own[:, :, self._used : self._used + count] = new.view(
                key_heads, nodes, count, head_size
            ).transpose(0, 1)
        grouped = (query * scaling).reshape(key_heads, shared, nodes, count, head_size)
        own_scores = torch.bmm(
            _by_node(grouped), own_keys.view(nodes * key_heads, room, head_size).transpose(1, 2)
        ).view(nodes, key_heads, shared, count, room)
        own_scores = (own_scores + self._own_bias).permute(1, 2, 0, 3, 4)
        own_weights = torch.empty_like(own_scores)
        attended = query.new_empty((key_heads, shared, nodes, count, head_size))
        for first, last, bias in self._biases:
            keys, values = self._shared[layer][self._starts[first].row]
            rows = grouped[:, :, first:last].reshape(key_heads, -1, head_size)
            scores = torch.bmm(rows, keys.transpose(1, 2)).view(
                key_heads, shared, last - first, count, keys.shape[1]
            )
            scores += bias
            end = keys.shape[1] - self._most_tokens
            scores[..., end : end + room] = own_scores[:, :, first:last]
            weights = torch.softmax(scores, dim=-1)
            own_weights[:, :, first:last] = weights[..., end : end + room]
            attended[:, :, first:last] = torch.bmm(
                weights.view(key_heads, -1, keys.shape[1]), values
            ).view(key_heads, shared, last - first, count, head_size)
        of_own = torch.bmm(
            _by_node(own_weights), own_values.view(nodes * key_heads, room, head_size)
        ).view(nodes, key_heads, shared, count, head_size)
        together = attended.permute(2, 3, 0, 1, 4) + of_own.permute(0, 3, 1, 2, 4)
        return together.reshape(nodes * count, heads, head_size)

    def _select(self, parents: Sequence[int]) -> None:
        if list(parents) == list(range(len(self._starts))):
            return
        import torch

        self._starts = [self._starts[parent] for parent in parents]
        index = torch.tensor(parents, device=self._own[0][0].device)
        self._own = [(keys[index], values[index]) for keys, values in self._own]

    def _make_room(self) -> None:
        room = self._own[0][0].shape[2]
        if self._used + self._count <= room:
            return
        added = min(max(_ROOM, self._count), self._most_tokens - room)
        self._own = [(_widened(keys, added), _widened(values, added)) for keys, values in self._own]

    def _plan_biases(self) -> None:
        """What hides from each node the shared keys behind its start and the room not used yet."""
        import torch

        keys = self._own[0][0]
        room, count = keys.shape[2], self._count
        place = torch.arange(room)[None, :] - self._used
        hidden = place > torch.arange(count)[:, None]
        self._own_bias = _bias(hidden, keys)
        self._biases = []
        rows = [start.row for start in self._starts]
        first = 0
        for row, group in itertools.groupby(rows):
            last = first + len(list(group))
            visible = torch.tensor([start.visible for start in self._starts[first:last]])
            # The most_tokens columns at the end are for the branches' own keys.
            width = self._visible[row] + self._most_tokens
            hidden = torch.arange(width)[None, :] >= visible[:, None]
            self._biases.append((first, last, _bias(hidden, keys)[:, None, :]))
            first = last


def _joined(prefix: Layer | None, text: Layer, end: int, tail: int) -> Layer:
    """Prompt and text up to the last key that anyone sees, with zeros where own keys go."""
    import torch

    joined: list[torch.Tensor] = []
    for place, of_text in enumerate(text):
        before = [] if prefix is None else [prefix[place]]
        length = end - sum(part.shape[1] for part in before)
        zeros = of_text.new_zeros((of_text.shape[0], tail, of_text.shape[2]))
        joined.append(torch.cat([*before, of_text[:, :length], zeros], dim=1))
    return joined[0], joined[1]


def _widened(keys: "torch.Tensor", added: int) -> "torch.Tensor":
    import torch

    # Zeros, because what is hidden still enters the products, with weight 0.
    return torch.cat(
        [keys, keys.new_zeros((keys.shape[0], keys.shape[1], added, keys.shape[3]))], dim=2
    )


def _by_node(values: "torch.Tensor") -> "torch.Tensor":
    """`(key heads, shared, nodes, count, d)` as `(nodes · key heads, shared · count, d)`."""
    key_heads, shared, nodes, count, size = values.shape
    return values.permute(2, 0, 1, 3, 4).reshape(nodes * key_heads, shared * count, size)


def _bias(hidden: "torch.Tensor", like: "torch.Tensor") -> "torch.Tensor":
    import torch

    bias = torch.zeros(hidden.shape, dtype=like.dtype).masked_fill_(hidden, float("-inf"))
    return bias.to(like.device)
