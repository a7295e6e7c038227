"""Defines the base class of the two scorers of calls.

`toolformer.scoring.losses` scores a call as a prefix of its text, as the paper does, and
`toolformer.scoring.inline_losses` at its position in the text.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from toolformer.calls import call_ids
from toolformer.errors import SequenceTooLongError
from toolformer.filtering import CallLosses, reaches
from toolformer.forward.batching import end_of_batch, feed_in_batches, longest_first
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.model import Model
from toolformer.forward.windows import Window, WindowKey
from toolformer.settings.annotation_sections import ScoringSettings
from tools.protocol import ToolCall

# {call id: loss in nats}
Losses = dict[str, float]


@dataclass(frozen=True, slots=True)
class ScoredCall:
    """A call to score; `position` is an index in its window, `result` one line without markers."""

    call_id: str
    window: WindowKey
    position: int
    call: ToolCall
    result: str


class AllLosses(NamedTuple):
    """L_i(ε) of all calls; the other losses only of calls whose decision needs them."""

    without_call: Losses
    with_result: Losses
    call_without_result: Losses


class ScoringPass:
    """One pass over the calls of a tool.

    `progress` receives the numbers of finished and planned rows. Each call of `in_batches` adds to
    the planned rows.
    """

    def __init__(
        self, token_budget: int, checkpoint: Checkpoint, progress: Callable[[int, int], None]
    ):
        self.token_budget = token_budget
        self.checkpoint = checkpoint
        self._progress = progress
        self._done = self._planned = 0

    def in_batches(
        self, lengths: Sequence[int], compute: Callable[[Sequence[int]], Any], *, label: str
    ) -> Iterator[tuple[Sequence[int], Any]]:
        """Yield each batch's row indices and JSON-compatible result, longest rows first."""
        order = longest_first(lengths)
        in_order = [lengths[index] for index in order]
        self._planned += len(order)
        batches = feed_in_batches(
            len(order),
            size=self.token_budget,
            end_of_batch=lambda start, size: end_of_batch(in_order, start, token_budget=size),
            compute=lambda start, end: compute(order[start:end]),
            checkpoint=self.checkpoint,
            label=label,
        )
        for start, end, result in batches:
            yield order[start:end], result
            self._done += end - start
            self._progress(self._done, self._planned)


class CallScorer(ABC):
    def __init__(self, model: Model, windows: Mapping[WindowKey, Window], scoring: ScoringSettings):
        self.model = model
        self.windows = windows
        self.scoring = scoring
        self.weights = scoring.token_weights

    def score(
        self,
        calls: Sequence[ScoredCall],
        *,
        exact: Collection[str] = (),
        checkpoint: Checkpoint,
        progress: Callable[[int, int], None],
    ) -> dict[str, CallLosses]:
        """Return the losses that decisions on the calls of one tool need, by call id.

        Calls in `exact` get all three losses. For other calls, a loss is None once the call can no
        longer reach the lowest threshold. Raise SequenceTooLongError if a row exceeds the model's
        context, and OutOfMemoryError if a single row exceeds the device's memory.
        """
        losses = self._all_losses(calls, exact, self._pass(checkpoint, progress))
        scoring, windows = self.scoring, self.windows
        return {
            call.call_id: CallLosses(
                loss_without_call=losses.without_call[call.call_id],
                loss_with_result=losses.with_result.get(call.call_id),
                loss_call_without_result=losses.call_without_result.get(call.call_id),
                tokens_used=scoring.tokens_used(len(windows[call.window].ids), call.position),
            )
            for call in calls
        }

    def score_results(
        self,
        calls: Sequence[ScoredCall],
        *,
        checkpoint: Checkpoint,
        progress: Callable[[int, int], None],
    ) -> Losses:
        """Return only L_i⁺, by call id; errors as for `score`."""
        return self._result_losses(calls, self._pass(checkpoint, progress))

    def _pass(self, checkpoint: Checkpoint, progress: Callable[[int, int], None]) -> ScoringPass:
        # Stored so that a resumed shard keeps its batches, however much memory is free by then.
        geometry = checkpoint.step("geometry", lambda: {"token_budget": self._token_budget()})
        return ScoringPass(geometry["token_budget"], checkpoint, progress)

    def _token_budget(self) -> int:
        max_window_tokens = max((len(window.ids) for window in self.windows.values()), default=0)
        return self.scoring.token_budget or self.model.batch_tokens(window_tokens=max_window_tokens)

    def call_ids(self, call: ToolCall, result: str | None, *, text_tokens: int) -> list[int]:
        """Encode a call; raise SequenceTooLongError if call and text exceed the model's context."""
        keeps_arrow = self.scoring.empty_result_keeps_arrow
        ids = call_ids(self.model.tokenizer, call, result, empty_result_keeps_arrow=keeps_arrow)
        # This is the length of the row: it has a start token, but lacks the text's last token.
        if (tokens := len(ids) + text_tokens) > self.model.context_length:
            raise SequenceTooLongError(
                f"A call of {call.tool_name} and its text need {tokens} tokens: {len(ids)} for the "
                f"call with its result and {text_tokens} for the text. Expected at most "
                f"{self.model.context_length}, the model's context length. Lower "
                "corpus.window_tokens or execution.max_result_tokens."
            )
        return ids

    @abstractmethod
    def _all_losses(
        self, calls: Sequence[ScoredCall], exact: Collection[str], work: ScoringPass
    ) -> AllLosses: ...

    @abstractmethod
    def _result_losses(self, calls: Sequence[ScoredCall], work: ScoringPass) -> Losses: ...

    def _pruned(
        self,
        calls: Sequence[ScoredCall],
        without_call: Losses,
        exact: Collection[str],
        losses_of: Callable[[Sequence[ScoredCall], bool], Losses],
    ) -> AllLosses:
        """Compute losses with results, then without, only for calls that can still be kept."""

        def may_pass(call: ScoredCall, reduction_bound: float) -> bool:
            # NaN never reaches a threshold: the filter rejects the call without further losses.
            return call.call_id in exact or reaches(reduction_bound, self.scoring.lowest_threshold)

        promising = [call for call in calls if may_pass(call, without_call[call.call_id])]
        with_result = losses_of(promising, True)
        undecided = [
            call
            for call in promising
            if (call.call_id in exact or self.scoring.baseline == "minimum")
            and may_pass(call, without_call[call.call_id] - with_result[call.call_id])
        ]
        return AllLosses(without_call, with_result, losses_of(undecided, False))
