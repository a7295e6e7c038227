"""The losses of a shard's calls: all that decisions on them can ask for (paper §2).

    calls ─▶ own losses, pruned below the lowest threshold
          ─▶ of a bfloat16 model: once more in float32 what comes near that threshold or above it,
             or in float32 at once where that would be most of them
          ─▶ L_i⁺ with the result of another call, of what reaches it and of the chance sample
          ─▶ the same with a third call's result, of the chance sample where a contrast compares

Filtering thresholds play no part here; `warehouse/queries/filtered_calls.sql` decides. A model is
loaded when it is first needed.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from toolformer.base.digests import hex_digest
from toolformer.errors import OutOfMemoryError
from toolformer.filtering import Baseline, CallLosses, decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.geometry import geometry_metadata
from toolformer.forward.precision import BFLOAT16, FLOAT32
from toolformer.forward.windows import Window, WindowKey
from toolformer.scoring.call_scorer import CallScorer, Pruning, ScoringParameters
from toolformer.scoring.chance_level import chance_sample_size
from toolformer.scoring.losses import scorer_for
from toolformer.scoring.rescoring import (
    band,
    calls_of_some_texts,
    cut_windows,
    needs_second_look,
    pays,
)
from toolformer.scoring.scored_call import ScoredCall
from toolformer.scoring.swapped_results import SwappedCall, SwappedResults
from toolformer.stage_cost import CostMeter, StageCost, together

if TYPE_CHECKING:
    from toolformer.forward.model import Model
    from toolformer.forward.tokenization import Tokenizer

# Given a pass over calls, and what it depends on: keeps the pass's finished batches.
CheckpointOf = Callable[[str, str], Checkpoint]


@dataclass(frozen=True, slots=True)
class LossesWanted:
    """Which losses are computed.

    Attributes:
        lowest_threshold: no threshold in nats that decides on the calls is lower.
        chance_calls: most calls of the chance sample.
        seed: seed of the sample, and of the choice of swapped results.
        is_rescored: a bfloat16 model's calls that come near the lowest threshold or above it are
            scored again in float32.
        baseline: what a call with its result has to be better than.
    """

    lowest_threshold: float
    chance_calls: int
    seed: int
    is_rescored: bool
    baseline: Baseline = Baseline.MINIMUM

    def is_reached(self, losses: CallLosses) -> bool:
        """Whether the reduction of a call reaches the lowest threshold."""
        return decide(
            losses, filtering_threshold=self.lowest_threshold, baseline=self.baseline
        ).is_kept


@dataclass(frozen=True, slots=True)
class CallScore:
    """All losses of a call.

    Attributes:
        losses: with its own result, and with that of another call where it was needed.
        is_in_chance_sample: whether it is also looked at with a swapped result in place of its own.
        swapped_call_id: call whose result the swapped one is.
        second_swapped_call_id: call whose result a contrast of the swapped one compares with.
        loss_with_second_swapped_result: with that result, in nats.
    """

    losses: CallLosses
    precision: str
    is_in_chance_sample: bool = False
    swapped_call_id: str | None = None
    second_swapped_call_id: str | None = None
    loss_with_second_swapped_result: float | None = None


@dataclass(frozen=True, slots=True)
class ToolScores:
    """The scores of one tool's calls in one shard.

    Attributes:
        geometry: the batches of the passes with the calls' own results.
    """

    scores: Mapping[str, CallScore]
    costs: tuple[StageCost, ...] = ()
    geometry: Mapping[str, str] = field(default_factory=dict)


class ShardScoring:
    """Scores the calls of one shard. Its texts are read without calls once, for all tools.

    Args:
        load_in: gives the scoring model M in a precision; in that of the settings by default.
        progress: gives the callback of a pass, by its name and that of the tool.
    """

    def __init__(
        self,
        *,
        load_in: Callable[[str | None], "Model"],
        cut_windows: Callable[["Tokenizer"], Iterable[Window]],
        parameters: ScoringParameters,
        wanted: LossesWanted,
        progress: Callable[[str, str], Callable[[int, int], None]],
    ):
        self._load_in = load_in
        self._cut_windows = cut_windows
        self._parameters = parameters
        self._wanted = wanted
        self._progress = progress

    @cached_property
    def _model(self) -> "Model":
        return self._load_in(None)

    @cached_property
    def _windows(self) -> Mapping[WindowKey, Window]:
        return {window.key: window for window in self._cut_windows(self._model.tokenizer)}

    @cached_property
    def _has_second_look(self) -> bool:
        return self._wanted.is_rescored and self._model.precision == BFLOAT16

    @cached_property
    def _scorer(self) -> CallScorer:
        start_losses = None
        if self._has_second_look:
            reference = self._reference()
            start_losses = reference.losses_of_all([reference.bos_id])
        return scorer_for(self._model, self._windows, self._parameters, start_losses)

    def _reference(self) -> "Model":
        """The same weights in float32, beside the model."""
        try:
            return self._load_in(FLOAT32)
        except OutOfMemoryError as error:
            raise OutOfMemoryError(
                "Beside the bfloat16 model there is no room for the float32 copy that decides "
                f"what comes near a threshold: {error} Or set scoring.rescoring to false, which "
                "decides by bfloat16 alone."
            ) from error

    def score(
        self, tool_name: str, calls: Sequence[ScoredCall], checkpoint: CheckpointOf
    ) -> ToolScores:
        """All losses of one tool's executed calls that decisions can ask for.

        Raises:
            OutOfMemoryError: a single row does not fit the device's memory.
        """
        if not calls:
            return ToolScores({})
        wanted, others = self._wanted, SwappedResults(calls, seed=self._wanted.seed)
        sample_size = chance_sample_size(len(calls), max_size=wanted.chance_calls)
        sample = set(others.sample(sample_size))
        own = self._own_losses(tool_name, calls, others, sample, checkpoint)
        reached = {key for key, score in own.scores.items() if wanted.is_reached(score.losses)}
        swapped = others.of(reached | sample)
        with_swapped, cost = self._with_results(
            tool_name, swapped, _named(checkpoint, "swapped", swapped)
        )
        second = others.second_of([swapped[key] for key in sample])
        lucky = {
            key: scored
            for key, scored in second.items()
            if wanted.is_reached(
                replace(own.scores[key].losses, loss_with_result=with_swapped[key])
            )
        }
        with_second, second_cost = self._with_results(
            tool_name, lucky, _named(checkpoint, "second-swapped", lucky)
        )
        scores = {
            key: replace(
                score,
                losses=replace(score.losses, loss_with_swapped_result=with_swapped.get(key)),
                is_in_chance_sample=key in sample,
                swapped_call_id=swapped[key].other_call_id if key in swapped else None,
                second_swapped_call_id=second[key].other_call_id if key in second else None,
                loss_with_second_swapped_result=with_second.get(key),
            )
            for key, score in own.scores.items()
        }
        cost_of_swapped = together((cost, second_cost), candidates=len(swapped))
        return ToolScores(scores, (*own.costs, cost_of_swapped), own.geometry)

    def _own_losses(
        self,
        tool_name: str,
        calls: Sequence[ScoredCall],
        others: SwappedResults,
        sample: Collection[str],
        checkpoint: CheckpointOf,
    ) -> ToolScores:
        """The losses with the calls' own results, in float32 where those can decide."""
        wanted = self._wanted
        lowest, baseline = wanted.lowest_threshold, wanted.baseline
        looks = _Looks(tool_name, wanted, checkpoint, self._progress)
        if not self._has_second_look:
            looks.look("scoring", self._scorer, calls, exact=sample)
            return looks.scores()
        undecided = {call.call_id for call in calls}
        if measured := calls_of_some_texts(others.calls):
            ids = {call.call_id for call in measured}
            rough = looks.look("scoring", self._scorer, measured, exact=ids, part="measured")
            reference = self._float32_scorer(measured)
            exact = looks.look("rescoring", reference, measured, exact=ids, part="measured")
            undecided -= ids
            width = band(rough, exact, baseline)
            if pays(exact.values(), lowest, width, baseline):
                outside = undecided.difference(sample)
                rest = [call for call in calls if call.call_id in outside]
                first = looks.look("scoring", self._scorer, rest, threshold=lowest - width)
                undecided = {
                    key
                    for key in undecided
                    if key not in first or needs_second_look(first[key], lowest, width, baseline)
                }
        left = [call for call in calls if call.call_id in undecided]
        looks.look("rescoring", self._float32_scorer(left), left, exact=sample)
        return looks.scores()

    def _float32_scorer(self, calls: Sequence[ScoredCall]) -> CallScorer:
        windows = cut_windows(self._windows, calls, self._parameters.form)
        return scorer_for(self._reference(), windows, self._parameters)

    def _with_results(
        self, tool_name: str, swapped: Mapping[str, SwappedCall], checkpoint: Checkpoint
    ) -> tuple[dict[str, float], StageCost]:
        """L_i⁺ with swapped results by call, in the precision of the calls that they decide on."""
        scorer = self._scorer
        if self._has_second_look:
            scorer = scorer_for(self._reference(), self._windows, self._parameters)
        meter = CostMeter(scorer.model, checkpoint=checkpoint)
        losses = scorer.score_results(
            [swapped_call.call for swapped_call in swapped.values()],
            checkpoint=checkpoint,
            progress=self._progress("swapped_results", tool_name),
        )
        return losses, meter.cost("swapped_results", candidates=len(swapped))


