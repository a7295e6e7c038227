"""The few-shot prompt of a tool as keys and values, computed once and shared by all texts.

A prompt is cut at its text slot: what stands before is the same for every text and is fed once;
what stands after (`Output:`) is fed with each text. An annotator that is a Toolformer already needs
no prompt: then the start token alone stands before the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from toolformer.forward.key_rows import KeyRows
from toolformer.forward.network import Network
from toolformer.forward.plain_rows import PlainRows
from toolformer.forward.prompt import SplitPrompt

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class PromptPrefix:
    """Keys and values of a prompt's shared part.

    Attributes:
        prompt: the prompt, cut at its slot; None where the annotator needs none.
        length: `q`, tokens of the shared part.
        layers: per layer keys and values, each of shape `(1, key heads, q, head size)`; none where
            there is no prompt, and on the plain path.
        plain: the shared part as a row of the plain path, where the model is on it.
    """

    prompt: SplitPrompt | None
    length: int
    layers: "Sequence[tuple[torch.Tensor, torch.Tensor]]" = ()
    plain: PlainRows | None = None

    def rows(self, model: Network, rows: int) -> KeyRows:
        """Keys for a batch of texts that all begin with this prefix."""
        import torch

        positions = torch.arange(self.length)[None]
        keys = KeyRows(model, positions, self.layers)
        # Not copied: every row looks at the same memory until the first tokens are appended.
        return keys.mapped(lambda states: states.expand(rows, -1, -1, -1), positions)

    def text_part_ids(self, model: Network, text: str) -> list[int]:
        """Tokens between the shared part and the text's own tokens; at least one."""
        if self.prompt is None:
            return [model.bos_id]
        return self.prompt.text_part_ids(model.tokenizer, text)


def prompt_prefix(model: Network, prompt: str | None) -> PromptPrefix:
    """The shared part of a prompt, fed once for all shards that a model is held for.

    Args:
        prompt: with the slot `{text}` exactly once; None to leave the prompt out.
    """
    key = (prompt, model.is_plain)
    if key not in model.prefixes:
        model.prefixes[key] = PromptPrefix(None, 0) if prompt is None else _fed(model, prompt)
    return model.prefixes[key]


def _fed(model: Network, prompt: str) -> PromptPrefix:
    import torch

    split = SplitPrompt.of(prompt)
    ids = [*model.prompt_start, *split.shared_ids(model.tokenizer)]
    if model.is_plain:
        plain = PlainRows(model, ids)
        plain.feed()
        return PromptPrefix(split, len(ids), plain=plain)
    keys = KeyRows(model)
    keys.append(torch.tensor([ids]))
    return PromptPrefix(split, len(ids), keys.layers)
