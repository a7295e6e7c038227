"""Texts fed once behind their prompt: what predicts each token, and the keys for branches.

    fed row:      prefix | text part (… Output:) | x_0 x_1 … x_{n-2}
    states row:                             s-1     s   …      s+n-2     predict x_0 … x_{n-1}

The last token of a text is not fed: no branch starts behind it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from toolformer.forward.branch_keys import BranchKeys, Start
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.prefix_cache import PromptPrefix, causal_mask
from toolformer.forward.windows import Window


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

    def __init__(self, model: LanguageModel, prefix: PromptPrefix, windows: Sequence[Window]):
        """Feed the windows, padded to the longest.

        Args:
            model: the annotating model.
            prefix: the tool's prompt.
            windows: each with at least one token.
        """
        import torch

        self._model = model
        texts = []
        for window in windows:
            part = prefix.text_part_ids(model, window.text)
            texts.append(_FedText([*part, *window.ids[:-1]], len(part)))
        self._starts = [prefix.length + text.text_part for text in texts]
        width = max(len(text.ids) for text in texts)
        input_ids = torch.zeros((len(texts), width), dtype=torch.long)
        for index, text in enumerate(texts):
            input_ids[index, : len(text.ids)] = torch.tensor(text.ids)
        self._cache = prefix.cache(len(texts))
        self._width = prefix.length + width
        hidden = model.hidden_states(
            input_ids.to(model.device),
            cache=self._cache,
            attention_mask=causal_mask(width, prefix.length, model),
            position_ids=torch.arange(prefix.length, self._width, device=model.device)[None],
        )
        self.states = [of_text[text.wanted] for of_text, text in zip(hidden, texts, strict=True)]

    def start(self, row: int, position: int) -> Start:
        """Where branches at a position of a window start."""
        return Start(row, self._starts[row] + position)

    def branch_keys(self, starts: Sequence[Start]) -> BranchKeys:
        """Keys for branches; those of earlier branches are of no use any more.

        Args:
            starts: at least one, in the order of their rows.
        """
        left_behind = self._cache.get_seq_length() - self._width
        if left_behind:
            # A negative number takes as many tokens away.
            self._cache.crop(-left_behind)
        return BranchKeys(self._model, self._cache, len(self._starts), starts)
