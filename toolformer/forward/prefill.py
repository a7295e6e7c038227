"""Texts fed once behind their prompt: what predicts each token, and the keys for branches.

    fed row:      prefix | text part (… Output:) | x_0 x_1 … x_{n-2}
    states row:                             s-1     s   …      s+n-2     predict x_0 … x_{n-1}

The last token of a text is not fed: no branch starts behind it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toolformer.forward.branch_keys import BranchKeys, PlainBranches, Start
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.plain_rows import PlainRows
from toolformer.forward.prefix_cache import PromptPrefix, causal_mask
from toolformer.forward.windows import Window

if TYPE_CHECKING:
    import torch


class ReadTexts:
    """A batch of windows behind one prompt.

    Attributes:
        states: per window the hidden states that predict its tokens, shape `(n, hidden)`.
    """

    def __init__(self, model: LanguageModel, prefix: PromptPrefix, windows: Sequence[Window]):
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
        width = input_ids.shape[1]
        if model.is_plain:
            self._before = PlainRows(model) if prefix.plain is None else prefix.plain
            self._fed_ids = fed
            # Padding stands behind the tokens of a row, so no state that is used has seen it.
            hidden = self._before.copied([0] * len(fed)).feed(input_ids.tolist())
        else:
            self._cache = prefix.cache(len(fed))
            hidden = model.hidden_states(
                input_ids.to(model.device),
                cache=self._cache,
                attention_mask=causal_mask(width, prefix.length, model),
                position_ids=(prefix.length + torch.arange(width, device=model.device))[None],
            )
        self.states = [
            states[len(part) - 1 : len(ids)]
            for states, part, ids in zip(hidden, parts, fed, strict=True)
        ]

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
        return BranchKeys(self._model, self._cache, len(self._starts), starts)

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
        from transformers import DynamicCache

        model = self._model
        if model.is_plain:
            return self._plain_states(starts, tokens)
        rows = torch.tensor([start.row for start in starts], device=model.device)
        visible = torch.tensor([start.visible for start in starts])
        input_ids = pad_sequence(
            [torch.tensor(ids) for ids in tokens], batch_first=True, padding_value=model.bos_id
        )
        shared, width = int(visible.max()), input_ids.shape[1]
        layers: list[Any] = list(self._cache.layers)
        cache = DynamicCache(
            [(layer.keys[rows, :, :shared], layer.values[rows, :, :shared]) for layer in layers]
        )
        # A token sees the text in front of its continuation, and the continuation up to itself.
        text_mask = (torch.arange(shared) < visible[:, None])[:, None].expand(-1, width, -1)
        up_to_itself = torch.ones((width, width), dtype=torch.bool).tril()
        can_see = torch.cat([text_mask, up_to_itself.expand(len(tokens), -1, -1)], dim=-1)
        places = visible[:, None] + torch.arange(width)
        text_places = torch.arange(shared).expand(len(tokens), -1)
        return model.hidden_states(
            input_ids.to(model.device),
            cache=cache,
            attention_mask=model.masks(can_see, places, torch.cat([text_places, places], dim=1)),
            position_ids=places.to(model.device),
        )

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
