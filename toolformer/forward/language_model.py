"""The language model of the method, by passes of a network on this machine."""

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

# On a processor: larger batches leave its cache, smaller ones starve its matrix products; and so
# many branches decode at the same time. The keys of long windows bound them further: a shard of
# whole web pages has hundreds, each of which holds 40 MiB or more.
_PROCESSOR_BATCH_TOKENS = 1024
_PROCESSOR_BRANCHES = 800
_PROCESSOR_KEY_BYTES = 2**30
# Rows behind copies of their texts' keys: so many keys are counted as one token of the batch. On a
# GPU memory is the bound, and a key takes about as much of it as a token that is fed.
_PROCESSOR_KEYS_PER_TOKEN = 8
# So many texts are completed at the same time; with more of them, the weights that a step reads are
# no longer what it waits for. Few texts grow as long as they may, so the bytes are seldom reached.
_PROCESSOR_ROWS = 128
_PROCESSOR_ROW_BYTES = 2**30
# On a GPU: enough rows to keep it busy, as far as this share of the free memory reaches.
_GPU_BATCH_TOKENS = 16384
_GPU_BRANCHES = 8192
_GPU_ROWS = 512
_MEMORY_SHARE = 0.5


class LanguageModel(Network):
    """A `toolformer.forward.model.Model` that is a network."""

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
        """See `Model.ask_while`."""

    def batch_tokens(self, *, window_tokens: int) -> int:
        """See `Model.batch_tokens`."""
        if self.device.type != "cuda":
            return _PROCESSOR_BATCH_TOKENS
        # Of what the weights leave, whoever uses it now: tools of a shard are scored one after the
        # other, also by several processes, and L(ε) of all is of the same batches.
        space = total_memory(str(self.device)) or 0
        space -= self.model.get_memory_footprint()
        # Half of the share for the batch that is running, half for the keys of the windows.
        held = int(space * _MEMORY_SHARE) // 2 // activation_bytes(self.text_config)
        return max(window_tokens, min(_GPU_BATCH_TOKENS, held))

    @property
    def keys_per_token(self) -> int:
        """See `Model.keys_per_token`."""
        is_fed_again = self.is_plain or self.device.type == "cuda"
        return 1 if is_fed_again else _PROCESSOR_KEYS_PER_TOKEN

    def windows_per_batch(self, *, windows: int, branches: int, keys: int) -> int:
        """See `Model.windows_per_batch`."""
        copies = branches if self.is_plain else 1
        window_bytes = copies * keys * self.key_bytes
        if self.device.type != "cuda":
            at_once = _PROCESSOR_BRANCHES // branches
            return max(1, min(windows, at_once, _PROCESSOR_KEY_BYTES // window_bytes))
        held = _share_of_free(self.device) // 2 // window_bytes
        return max(1, min(_GPU_BRANCHES // branches, held))

    def rows_at_once(self, *, row_tokens: int) -> int:
        """See `Model.rows_at_once`."""
        # A batch that takes others in is held twice for a moment.
        row_bytes = 2 * row_tokens * self.key_bytes
        if self.device.type != "cuda":
            return max(1, min(_PROCESSOR_ROWS, _PROCESSOR_ROW_BYTES // row_bytes))
        return max(1, min(_GPU_ROWS, _share_of_free(self.device) // row_bytes))

    def losses_at(
        self,
        rows: Sequence[Sequence[int]],
        places: Sequence[tuple[int, int, int]],
        *,
        banned: int | None = None,
    ) -> list[float]:
        """See `Model.losses_at`; rows are fed together, padded to the longest."""
        if not places:
            return []
        row_of, place_of, tokens = torch.tensor(places, device=self.device).unbind(1)
        with torch.inference_mode():
            states = self._states_of(rows)
            return losses_of_states(self, states[row_of, place_of], tokens, banned=banned)

    def losses_and_divergences(
        self, base: "LanguageModel", texts: Sequence[Sequence[int]], *, banned: int | None = None
    ) -> list[tuple[list[float], list[float]]]:
        """Losses of all tokens of texts, and how far what is expected there is from a base model's.

        That is KL(base ‖ this) = Σ_v p_base(v) · (log p_base(v) - log p(v)) over the vocabulary,
        in front of each token.

        Args:
            base: on the same device, with the same vocabulary and as many logits.
            texts: token ids without a start token, which is put in front; fed as one batch.
            banned: see `losses_at`; the divergence is of all tokens.

        Returns:
            For each text both, of shape `(n,)`, in nats.
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
        """See `Model.read`; windows are fed together, padded to the longest."""
        return ReadTexts(self, prompt, windows)

    def contexts(self, rows: int) -> Rows:
        """See `Model.contexts`."""
        return new_rows(self, rows)

    def _states_of(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Hidden states of whole rows; that at place t predicts the row's token t + 1."""
        check_length(self, max(map(len, rows)))
        # Right-padded causal rows need no mask: no token sees what stands behind it.
        input_ids = pad_sequence(
            [torch.tensor(row) for row in rows], batch_first=True, padding_value=self.bos_id
        )
        return self.hidden_states(input_ids.to(self.device))


def _share_of_free(device: torch.device) -> int:
    return int((available_memory(device) or 0) * _MEMORY_SHARE)
