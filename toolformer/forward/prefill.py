"""Texts fed once behind their prompt: what predicts each token, and the keys for branches.

    fed row:      prefix | text part (… Output:) | x_0 x_1 … x_{n-2}
    states row:                             s-1     s   …      s+n-2     predict x_0 … x_{n-1}

The last token of a text is not fed: no branch starts behind it. Does not choose positions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from toolformer.forward.attention import Layer, PackedRows
from toolformer.forward.batching import plan_batches
from toolformer.forward.branch_keys import BranchKeys, PackedBranchKeys, Start
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.prefix_cache import PromptPrefix, causal_mask
from toolformer.forward.stock_branch_keys import StockBranchKeys
from toolformer.forward.windows import Window

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache


@dataclass(frozen=True, slots=True)
class _FedText:
    """What is fed for one window: its tokens, and how many of them stand before `x_0`."""

    ids: list[int]
    text_part: int

    @property
    def wanted(self) -> slice:
        """Rows whose states predict the window's tokens."""
        return slice(self.text_part - 1, len(self.ids))


class ReadTexts:
    """A batch of windows behind one prompt.

    Attributes:
        states: per window the hidden states that predict its tokens, shape `(n, hidden)`.
    """

    def __init__(
        self,
        model: LanguageModel,
        prefix: PromptPrefix,
        windows: Sequence[Window],
        *,
        token_budget: int,
    ):
        """Feed the windows.

        Args:
            model: the annotating model.
            prefix: the tool's prompt.
            windows: each with at least one token.
            token_budget: most tokens of one pack, for models that pack rows.
        """
        self._model = model
        self._prefix = prefix
        texts = []
        for window in windows:
            part = prefix.text_part_ids(model, window.text)
            texts.append(_FedText([*part, *window.ids[:-1]], len(part)))
        self._starts = [prefix.length + text.text_part for text in texts]
        self._layers: list[list[Layer]] = []
        self._cache: DynamicCache | None = None
        self._width = 0
        self.states: list[torch.Tensor] = []
        if model.packs_rows:
            self._read_packed(texts, token_budget)
        else:
            self._read_stock(texts)

    def start(self, row: int, position: int) -> Start:
        """Where branches at a position of a window start."""
        return Start(row, self._starts[row] + position)

    def branch_keys(
        self, starts: Sequence[Start], *, most_tokens: int, keeps: bool = False
    ) -> BranchKeys:
        """Keys for branches; the texts' own are given up to them.

        Args:
            starts: at least one, in the order of their rows.
            most_tokens: most tokens that will be fed behind any start.
            keeps: the texts keep their keys, for other branches once these are done with.
        """
        if self._cache is not None:
            left_behind = self._cache.get_seq_length() - self._width
            if left_behind:
                # By earlier branches. A negative number takes as many tokens away.
                self._cache.crop(-left_behind)
            return StockBranchKeys(self._model, self._cache, len(self._starts), starts)
        layers = self._layers
        if not keeps:
            self._layers = []
        return PackedBranchKeys(
            self._model, self._prefix.layers, layers, starts, most_tokens=most_tokens
        )

    def _read_packed(self, texts: Sequence[_FedText], token_budget: int) -> None:
        import torch

        states: dict[int, torch.Tensor] = {}
        layers: dict[int, list[Layer]] = {}
        packs = plan_batches(
            [len(text.ids) for text in texts], token_budget=token_budget, is_padded=False
        )
        for pack in packs:
            lengths = [len(texts[index].ids) for index in pack]
            plan = PackedRows(lengths, prefix=self._prefix.layers, keeps=True)
            hidden = self._model.packed_hidden_states(
                torch.tensor([token for index in pack for token in texts[index].ids]),
                torch.cat([torch.arange(length) for length in lengths]) + self._prefix.length,
                plan,
            )
            for index, of_text in zip(pack, hidden.split(lengths), strict=True):
                states[index] = of_text[texts[index].wanted]
            split = [
                (keys.split(lengths, dim=1), values.split(lengths, dim=1))
                for keys, values in plan.kept
            ]
            for place, index in enumerate(pack):
                layers[index] = [(keys[place], values[place]) for keys, values in split]
        self.states = [states[index] for index in range(len(texts))]
        self._layers = [layers[index] for index in range(len(texts))]

    def _read_stock(self, texts: Sequence[_FedText]) -> None:
        import torch

        model, length = self._model, self._prefix.length
        width = max(len(text.ids) for text in texts)
        input_ids = torch.zeros((len(texts), width), dtype=torch.long)
        for index, text in enumerate(texts):
            input_ids[index, : len(text.ids)] = torch.tensor(text.ids)
        self._cache = self._prefix.cache(len(texts))
        hidden = model.hidden_states(
            input_ids.to(model.device),
            cache=self._cache,
            attention_mask=causal_mask(width, length, model),
            position_ids=torch.arange(length, length + width, device=model.device)[None],
        )
        self._width = self._cache.get_seq_length()
        self.states = [of_text[text.wanted] for of_text, text in zip(hidden, texts, strict=True)]
