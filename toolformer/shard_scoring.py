"""The filter stage of a shard: calls in; their losses, precisions and costs out (paper §2).

    calls ─▶ first pass, by the model ─▶ losses ─▶ within the band of a threshold?
                                                     no ─▶ as they are
                                                     yes ─▶ second pass, in float32

    asked for: what is kept by then, once more with a foreign result

Loads a model when it first needs one. Does not decide; `toolformer.filtering` does.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from toolformer.calls import CallFormat
from toolformer.filtering import Baseline, CallLosses
from toolformer.foreign_results import ForeignCall, foreign_calls
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.geometry import geometry_metadata
from toolformer.forward.precision import BFLOAT16, FLOAT32
from toolformer.forward.windows import Window
from toolformer.ground.digests import hex_digest
from toolformer.loss_form import PAPERS_FORM, LossForm
from toolformer.losses import ScoredCall, TextLosses, WindowKey, losses_with_result, score_calls
from toolformer.rescoring import (
    first_pass_pruning,
    score_again,
    start_token_losses,
)
from toolformer.slice_losses import Contrast, SafetyBand, SliceLosses
from toolformer.stage_cost import CostMeter, StageCost, together

if TYPE_CHECKING:
    from toolformer.forward.language_model import LanguageModel
    from toolformer.forward.tokenization import Tokenizer


@dataclass(frozen=True, slots=True)
class ScoringParameters:
    """How calls are scored.

    Attributes:
        call_format: how a call is written in front of a text.
        token_budget: most tokens of a batch; None lets the device decide.
        full_losses: compute all three losses of every call, also where two bounds decide.
        is_rescored: where the model computes in bfloat16, a call near a threshold is scored again
            in float32.
        form: where a call stands, and which tokens count.
        baseline: what a call with its result has to be better than.
    """

    call_format: CallFormat
    token_budget: int | None
    full_losses: bool
    is_rescored: bool
    form: LossForm = PAPERS_FORM
    baseline: Baseline = Baseline.MINIMUM


class ShardScoring:
    """Scores the calls of one shard. Its texts are read without calls once, for all tools.

    Args:
        load_model: gives the scoring model M.
        load_in: gives the same model in a precision.
        cut_windows: gives the windows of the shard.
        parameters: how calls are scored.
        progress: gives the callback of a pass, by its name and that of the tool.
    """

    def __init__(
        self,
        *,
        load_model: Callable[[], "LanguageModel"],
        load_in: Callable[[str], "LanguageModel"],
        cut_windows: Callable[["Tokenizer"], Iterable[Window]],
        parameters: ScoringParameters,
        progress: Callable[[str, str], Callable[[int, int], None]],
    ):
        self._load_model = load_model
        self.load_in = load_in
        self._cut_windows = cut_windows
        self.parameters = parameters
        self._progress = progress

    @cached_property
    def model(self) -> "LanguageModel":
        """The scoring model, loaded at first use."""
        return self._load_model()

    @cached_property
    def _windows(self) -> Mapping[WindowKey, Window]:
        return {
            (window.document_id, window.index): window
            for window in self._cut_windows(self.model.tokenizer)
        }

    @cached_property
    def _text_losses(self) -> TextLosses:
        windows, budget = list(self._windows.values()), self.parameters.token_budget
        start_losses = None
        if self.parameters.is_rescored and self.model.precision == BFLOAT16:
            start_losses = start_token_losses(self.load_in(FLOAT32))
        return TextLosses(self.model, windows, token_budget=budget, start_losses=start_losses)

    def losses_of(
        self,
        tool_name: str,
        calls: Callable[[], Sequence[ScoredCall]],
        *,
        pruning_threshold: float,
        band: SafetyBand | None,
        contrast: Contrast | None,
        known: SliceLosses | None,
        checkpoint: Callable[[str, str], Checkpoint],
    ) -> SliceLosses:
        """The losses that decisions on one tool's calls need.

        Loads no model where the known losses suffice.

        Args:
            tool_name: whose calls.
            calls: gives its executed calls.
            pruning_threshold: a call whose reduction cannot reach it gets no further losses.
            band: where a second pass is made; None for none.
            contrast: which calls are scored with a foreign result too; None for none.
            known: losses from an earlier decision, good for this threshold too.
            checkpoint: given a pass and what it depends on, keeps the pass's finished batches.

        Raises:
            OutOfMemoryError: a single row does not fit the device's memory.
        """
        if band is None:
            found = known or self._first_pass(tool_name, calls(), pruning_threshold, checkpoint)
        else:
            lowered = first_pass_pruning(pruning_threshold, band.thresholds, band=band.width)
            first = known or self._first_pass(tool_name, calls(), lowered, checkpoint)
            found = self._second_pass(tool_name, first, calls, band, checkpoint)
        if contrast is None:
            return found
        width = None if band is None else band.width
        return self._contrasted(tool_name, found, calls, contrast, width, checkpoint)

    def _first_pass(
        self,
        tool_name: str,
        calls: Sequence[ScoredCall],
        pruning_threshold: float,
        checkpoint: Callable[[str, str], Checkpoint],
    ) -> SliceLosses:
        # What another precision has begun is not gone on with: a slice says how it was computed.
        kept = checkpoint("scoring", f"{pruning_threshold} {self.model.precision}")
        losses, cost = self.score(
            tool_name,
            calls,
            stage="scoring",
            pruning_threshold=pruning_threshold,
            full_losses=self.parameters.full_losses,
            checkpoint=kept,
        )
        return SliceLosses(
            losses,
            dict.fromkeys(losses, self.model.precision),
            pruning_threshold,
            costs=(cost,),
            geometry=geometry_metadata(kept),
        )

    def _second_pass(
        self,
        tool_name: str,
        first: SliceLosses,
        calls: Callable[[], Sequence[ScoredCall]],
        band: SafetyBand,
        checkpoint: Callable[[str, str], Checkpoint],
    ) -> SliceLosses:
        kept = partial(checkpoint, "rescoring")
        found = self._scored_again(tool_name, first, calls, band.holds, kept, stage="rescoring")
        again = _replaced(first, found)
        return replace(
            found,
            rescoring={
                "band": band.width,
                "thresholds": band.thresholds,
                "rescored": len(again),
                "changed_decisions": band.changed_decisions(first.losses, again),
            },
        )

    def _contrasted(
        self,
        tool_name: str,
        first: SliceLosses,
        calls: Callable[[], Sequence[ScoredCall]],
        contrast: Contrast,
        band: float | None,
        checkpoint: Callable[[str, str], Checkpoint],
    ) -> SliceLosses:
        """Score what reaches τ_f with a foreign result too; near τ_c all of a call in float32."""
        found = self._with_foreign_results(
            tool_name, first, calls, contrast, checkpoint, name="contrast"
        )
        if band is not None:
            holds = partial(contrast.is_uncertain, band=band)
            kept = partial(checkpoint, "contrast-rescoring")
            again = self._scored_again(tool_name, found, calls, holds, kept, stage="contrast")
            if again is not found:
                found = self._with_foreign_results(
                    tool_name, again, calls, contrast, checkpoint, name="contrast-again"
                )
        costs = found.costs[len(first.costs) :]
        if not costs:
            return found
        cost = together(costs, candidates=len(_replaced(first, found)))
        return replace(found, costs=(*first.costs, cost))

    def _scored_again(
        self,
        tool_name: str,
        found: SliceLosses,
        calls: Callable[[], Sequence[ScoredCall]],
        is_uncertain: Callable[[CallLosses], bool],
        checkpoint: Callable[[str], Checkpoint],
        *,
        stage: str,
    ) -> SliceLosses:
        """Replace the losses of the uncertain calls by those of float32.

        Calls that float32 scored already, for another threshold, keep those losses.
        """
        uncertain = {
            call_id
            for call_id, losses in found.losses.items()
            if found.precisions[call_id] == BFLOAT16 and is_uncertain(losses)
        }
        if not uncertain:
            return found
        again, cost = self.score(
            tool_name,
            [call for call in calls() if call.call_id in uncertain],
            stage=stage,
            pruning_threshold=found.pruning_threshold,
            full_losses=self.parameters.full_losses,
            checkpoint=checkpoint(f"{found.pruning_threshold} {_digest_of(uncertain)}"),
            in_float32=True,
        )
        return replace(
            found,
            losses={**found.losses, **again},
            precisions={**found.precisions, **dict.fromkeys(again, FLOAT32)},
            costs=(*found.costs, cost),
        )

    def _with_foreign_results(
        self,
        tool_name: str,
        found: SliceLosses,
        calls: Callable[[], Sequence[ScoredCall]],
        contrast: Contrast,
        checkpoint: Callable[[str, str], Checkpoint],
        *,
        name: str,
    ) -> SliceLosses:
        """Add the losses with a foreign result where they are missing, in the call's precision."""
        missing = {
            call_id
            for call_id, losses in found.losses.items()
            if losses.loss_with_foreign_result is None and contrast.reached(losses)
        }
        chosen = foreign_calls(calls(), missing, seed=contrast.seed) if missing else []
        by_precision: dict[str, list[ForeignCall]] = {}
        for each in chosen:
            by_precision.setdefault(found.precisions[each.call.call_id], []).append(each)
        losses, costs = dict(found.losses), list(found.costs)
        for precision, of_precision in by_precision.items():
            of_calls, cost = self.score_results(
                tool_name,
                [each.call for each in of_precision],
                stage="contrast",
                checkpoint=checkpoint(f"{name}-{precision}", _digest_of(missing)),
                precision=precision,
            )
            costs.append(cost)
            for call_id, loss in of_calls.items():
                losses[call_id] = replace(losses[call_id], loss_with_foreign_result=loss)
        others = {each.call.call_id: each.other_call_id for each in chosen}
        return replace(
            found,
            losses=losses,
            costs=tuple(costs),
            foreign_calls={**found.foreign_calls, **others},
        )

    def score_results(
        self,
        tool_name: str,
        calls: Sequence[ScoredCall],
        *,
        stage: str,
        checkpoint: Checkpoint,
        precision: str | None = None,
    ) -> tuple[dict[str, float], StageCost]:
        """L_i⁺ alone of some calls of one tool, by key; arguments as for `score`.

        They are computed in a precision, by default that of the model.
        """
        model = self.load_in(precision) if precision else self.model
        meter = CostMeter(model, checkpoint=checkpoint)
        losses = losses_with_result(
            model,
            self._windows,
            calls,
            call_format=self.parameters.call_format,
            token_budget=self.parameters.token_budget,
            checkpoint=checkpoint,
            progress=self._progress(stage, tool_name),
            form=self.parameters.form,
        )
        return losses, meter.cost(stage, candidates=len(calls))

    def score(
        self,
        tool_name: str,
        calls: Sequence[ScoredCall],
        *,
        stage: str,
        pruning_threshold: float,
        full_losses: bool,
        checkpoint: Checkpoint,
        in_float32: bool = False,
    ) -> tuple[dict[str, CallLosses], StageCost]:
        """One pass over some calls of one tool.

        Args:
            tool_name: whose calls.
            calls: with the results that are scored.
            stage: names the pass in its cost and its progress.
            pruning_threshold, full_losses: as for `toolformer.losses.score_calls`.
            checkpoint: keeps finished batches.
            in_float32: by the copy of the model in float32.
        """
        windows = self._windows
        if in_float32:
            model = self.load_in(FLOAT32)
            score = partial(score_again, model, windows)
        else:
            model = self.model
            score = partial(score_calls, model, windows, self._text_losses)
        meter = CostMeter(model, checkpoint=checkpoint)
        losses = score(
            calls,
            call_format=self.parameters.call_format,
            pruning_threshold=pruning_threshold,
            full_losses=full_losses,
            token_budget=self.parameters.token_budget,
            checkpoint=checkpoint,
            progress=self._progress(stage, tool_name),
            form=self.parameters.form,
            baseline=self.parameters.baseline,
        )
        return losses, meter.cost(stage, candidates=len(calls))


def _digest_of(call_ids: Iterable[str]) -> str:
    return hex_digest(*sorted(call_ids))


def _replaced(before: SliceLosses, after: SliceLosses) -> dict[str, CallLosses]:
    return {key: new for key, new in after.losses.items() if new is not before.losses[key]}
