"""Computes the losses of a shard's calls that filtering can need (paper §2).

    1. All calls get losses with their own results, as far as needed for the lowest threshold.
    2. Calls that reach this threshold, and a random sample (the chance sample), get L_i⁺ with a
       swapped result: that of another call.
    3. Sampled calls that reach the threshold with the swapped result get L_i⁺ with a third result.

For sampled calls, the contrast compares step 2 with step 3 (see `swapped_results`). Thresholds are
applied later, in `warehouse/queries/filtered_calls.sql`. The model is loaded on first use.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from toolformer.base.digests import hex_digest
from toolformer.filtering import CallLosses, decide
from toolformer.forward.batching import geometry_metadata
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.windows import Window, WindowKey
from toolformer.scoring.call_scorer import CallScorer, ScoredCall
from toolformer.scoring.chance_level import chance_sample_size
from toolformer.scoring.losses import scorer_for
from toolformer.scoring.swapped_results import SwappedCall, SwappedResults
from toolformer.settings.annotation_sections import ScoringSettings
from toolformer.stage_cost import CostMeter, StageCost, together

if TYPE_CHECKING:
    from toolformer.forward.model import Model
    from toolformer.forward.tokenization import Tokenizer

# Returns the checkpoint of a pass, given the pass's name and a digest of its inputs.
CheckpointOf = Callable[[str, str], Checkpoint]


@dataclass(frozen=True, slots=True)
class CallScore:
    """All losses of a call.

    Attributes:
        swapped_call_id: call that the swapped result comes from.
        second_swapped_call_id: call whose result the contrast compares with the swapped result.
        loss_with_second_swapped_result: loss with the result of that call, in nats.
    """

    losses: CallLosses
    precision: str
    is_in_chance_sample: bool = False
    swapped_call_id: str | None = None
    second_swapped_call_id: str | None = None
    loss_with_second_swapped_result: float | None = None


@dataclass(frozen=True, slots=True)
class ToolScores:
    """Scores of one tool's calls in one shard; `geometry` holds batch sizes of the first step."""

    scores: Mapping[str, CallScore]
    costs: tuple[StageCost, ...] = ()
    geometry: Mapping[str, str] = field(default_factory=dict)


class ShardScoring:
    """Scores the calls of one shard; texts without calls are fed only once for all tools.

    `progress` returns the callback of a pass, given the names of the pass and the tool.
    """

    def __init__(
        self,
        *,
        load: Callable[[], "Model"],
        cut_windows: Callable[["Tokenizer"], Iterable[Window]],
        scoring: ScoringSettings,
        seed: int,
        progress: Callable[[str, str], Callable[[int, int], None]],
    ):
        self._load = load
        self._cut_windows = cut_windows
        self._scoring = scoring
        self._seed = seed
        self._progress = progress

    @cached_property
    def _model(self) -> "Model":
        return self._load()

    @cached_property
    def _windows(self) -> Mapping[WindowKey, Window]:
        return {window.key: window for window in self._cut_windows(self._model.tokenizer)}

    @cached_property
    def _scorer(self) -> CallScorer:
        return scorer_for(self._model, self._windows, self._scoring)

    def score(
        self, tool_name: str, calls: Sequence[ScoredCall], checkpoint: CheckpointOf
    ) -> ToolScores:
        if not calls:
            return ToolScores({})
        swapped_results = SwappedResults(calls, seed=self._seed)
        sample_size = chance_sample_size(len(calls), max_size=self._scoring.chance_calls)
        sample = set(swapped_results.sample(sample_size))
        meter, step_checkpoint = self._pass("scoring", checkpoint, [call.call_id for call in calls])
        own_losses = self._scorer.score(
            calls,
            exact=sample,
            checkpoint=step_checkpoint,
            progress=self._progress("scoring", tool_name),
        )
        cost = meter.cost("scoring", candidates=len(calls))
        reached = {
            key for key, losses in own_losses.items() if self._reaches_lowest_threshold(losses)
        }
        swapped = swapped_results.of(reached | sample)
        with_swapped, swapped_cost = self._losses_with_results(
            tool_name, swapped, checkpoint, name="swapped"
        )
        second = swapped_results.second_of([swapped[key] for key in sample])
        passing = {
            key: scored
            for key, scored in second.items()
            if self._reaches_lowest_threshold(
                replace(own_losses[key], loss_with_result=with_swapped[key])
            )
        }
        with_second, second_cost = self._losses_with_results(
            tool_name, passing, checkpoint, name="second-swapped"
        )
        scores = {
            key: CallScore(
                replace(losses, loss_with_swapped_result=with_swapped.get(key)),
                self._model.precision,
                is_in_chance_sample=key in sample,
                swapped_call_id=swapped[key].other_call_id if key in swapped else None,
                second_swapped_call_id=second[key].other_call_id if key in second else None,
                loss_with_second_swapped_result=with_second.get(key),
            )
            for key, losses in own_losses.items()
        }
        cost_of_swapped = together((swapped_cost, second_cost), candidates=len(swapped))
        return ToolScores(scores, (cost, cost_of_swapped), geometry_metadata(step_checkpoint))

    def _reaches_lowest_threshold(self, losses: CallLosses) -> bool:
        lowest, baseline = self._scoring.lowest_threshold, self._scoring.baseline
        return decide(losses, filtering_threshold=lowest, baseline=baseline).is_kept

    def _losses_with_results(
        self,
        tool_name: str,
        swapped: Mapping[str, SwappedCall],
        checkpoint: CheckpointOf,
        *,
        name: str,
    ) -> tuple[dict[str, float], StageCost]:
        meter, step_checkpoint = self._pass(name, checkpoint, swapped)
        losses = self._scorer.score_results(
            [swapped_call.call for swapped_call in swapped.values()],
            checkpoint=step_checkpoint,
            progress=self._progress("swapped_results", tool_name),
        )
        return losses, meter.cost("swapped_results", candidates=len(swapped))

    def _pass(
        self, name: str, checkpoint: CheckpointOf, calls: Iterable[str]
    ) -> tuple[CostMeter, Checkpoint]:
        step_checkpoint = checkpoint(name, hex_digest(self._model.precision, *sorted(calls)))
        return CostMeter(self._model, checkpoint=step_checkpoint), step_checkpoint
