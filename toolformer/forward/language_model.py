"""The language model of the method, by passes of a network on this machine."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from toolformer.forward.geometry import NetworkGeometry
from toolformer.forward.model import GivenToken
from toolformer.forward.network import Network, check_length
from toolformer.forward.next_tokens import LocalNextTokens, next_tokens
from toolformer.forward.prefill import ReadTexts, losses_of_states, new_rows, without
from toolformer.forward.probes import probe
from toolformer.forward.rows import Rows
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class LanguageModel(Network):
    """A `toolformer.forward.model.Model` that is a network."""

    loss_noise: float | None = None

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

    @property
    def vocabulary_size(self) -> int:
        """See `Model.vocabulary_size`."""
        return min(self.tokenizer.vocabulary_size, self.text_config.vocab_size)

    def ask_while(self, is_wanted: Callable[[], bool]) -> None:
        """See `Model.ask_while`."""

    @property
    def geometry(self) -> NetworkGeometry:
        """See `Model.geometry`."""
        return NetworkGeometry(self)

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

    def losses_beside(
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

    def given_tokens(
        self,
        rows: Sequence[Sequence[int]],
        *,
        top: Sequence[int],
        open_id: int,
        counts: Sequence[int],
    ) -> list[tuple[list[GivenToken], LocalNextTokens]]:
        """See `Model.given_tokens`; rows are fed together, padded to the longest."""
        found = []
        with torch.inference_mode():
            all_states = self._states_of(rows)
            for row, states, row_top, count in zip(rows, all_states, top, counts, strict=True):
                given: list[GivenToken] = []
                for begin in range(0, len(row) - 1, self.logit_rows):
                    ids = row[begin + 1 : begin + 1 + self.logit_rows]
                    given += _given(self.logits(states[begin : begin + len(ids)]), ids, row_top)
                last = self.logits(states[len(row) - 1 : len(row)])
                (behind,) = next_tokens(last, open_id=open_id, count=count)
                found.append((given, behind))
        return found

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


def _given(logits: torch.Tensor, ids: Sequence[int], top: int) -> list[GivenToken]:
    tokens = torch.tensor(ids, device=logits.device)[:, None]
    rank = (logits > logits.gather(1, tokens)).sum(dim=1, keepdim=True) + 1
    likeliest = logits.topk(min(top, logits.shape[1])).indices
    # As the losses of scoring are computed, so that both have the same last digits.
    found = logits.log_softmax(dim=1).gather(1, torch.cat([tokens, likeliest], dim=1))
    # To the host at once. Doubles hold all of them exactly.
    numbers = torch.cat([rank.double(), found[:, :1], likeliest, found[:, 1:]], dim=1).tolist()
    width = likeliest.shape[1]
    return [
        GivenToken(int(rank), own, list(zip(map(int, others[:width]), others[width:], strict=True)))
        for rank, own, *others in numbers
    ]
