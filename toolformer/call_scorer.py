"""What scores calls: what it is given, and how it feeds rows in batches.

Where a call stands while it is scored is the matter of the two that there are:
`toolformer.inline_losses`, and in front of its text `toolformer.losses`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from toolformer.calls import CallFormat
from toolformer.filtering import Baseline, reaches
from toolformer.forward.batching import end_of_batch, longest_first
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.geometry import feed_in_batches
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.windows import Window
from toolformer.loss_form import PAPERS_FORM, LossForm
from toolformer.scored_call import ScoredCall, WindowKey

if TYPE_CHECKING:
    from toolformer.losses import TextLosses

# Losses by call, in nats.
Losses = dict[str, float]


@dataclass(frozen=True, slots=True)
class ScoringParameters:
    """How calls are scored.

    Attributes:
        call_format: how e(c, ε) and e(c, r) are written.
        form: where a call stands, and which tokens count.
        token_budget: most tokens of a batch; chosen for the device by default.
    """

    call_format: CallFormat
    form: LossForm = PAPERS_FORM
    token_budget: int | None = None


@dataclass(frozen=True, slots=True)
class Pruning:
    """Which losses of a call can still change its decision.

    Attributes:
        threshold: a call whose reduction cannot reach it needs no further loss, in nats.
        exact: ids of calls that need all three losses all the same.
        baseline: what a call has to be better than; says whether L(e(c, ε)) is ever needed.
    """

    threshold: float
    exact: Collection[str] = frozenset()
    baseline: Baseline = Baseline.MINIMUM

    def may_pass(self, call_id: str, reduction_bound: float) -> bool:
        """Whether a call whose loss falls by no more than this needs a further loss."""
        # NaN reaches nothing, and needs no further loss to be rejected.
        return call_id in self.exact or reaches(reduction_bound, self.threshold)

    def needs_call_alone(self, call_id: str, reduction_bound: float) -> bool:
        """Whether a call with this bound, from two losses, needs L(e(c, ε)) as the third."""
        is_wanted = call_id in self.exact or self.baseline is Baseline.MINIMUM
        return is_wanted and self.may_pass(call_id, reduction_bound)


class AllLosses(NamedTuple):
    """L_i(ε) of all calls; L_i(e(c, r)) and L_i(e(c, ε)) of those that still need them."""

    without_call: Losses
    with_result: Losses
    call_without_result: Losses


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
        self, calls: Sequence[ScoredCall], text_losses: "TextLosses", pruning: Pruning
    ) -> AllLosses:
        """All losses that decisions need.

        Args:
            calls: in any order.
            text_losses: of the texts without calls, read at need.
            pruning: which further losses are needed.

        Raises:
            OutOfMemoryError: a single row does not fit the device's memory.
        """

    @abstractmethod
    def score_results(self, calls: Sequence[ScoredCall]) -> Losses:
        """L_i(e(c, r)) alone.

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
        )
        for start, end, result in batches:
            yield order[start:end], result
