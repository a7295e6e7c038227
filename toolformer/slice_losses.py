"""The losses of one tool's calls in a shard, and what decides which of them are computed again.

Does not score; `toolformer.shard_scoring` does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from toolformer.filtering import SWEEP_THRESHOLDS, Baseline, CallLosses, decide
from toolformer.rescoring import is_uncertain, is_uncertain_in_contrast
from toolformer.stage_cost import StageCost


@dataclass(frozen=True, slots=True)
class SafetyBand:
    """Around which thresholds, and how far, decisions of bfloat16 are not relied on.

    Attributes:
        thresholds: in nats, rising.
        width: half of it, in nats; from the calibration of the model.
        baseline: of the decisions.
    """

    thresholds: tuple[float, ...]
    width: float
    baseline: Baseline = Baseline.MINIMUM

    @classmethod
    def around(
        cls,
        filtering_threshold: float,
        *,
        width: float,
        with_sweep: bool,
        baseline: Baseline = Baseline.MINIMUM,
    ) -> "SafetyBand":
        """The band around τ_f, and around the thresholds of the sweep if asked for."""
        sweep = SWEEP_THRESHOLDS if with_sweep else ()
        return cls(tuple(sorted({filtering_threshold, *sweep})), width, baseline)

    def holds(self, losses: CallLosses) -> bool:
        """Whether the decision on a call lies within it, at any of the thresholds."""
        return is_uncertain(losses, self.thresholds, band=self.width, baseline=self.baseline)

    def changed_decisions(
        self, before: Mapping[str, CallLosses], after: Mapping[str, CallLosses]
    ) -> int:
        """How many of the calls in `after` are decided otherwise, at any of the thresholds."""
        return sum(
            any(
                self._keeps(before[call_id], threshold) != self._keeps(losses, threshold)
                for threshold in self.thresholds
            )
            for call_id, losses in after.items()
        )

    def _keeps(self, losses: CallLosses, threshold: float) -> bool:
        return decide(losses, filtering_threshold=threshold, baseline=self.baseline).is_kept


@dataclass(frozen=True, slots=True)
class Contrast:
    """Which calls are scored with a foreign result as well, and what is asked of them.

    Attributes:
        filtering_threshold: τ_f in nats; calls that reach it are scored.
        threshold: τ_c in nats.
        seed: of the choice of foreign results.
        baseline: of the decisions.
    """

    filtering_threshold: float
    threshold: float
    seed: int
    baseline: Baseline = Baseline.MINIMUM

    def reached(self, losses: CallLosses) -> bool:
        """Whether the contrast is what decides on a call."""
        decision = decide(
            losses, filtering_threshold=self.filtering_threshold, baseline=self.baseline
        )
        return decision.is_kept

    def is_uncertain(self, losses: CallLosses, *, band: float) -> bool:
        """Whether it decides on a call, and could decide otherwise in float32."""
        return self.reached(losses) and is_uncertain_in_contrast(losses, self.threshold, band=band)


@dataclass(frozen=True, slots=True)
class SliceLosses:
    """The losses of one tool's calls in one shard.

    Attributes:
        losses: by call.
        precisions: of the model that gave a call's losses.
        pruning_threshold: reduction below which no further loss was computed, in nats.
        costs: of the passes that were made for them.
        geometry: the batches of the first pass, if it was made.
        rescoring: of the second pass: half the width of the band, its thresholds, how many calls
            were rescored, and how many decisions changed; None where it was not asked for.
        foreign_calls: by call, the one whose result is its foreign one.
    """

    losses: Mapping[str, CallLosses]
    precisions: Mapping[str, str]
    pruning_threshold: float
    costs: tuple[StageCost, ...] = ()
    geometry: Mapping[str, str] = field(default_factory=dict)
    rescoring: Mapping[str, object] | None = None
    foreign_calls: Mapping[str, str] = field(default_factory=dict)
