"""The losses of a shard's calls: all that decisions on them can ask for (paper §2).

    calls ─▶ own losses, pruned below the lowest threshold
          ─▶ of a bfloat16 model: once more in float32 what comes near that threshold or above it
          ─▶ L_i⁺ with the result of another call, of what reaches it and of the chance sample
          ─▶ the same with a third call's result, of the chance sample where a contrast compares

Filtering thresholds play no part here; `warehouse/queries/filtered_calls.sql` decides. A model is
loaded when it is first needed.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from toolformer.errors import OutOfMemoryError
from toolformer.files.digests import hex_digest
from toolformer.filtering import Baseline, CallLosses, decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.geometry import geometry_metadata
from toolformer.forward.precision import BFLOAT16, FLOAT32
from toolformer.forward.windows import Window
from toolformer.scoring.call_scorer import CallScorer, Pruning, ScoringParameters
from toolformer.scoring.chance_level import chance_sample_size
from toolformer.scoring.losses import scorer_for
from toolformer.scoring.rescoring import MARGIN, cut_windows, needs_second_look, start_token_losses
from toolformer.scoring.scored_call import ScoredCall, WindowKey
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
        precision: precision of the model that gave them.
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
        scores: by call.
        costs: costs of the passes that were made for them.
        geometry: the batches of the first pass.
    """

    scores: Mapping[str, CallScore]
    costs: tuple[StageCost, ...] = ()
    geometry: Mapping[str, str] = field(default_factory=dict)


class ShardScoring:
    """Scores the calls of one shard. Its texts are read without calls once, for all tools.

    Args:
        load_in: gives the scoring model M in a precision; in that of the settings by default.
        cut_windows: gives the windows of the shard.
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
        return {
            (window.document_id, window.index): window
            for window in self._cut_windows(self._model.tokenizer)
        }

    @cached_property
    def _has_second_look(self) -> bool:
        return self._wanted.is_rescored and self._model.precision == BFLOAT16

    @cached_property
    def _scorer(self) -> CallScorer:
        start_losses = start_token_losses(self._reference()) if self._has_second_look else None
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

        Args:
            checkpoint: keeps the finished batches of each pass.

        Raises:
            OutOfMemoryError: a single row does not fit the device's memory.
        """
        if not calls:
            return ToolScores({})
        wanted, others = self._wanted, SwappedResults(calls, seed=self._wanted.seed)
        sample_size = chance_sample_size(len(calls), max_size=wanted.chance_calls)
        sample = set(others.sample(sample_size))
        own = self._own_losses(tool_name, calls, sample, checkpoint)
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
        sample: Collection[str],
        checkpoint: CheckpointOf,
    ) -> ToolScores:
        """The losses with the calls' own results, in float32 where those can decide."""
        wanted, model = self._wanted, self._model
        margin = MARGIN if self._has_second_look else 0.0
        # Those of the sample are wanted in float32 whatever a first look says; where they are most
        # of the calls, a first look at the rest alone costs more than it spares.
        looked_at = [call for call in calls if call.call_id not in sample]
        if not self._has_second_look:
            looked_at = list(calls)
        elif 2 * len(sample) >= len(calls):
            looked_at = []
        kept = checkpoint("scoring", model.precision)
        meter = CostMeter(model, checkpoint=kept)
        first = self._scorer.score(
            looked_at,
            pruning=Pruning(wanted.lowest_threshold - margin, sample, wanted.baseline),
            checkpoint=kept,
            progress=self._progress("scoring", tool_name),
        )
        scores = {key: CallScore(losses, model.precision) for key, losses in first.items()}
        costs = [meter.cost("scoring", candidates=len(looked_at))]
        undecided = [
            call
            for call in calls
            if call.call_id not in first
            or needs_second_look(first[call.call_id], wanted.lowest_threshold, wanted.baseline)
        ]
        if self._has_second_look and undecided:
            reference = self._reference()
            kept_again = _named(checkpoint, "rescoring", {call.call_id for call in undecided})
            meter = CostMeter(reference, checkpoint=kept_again)
            windows = cut_windows(self._windows, undecided, self._parameters.form)
            again = scorer_for(reference, windows, self._parameters).score(
                undecided,
                pruning=Pruning(wanted.lowest_threshold, sample, wanted.baseline),
                checkpoint=kept_again,
                progress=self._progress("rescoring", tool_name),
            )
            scores |= {key: CallScore(losses, FLOAT32) for key, losses in again.items()}
            costs.append(meter.cost("rescoring", candidates=len(undecided)))
        return ToolScores(scores, tuple(costs), geometry_metadata(kept))

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


def _named(checkpoint: CheckpointOf, name: str, call_ids: Iterable[str]) -> Checkpoint:
    """The checkpoint of a pass over these calls."""
    return checkpoint(name, hex_digest(*sorted(call_ids)))
