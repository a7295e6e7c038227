"""Calls whose decision could be another in float32, and their losses in float32.

bfloat16 costs a third of float32 and moves a loss reduction by a few hundredths of a nat. So all
calls are scored in bfloat16, and only those within a safety band of a threshold again, with a
float32 copy of the same weights. How wide the band is, `toolformer.calibration` measures.

One loss is off by far more: that of a text's first token, which is predicted from the start token
alone. Models put very large activations there, and bfloat16 loses what lies between them (half a
nat with the embedded model). It depends on the start token only, so that one float32 pass over one
token mends it for all texts.

Does not load models and does not decide.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from toolformer.calls import CallFormat
from toolformer.filtering import Baseline, CallLosses, FilterReason, decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.windows import Window
from toolformer.loss_form import PAPERS_FORM, LossForm
from toolformer.losses import ScoredCall, TextLosses, WindowKey, score_calls


def start_token_losses(reference: LanguageModel) -> list[float]:
    """-log p(x | BOS) in nats for every token x of the vocabulary.

    Args:
        reference: the scoring model in float32.
    """
    import torch

    with torch.inference_mode():
        start = torch.tensor([[reference.bos_id]], device=reference.device)
        logits = reference.logits(reference.hidden_states(start)[0, 0])
        return (torch.logsumexp(logits, dim=-1) - logits).tolist()


def first_pass_pruning(
    pruning_threshold: float, thresholds: Iterable[float], *, band: float
) -> float:
    """The pruning threshold of the first pass, lowered where a bound could lie in the band.

    A call that was pruned just below a threshold is as uncertain as one that was not; its last
    loss in bfloat16 settles most of these for a third of the price.

    Args:
        pruning_threshold: the one of a single pass, in nats.
        thresholds: whose decisions are to be those of float32.
        band: half its width, in nats.
    """
    return min(pruning_threshold, *(threshold - band for threshold in thresholds))


def is_uncertain(
    losses: CallLosses,
    thresholds: Iterable[float],
    *,
    band: float,
    baseline: Baseline = Baseline.MINIMUM,
) -> bool:
    """Whether the decision on a call at one of the thresholds could be another in float32.

    Where a loss is missing, what is known is an upper bound of the reduction: such a call is lost
    for certain only where the bound lies below the threshold by more than the band. Losses that
    are not finite are no decision of float32 either.

    Args:
        losses: of the first pass.
        thresholds: in nats.
        band: half its width, in nats.
        baseline: of the decision.
    """
    decision = decide(losses, filtering_threshold=0.0, baseline=baseline)
    if decision.reason is FilterReason.NO_TEXT_AFTER_POSITION:
        return False
    if decision.loss_reduction is None:
        return True
    reduction = decision.loss_reduction
    is_bound = decision.reason not in (FilterReason.KEPT, FilterReason.BELOW_THRESHOLD)
    return any(
        reduction >= threshold - band and (is_bound or reduction <= threshold + band)
        for threshold in thresholds
    )


def is_uncertain_in_contrast(losses: CallLosses, threshold: float, *, band: float) -> bool:
    """Whether the contrast of a call could lie on the other side of τ_c in float32.

    A contrast is a difference of two losses as a reduction is, so that the same band holds.

    Args:
        losses: of a call that reaches τ_f.
        threshold: τ_c in nats.
        band: half its width, in nats.
    """
    contrast = losses.contrast
    if contrast is None:
        return False
    return not math.isfinite(contrast) or abs(contrast - threshold) <= band


def score_again(
    reference: LanguageModel,
    windows: Mapping[WindowKey, Window],
    calls: Sequence[ScoredCall],
    *,
    call_format: CallFormat,
    pruning_threshold: float,
    full_losses: bool,
    token_budget: int | None,
    checkpoint: Checkpoint,
    progress: Callable[[int, int], None],
    form: LossForm = PAPERS_FORM,
    baseline: Baseline = Baseline.MINIMUM,
) -> dict[str, CallLosses]:
    """Losses of the uncertain calls of one tool, L_i(ε) included.

    Args:
        reference: the scoring model in float32.
        windows, call_format, pruning_threshold, full_losses, token_budget, progress, form,
            baseline: as for `toolformer.losses.score_calls`.
        calls: the uncertain ones.
        checkpoint: keeps finished batches; not the one of the first pass.

    Returns:
        Losses by call.
    """
    cut = _cut_windows(windows, calls, form)
    return score_calls(
        reference,
        cut,
        TextLosses(reference, list(cut.values()), token_budget=token_budget),
        calls,
        call_format=call_format,
        pruning_threshold=pruning_threshold,
        full_losses=full_losses,
        token_budget=token_budget,
        checkpoint=checkpoint,
        progress=progress,
        form=form,
        baseline=baseline,
    )


def _cut_windows(
    windows: Mapping[WindowKey, Window], calls: Sequence[ScoredCall], form: LossForm
) -> dict[WindowKey, Window]:
    """The windows of the calls, each up to the last token that carries weight for one of them.

    What stands behind changes no loss, the model being causal.
    """
    ends: dict[WindowKey, int] = {}
    for call in calls:
        ends[call.window] = max(ends.get(call.window, 0), call.position + len(form.weights))
    return {
        key: dataclasses.replace(
            windows[key], ids=windows[key].ids[:end], offsets=windows[key].offsets[:end]
        )
        for key, end in ends.items()
    }
