"""Texts fed once behind their prompt, and what is asked of them: losses, ranks, continuations.

    fed row:      prefix | text part (… Output:) | x_0 x_1 … x_{n-2}
    states row:                             s-1     s   …      s+n-2     predict x_0 … x_{n-1}

The last token of a text is not fed: no branch starts behind it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from toolformer.forward.branch_keys import BranchKeys, PlainBranches, Start
from toolformer.forward.branches import sample_branches
from toolformer.forward.model import Branch, Continuation, Place
from toolformer.forward.network import LOGIT_ROWS, Network
from toolformer.forward.next_tokens import ranks
from toolformer.forward.plain_rows import PlainRows
from toolformer.forward.prefix_cache import PromptPrefix
from toolformer.forward.windows import Window

if TYPE_CHECKING:
    import torch


class ReadTexts:
    """A batch of windows behind one prompt.

    Attributes:
        states: per window the hidden states that predict its tokens, shape `(n, hidden)`.
    """

    def __init__(self, model: Network, prefix: PromptPrefix, windows: Sequence[Window]):
        """Feed the windows, padded to the longest.

        Args:
            windows: each with at least one token.
        """
        import torch
        from torch.nn.utils.rnn import pad_sequence

        self._model = model
        parts = [prefix.text_part_ids(model, window.text) for window in windows]
        self._starts = [prefix.length + len(part) for part in parts]
        fed = [[*part, *window.ids[:-1]] for part, window in zip(parts, windows, strict=True)]
        input_ids = pad_sequence([torch.tensor(ids) for ids in fed], batch_first=True)
        if model.is_plain:
            self._before = PlainRows(model) if prefix.plain is None else prefix.plain
            self._fed_ids = fed
            # Padding stands behind the tokens of a row, so no state that is used has seen it.
            hidden = self._before.copied([0] * len(fed)).feed(input_ids.tolist())
        else:
            self._keys = prefix.rows(model, len(fed))
            hidden = self._keys.append(input_ids)
        self.states = [
            states[len(part) - 1 : len(ids)]
            for states, part, ids in zip(hidden, parts, fed, strict=True)
        ]

    def losses(
        self,
        places: Sequence[tuple[Place, int]],
        *,
        min_probability: float = 0.0,  # noqa: ARG002
    ) -> list[float]:
        """See `Texts.losses`; all are computed."""
        import torch

        if not places:
            return []
        tokens = torch.tensor([token for _, token in places], device=self._model.device)
        with torch.inference_mode():
            states = self._states_at([place for place, _ in places])
            return losses_of_states(self._model, states, tokens)

    def ranks(self, places: Sequence[Place], token: int) -> list[tuple[int, float]]:
        """See `Texts.ranks`."""
        import torch

        ranked: list[tuple[int, float]] = []
        with torch.inference_mode():
            for first in range(0, len(places), LOGIT_ROWS):
                states = self._states_at(places[first : first + LOGIT_ROWS])
                rank, log_probability = ranks(self._model.logits(states), token)
                ranked += zip(map(int, rank.tolist()), log_probability.tolist(), strict=True)
        return ranked

    def sample(
        self,
        places: Sequence[Place],
        groups: Sequence[Sequence[Branch]],
        *,
        forced_ids: Sequence[int],
        max_new_tokens: int,
        temperature: float,
        is_finished: Callable[[Branch], bool],
    ) -> None:
        """See `Texts.sample`."""
        import torch

        with torch.inference_mode():
            sample_branches(
                self._model,
                self.branch_keys([self.start(*place) for place in places]),
                groups,
                forced_ids=forced_ids,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                is_finished=is_finished,
            )

    def continuation_losses(self, continuations: Sequence[Continuation]) -> list[list[float]]:
        """See `Texts.continuation_losses`; they are fed as one batch."""
        import torch

        places = [
            (index, len(each.tokens) - 1 + t, token)
            for index, each in enumerate(continuations)
            for t, token in enumerate(each.following)
        ]
        node, position, tokens = torch.tensor(places, device=self._model.device).unbind(1)
        with torch.inference_mode():
            states = self.continuation_states(
                [self.start(*each.place) for each in continuations],
                [each.fed for each in continuations],
            )
            losses = iter(losses_of_states(self._model, states[node, position], tokens))
        return [[next(losses) for _ in each.following] for each in continuations]

    def beam(self, places: Sequence[Place]) -> "KeysBeam":
        """See `Texts.beam`."""
        keys = self.branch_keys([self.start(*place) for place in places])
        return KeysBeam(self._model, keys, self._states_at(places))

    def _states_at(self, places: Sequence[Place]) -> "torch.Tensor":
        import torch

        return torch.stack([self.states[row][position] for row, position in places])

    def start(self, row: int, position: int) -> Start:
        """Where branches at a position of a window start."""
        return Start(row, self._starts[row] + position)

    def branch_keys(self, starts: Sequence[Start]) -> BranchKeys:
        """Keys for branches that grow feed by feed; the texts' own are of no use any more.

        Args:
            starts: at least one, in the order of their rows.
        """
        if self._model.is_plain:
            return PlainBranches([(self._before, self._ids_before(start)) for start in starts])
        return BranchKeys(self._keys, len(self._starts), starts)

    def _ids_before(self, start: Start) -> list[int]:
        """Tokens between the prompt and a start."""
        return self._fed_ids[start.row][: start.visible - len(self._before)]

    def continuation_states(
        self, starts: Sequence[Start], tokens: Sequence[Sequence[int]]
    ) -> "torch.Tensor":
        """Feed whole continuations of the texts once, each in a row of its own.

        A row gets a copy of its text's keys. So no token is compared with those of other
        continuations, and rows of any texts fill a batch.

        Args:
            starts: at least one.
            tokens: tokens of each continuation, at least one; padded to the longest.

        Returns:
            Hidden states behind all tokens, shape `(continuations, longest, hidden)`; those behind
            padding mean nothing.
        """
        import torch
        from torch.nn.utils.rnn import pad_sequence

        model = self._model
        if model.is_plain:
            return self._plain_states(starts, tokens)
        rows = torch.tensor([start.row for start in starts], device=model.device)
        visible = torch.tensor([start.visible for start in starts])
        input_ids = pad_sequence(
            [torch.tensor(ids) for ids in tokens], batch_first=True, padding_value=model.bos_id
        )
        shared, width = int(visible.max()), input_ids.shape[1]
        keys = self._keys.mapped(
            lambda states: states[rows, :, :shared], self._keys.positions[:, :shared]
        )
        # A token sees the text in front of its continuation, and the continuation up to itself.
        text_mask = (torch.arange(shared) < visible[:, None])[:, None].expand(-1, width, -1)
        up_to_itself = torch.ones((width, width), dtype=torch.bool).tril()
        can_see = torch.cat([text_mask, up_to_itself.expand(len(tokens), -1, -1)], dim=-1)
        return keys.feed(input_ids, visible[:, None] + torch.arange(width), can_see)

    def _plain_states(
        self, starts: Sequence[Start], tokens: Sequence[Sequence[int]]
    ) -> "torch.Tensor":
        """The same of whole rows, each with its text."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        rows = [
            torch.tensor([*self._ids_before(start), *ids])
            for start, ids in zip(starts, tokens, strict=True)
        ]
        padded = pad_sequence(rows, batch_first=True, padding_value=self._model.bos_id)
        states = self._before.copied([0] * len(rows)).feed(padded.tolist())
        behind = [
            row_states[len(row) - len(ids) : len(row)]
            for row_states, row, ids in zip(states, rows, tokens, strict=True)
        ]
        return pad_sequence(behind, batch_first=True)


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


def losses_of_states(model: Network, states: "torch.Tensor", tokens: "torch.Tensor") -> list[float]:
    """Losses of tokens by the states that predict them, in nats.

    Args:
        states: shape `(tokens, hidden)`.
        tokens: int, shape `(tokens,)`, on the same device.
    """
    from torch.nn.functional import cross_entropy

    losses: list[float] = []
    for start in range(0, len(tokens), LOGIT_ROWS):
        chunk = slice(start, start + LOGIT_ROWS)
        logits = model.logits(states[chunk])
        losses.extend(cross_entropy(logits, tokens[chunk], reduction="none").tolist())
    return losses
