"""What scores calls: what it is given, and how it feeds rows in batches.

Where a call stands while it is scored is the matter of the two that there are:
`toolformer.inline_losses`, and in front of its text `toolformer.losses`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolformer.calls import CallFormat
from toolformer.forward.batching import end_of_batch, longest_first
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.geometry import feed_in_batches
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.side_by_side import batches_at_once
from toolformer.forward.windows import Window
from toolformer.scored_call import ScoredCall, WindowKey

# Losses by call, in nats.
Losses = dict[str, float]


@dataclass(frozen=True, slots=True)
class CallScorer(ABC):
    """Scores calls of one tool.

    Attributes:
        model: the scoring model.
        windows: by document and number.
        call_format: how calls are written.
        weights: of the tokens from a position on.
        token_budget: most tokens of a batch.
        checkpoint: keeps finished batches.
        progress: told rows done and rows in all.
    """

    model: LanguageModel
    windows: Mapping[WindowKey, Window]
    call_format: CallFormat
    weights: tuple[float, ...]
    token_budget: int
    checkpoint: Checkpoint
    progress: Callable[[int, int], None]

    @abstractmethod
    def score(
        self, calls: Sequence[ScoredCall], *, is_open: Callable[[ScoredCall, float], bool]
    ) -> tuple[Losses, Losses]:
        """The losses with the calls' results, and without them where that is still open.

        Args:
            calls: in any order.
            is_open: whether a call with this L_i⁺ needs L_i(e(c, ε)).

        Raises:
            OutOfMemoryError: a single row does not fit the device's memory.
        """

    def in_batches(
        self, lengths: Sequence[int], compute: Callable[[Sequence[int]], Any], *, label: str
    ) -> Iterator[tuple[Sequence[int], Any]]:
        """Work on rows batch by batch, the longest first.

        Args:
            lengths: of the rows, in tokens.
            compute: some rows' indices to a result that JSON can hold.
            label: of the steps, unique within the slice.

        Yields:
            The indices of a batch, and its result.
        """
        order = longest_first(lengths)
        in_order = [lengths[index] for index in order]
        batches = feed_in_batches(
            len(order),
            size=self.token_budget,
            end_of_batch=lambda start, size: end_of_batch(
                in_order, start, token_budget=size, is_padded=not self.model.packs_rows
            ),
            compute=lambda start, end: compute(order[start:end]),
            checkpoint=self.checkpoint,
            label=label,
            at_once=batches_at_once(self.model),
        )
        for start, end, result in batches:
            yield order[start:end], result