class _Looks:
    """The passes over one tool's calls so far. What a later one says of a call replaces a score."""

    def __init__(
        self,
        tool_name: str,
        wanted: LossesWanted,
        checkpoint: CheckpointOf,
        progress: Callable[[str, str], Callable[[int, int], None]],
    ):
        self._tool_name = tool_name
        self._wanted = wanted
        self._checkpoint = checkpoint
        self._progress = progress
        self._scores: dict[str, CallScore] = {}
        self._costs: dict[str, list[StageCost]] = {}
        self._passes: list[Checkpoint] = []

    def look(
        self,
        stage: str,
        scorer: CallScorer,
        calls: Sequence[ScoredCall],
        *,
        exact: Collection[str] = (),
        threshold: float | None = None,
        part: str = "",
    ) -> dict[str, CallLosses]:
        """The losses of some calls.

        Args:
            stage: name that the pass's cost has.
            exact: ids of calls of which no loss is left out.
            threshold: of the pruning, in nats; the lowest that is wanted by default.
            part: tells passes of one stage from each other.
        """
        wanted, model = self._wanted, scorer.model
        ids = [call.call_id for call in calls]
        kept = _named(self._checkpoint, f"{stage}{part}", [model.precision, *ids])
        meter = CostMeter(model, checkpoint=kept)
        losses = scorer.score(
            calls,
            pruning=Pruning(
                wanted.lowest_threshold if threshold is None else threshold, exact, wanted.baseline
            ),
            checkpoint=kept,
            progress=self._progress(stage, self._tool_name),
        )
        self._passes.append(kept)
        self._costs.setdefault(stage, []).append(meter.cost(stage, candidates=len(calls)))
        self._scores |= {key: CallScore(found, model.precision) for key, found in losses.items()}
        return losses

    def scores(self) -> ToolScores:
        """All that was found."""
        costs = tuple(
            together(costs, candidates=sum(cost.candidates for cost in costs))
            for costs in self._costs.values()
        )
        return ToolScores(self._scores, costs, geometry_metadata(*self._passes))


def _named(checkpoint: CheckpointOf, name: str, of: Iterable[str]) -> Checkpoint:
    """The checkpoint of a pass over these calls."""
    return checkpoint(name, hex_digest(*sorted(of)))
