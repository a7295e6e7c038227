"""Implements `toolformer.forward.model.Model` with a network on this machine."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from toolformer.forward.memory import activation_bytes, available_memory, total_memory
from toolformer.forward.network import Network, check_length
from toolformer.forward.prefill import ReadTexts, losses_of_states, new_rows, without
from toolformer.forward.probes import probe
from toolformer.forward.rows import Rows
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Larger batches leave the processor's cache; smaller ones starve its matrix products.
_CPU_BATCH_TOKENS = 1024
# Maximum number of branches that decode together. The KV cache bounds them further for long
# windows: a shard of whole web pages has hundreds, each with 40 MiB of keys or more.
_CPU_BRANCHES = 800
_CPU_KEY_BYTES = 2**30
# Copying this many cached keys costs as much as feeding one token. On a GPU memory is the bound,
# and there a cached key takes about as much of it as a fed token.
_CPU_KEYS_PER_TOKEN = 8
# Maximum number of texts that are completed together. With more of them, reading the weights no
# longer dominates a step. Few texts reach their maximum length, so the bytes are rarely reached.
_CPU_ROWS = 128
_CPU_ROW_BYTES = 2**30
# Enough rows to keep a GPU busy, if this share of its free memory suffices for them.
_GPU_BATCH_TOKENS = 16384
_GPU_BRANCHES = 8192
_GPU_ROWS = 512
_MEMORY_SHARE = 0.5


class LanguageModel(Network):
    """A network as `toolformer.forward.model.Model`, probed when it is created."""

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: Tokenizer,
        *,
        name: str,
        bos_token: str | None = None,
    ):
        super().__init__(model, tokenizer, name=name, bos_token=bos_token)
        probe(self)

    def ask_while(self, is_wanted: Callable[[], bool]) -> None:
        """Do nothing; see `Model.ask_while`."""

    def batch_tokens(self, *, window_tokens: int) -> int:
        if self.device.type != "cuda":
            return _CPU_BATCH_TOKENS
        # Start from the total memory, not the free memory. The tools of a shard are scored one
        # after the other, possibly by several processes, and L(ε) needs the same batches for all.
        space = total_memory(str(self.device)) or 0
        space -= self.model.get_memory_footprint()
        # Half of the share is for the running batch, half for the KV cache of the windows.
        held = int(space * _MEMORY_SHARE) // 2 // activation_bytes(self.text_config)
        return max(window_tokens, min(_GPU_BATCH_TOKENS, held))

    @property
    def keys_per_token(self) -> int:
        is_key_costly = self.is_plain or self.device.type == "cuda"
        return 1 if is_key_costly else _CPU_KEYS_PER_TOKEN

    def windows_per_batch(self, *, windows: int, branches: int, keys: int) -> int:
        copies = branches if self.is_plain else 1
        window_bytes = copies * keys * self.key_bytes
        if self.device.type != "cuda":
            num_windows = _CPU_BRANCHES // branches
            return max(1, min(windows, num_windows, _CPU_KEY_BYTES // window_bytes))
        held = _share_of_free(self.device) // 2 // window_bytes
        return max(1, min(_GPU_BRANCHES // branches, held))

    def rows_at_once(self, *, row_tokens: int) -> int:
        # Joining batches briefly doubles the memory of their KV caches.
        row_bytes = 2 * row_tokens * self.key_bytes
        if self.device.type != "cuda":
            return max(1, min(_CPU_ROWS, _CPU_ROW_BYTES // row_bytes))
        return max(1, min(_GPU_ROWS, _share_of_free(self.device) // row_bytes))

    def losses_at(
        self,
        rows: Sequence[Sequence[int]],
        targets: Sequence[tuple[int, int, int]],
        *,
        banned: int | None = None,
    ) -> list[float]:
        """See `Model.losses_at`; rows are fed as one batch, padded to the longest."""
        if not targets:
            return []
        target_rows, positions, tokens = torch.tensor(targets, device=self.device).unbind(1)
        with torch.inference_mode():
            states = self._states_of(rows)
            return losses_of_states(self, states[target_rows, positions], tokens, banned=banned)

    def losses_and_divergences(
        self, base: "LanguageModel", texts: Sequence[Sequence[int]], *, banned: int | None = None
    ) -> list[tuple[list[float], list[float]]]:
        """Return losses and KL divergences from a base model, one of each per token of each text.

        The divergence before a token, KL(base ‖ this) = Σ_v p_base(v) · (log p_base(v) - log p(v)),
        covers the whole vocabulary, also with a banned token. Texts are fed as one batch, after the
        start token. The base model must have the same device and vocabulary.
        """
        lengths = [len(ids) for ids in texts]
        wanted = [token for ids in texts for token in ids]
        found = []
        with torch.inference_mode():
            own, of_base = (
                torch.cat([states[:n] for states, n in zip(each, lengths, strict=True)])
                for network in (self, base)
                for each in [network._states_of([[network.bos_id, *ids[:-1]] for ids in texts])]
            )
            tokens = torch.tensor(wanted, dtype=torch.long, device=self.device)
            pieces = (each.split(self.logit_rows) for each in (own, of_base, tokens))
            for of_piece, base_of_piece, ids in zip(*pieces, strict=True):
                logits = self.logits(of_piece)
                losses = cross_entropy(without(banned, logits), ids, reduction="none")
                expected = base.logits(base_of_piece).log_softmax(dim=1)
                gaps = (expected - logits.log_softmax(dim=1)).mul_(expected.exp())
                found.append(torch.stack([losses.double(), gaps.sum(dim=1, dtype=torch.double)]))
            losses, divergences = (each.split(lengths) for each in torch.cat(found, dim=1))
        return [(a.tolist(), b.tolist()) for a, b in zip(losses, divergences, strict=True)]

    def read(self, prompt: str | None, windows: Sequence[Window]) -> ReadTexts:
        """See `Model.read`; windows are fed as one batch, padded to the longest."""
        return ReadTexts(self, prompt, windows)

    def contexts(self, rows: int) -> Rows:
        return new_rows(self, rows)

    def _states_of(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Return hidden states of whole rows; the state at position t predicts token t + 1."""
        check_length(self, max(map(len, rows)))
        # Right-padded causal rows need no attention mask: no token sees the padding after it.
        input_ids = pad_sequence(
            [torch.tensor(row) for row in rows], batch_first=True, padding_value=self.bos_id
        )
        return self.hidden_states(input_ids.to(self.device))


def _share_of_free(device: torch.device) -> int:
    return int((available_memory(device) or 0) * _MEMORY_SHARE)
