"""The language model of the method, by passes of a network on this machine."""

from collections.abc import Sequence

from toolformer.forward.geometry import NetworkGeometry
from toolformer.forward.given_tokens import given_tokens
from toolformer.forward.model import GivenToken
from toolformer.forward.network import Network
from toolformer.forward.next_tokens import LogitsOfNext
from toolformer.forward.prefill import ReadTexts
from toolformer.forward.prefix_cache import prompt_prefix
from toolformer.forward.row_cache import PlainContexts, RowCache
from toolformer.forward.row_losses import losses_at, losses_of_all
from toolformer.forward.windows import Window


class LanguageModel(Network):
    """A `toolformer.forward.model.ReadingModel` that is a network."""

    loss_noise: float | None = None

    @property
    def vocabulary_size(self) -> int:
        """See `ReadingModel.vocabulary_size`."""
        return min(self.tokenizer.vocabulary_size, self.text_config.vocab_size)

    @property
    def geometry(self) -> NetworkGeometry:
        """See `Model.geometry`."""
        return NetworkGeometry(self)

    def losses_at(
        self, rows: Sequence[Sequence[int]], places: Sequence[tuple[int, int, int]]
    ) -> list[float]:
        """See `Model.losses_at`; rows are fed together, padded to the longest."""
        return losses_at(self, rows, places)

    def losses_of_all(self, row: Sequence[int]) -> list[float]:
        """See `Model.losses_of_all`."""
        return losses_of_all(self, row)

    def read(self, prompt: str | None, windows: Sequence[Window]) -> ReadTexts:
        """See `Model.read`; windows are fed together, padded to the longest."""
        return ReadTexts(self, prompt_prefix(self, prompt), windows)

    def given_tokens(
        self,
        rows: Sequence[Sequence[int]],
        *,
        top: Sequence[int],
        open_id: int,
        counts: Sequence[int],
    ) -> list[tuple[list[GivenToken], LogitsOfNext]]:
        """See `ReadingModel.given_tokens`; rows are fed together, padded to the longest."""
        return given_tokens(self, rows, top=top, open_id=open_id, counts=counts)

    def contexts(self, rows: int) -> RowCache:
        """See `Model.contexts`."""
        return (PlainContexts if self.is_plain else RowCache)(self, rows)
