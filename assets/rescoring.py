"""Decisions of float32 at little more than the price of bfloat16: calls scored again by slice.

The calls of a slice whose decision could be another in float32 get the losses of float32. The slice
records the band that chose them. Does not decide which calls are kept.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from assets.call_scoring import CallScoring
from toolformer.calibration import Calibration
from toolformer.filtering import SWEEP_THRESHOLDS, CallLosses, decide
from toolformer.losses import ScoredCall
from toolformer.rescoring import first_pass_pruning, is_uncertain

RESCORING = "rescoring"


@dataclass(frozen=True, slots=True)
class SliceLosses:
    """The losses of the calls of one slice.

    Attributes:
        losses: by call.
        precisions: of the model that gave a call's losses.
        pruning_threshold: reduction below which no further loss was computed, in nats.
    """

    losses: Mapping[str, CallLosses]
    precisions: Mapping[str, str]
    pruning_threshold: float


@dataclass(frozen=True, slots=True)
class SafetyBand:
    """Around which thresholds, and how far, decisions of bfloat16 are not relied on.

    Attributes:
        thresholds: τ_f, and with `scoring.rescore_sweep` those of the sweep, in nats.
        calibration: gives the width.
    """

    thresholds: tuple[float, ...]
    calibration: Calibration

    @classmethod
    def around(
        cls, filtering_threshold: float, calibration: Calibration, *, with_sweep: bool
    ) -> "SafetyBand":
        """The band of one tool."""
        sweep = SWEEP_THRESHOLDS if with_sweep else ()
        return cls(tuple(sorted({filtering_threshold, *sweep})), calibration)

    def first_pass_pruning(self, pruning_threshold: float) -> float:
        """The pruning threshold of the pass in bfloat16."""
        return first_pass_pruning(pruning_threshold, self.thresholds, band=self.calibration.band)

    def score_again(
        self,
        scoring: CallScoring,
        tool_name: str,
        first: SliceLosses,
        calls: Callable[[], Sequence[ScoredCall]],
        *,
        digest: str,
        metadata: dict[str, str],
    ) -> SliceLosses:
        """Replace the losses of the uncertain calls; loads no model where there are none.

        Calls that float32 scored already, for another threshold, keep those losses.

        Args:
            scoring: of the shard.
            tool_name: whose calls.
            first: what is known so far.
            calls: gives the tool's executed calls.
            digest: of the first pass's losses, for the checkpoint.
            metadata: of the slice; gets band, thresholds and counts.
        """
        band = self.calibration.band
        uncertain = {
            call_id
            for call_id, losses in first.losses.items()
            if first.precisions[call_id] == "bfloat16"
            and is_uncertain(losses, self.thresholds, band=band)
        }
        again: dict[str, CallLosses] = {}
        if uncertain:
            state = f"{digest} {first.pruning_threshold} {band} {self.thresholds}"
            again = scoring.score_in_float32(
                tool_name,
                [call for call in calls() if call.call_id in uncertain],
                pruning_threshold=first.pruning_threshold,
                full_losses=scoring.stage.settings.scoring.full_losses,
                # Below the slice's own folder, so that it goes when the slice is there.
                checkpoint=scoring.stage.checkpoint(
                    scoring.shard, f"{scoring.stage.slice_name(tool_name)}/rescoring", state
                ),
            )
        metadata[RESCORING] = json.dumps(
            {
                "band": band,
                "thresholds": self.thresholds,
                "rescored": len(again),
                "changed_decisions": self._changed_decisions(first.losses, again),
            }
        )
        return SliceLosses(
            losses={**first.losses, **again},
            precisions={**first.precisions, **dict.fromkeys(again, "float32")},
            pruning_threshold=first.pruning_threshold,
        )

    def _changed_decisions(
        self, before: Mapping[str, CallLosses], after: Mapping[str, CallLosses]
    ) -> int:
        return sum(
            any(
                decide(before[call_id], filtering_threshold=threshold).is_kept
                != decide(losses, filtering_threshold=threshold).is_kept
                for threshold in self.thresholds
            )
            for call_id, losses in after.items()
        )
