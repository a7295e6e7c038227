"""Explains single calls: computes the losses that the filter sums, token by token.

z is the inserted call, i its position in the text x, and w the number of tokens with weight:

    prefix:   BOS | z | x_0 … x_{i+w-2}
    inline:   BOS | x_0 … x_{i-1} | z | x_i … x_{i+w-2}

With either placement, the state at index |z| + j predicts x_j for every j ≥ i. Every loss has its
own row and calls share no computation, so shards are scored by `toolformer.scoring.losses` instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from toolformer.calls import call_ids
from toolformer.filtering import Baseline, CallLosses
from toolformer.forward.model import Model
from toolformer.forward.windows import Window
from toolformer.loss_weights import weighted_loss
from toolformer.scoring.call_scorer import ScoredCall
from toolformer.settings.annotation_sections import ScoringSettings


@dataclass(frozen=True, slots=True)
class ExplainedToken:
    """A token after a call: its 0-based position in the window, and its log-probabilities in nats.

    The weighted sums of the log-probabilities are -L_i(ε), -L_i(e(c, ε)) and -L_i(e(c, r)).
    """

    position: int
    text: str
    weight: float
    without_call: float
    call_without_result: float
    with_result: float
    with_swapped_result: float | None


@dataclass(frozen=True, slots=True)
class CallExplanation:
    """The tokens after a call, in order, and the losses that they sum to."""

    tokens: tuple[ExplainedToken, ...]
    losses: CallLosses

    def gains(self, baseline: Baseline = "minimum") -> list[float]:
        """Return each token's contribution to L_i⁻ - L_i⁺, in nats.

        L_i⁻ is the smaller of two summed losses, so all tokens are compared with the same one.
        """
        without_result = self.losses.loss_call_without_result
        compares_with_call = (
            baseline == "minimum"
            and without_result is not None
            and without_result < self.losses.loss_without_call
        )
        return [
            token.weight
            * (
                token.with_result
                - (token.call_without_result if compares_with_call else token.without_call)
            )
            for token in self.tokens
        ]


def explain_call(
    model: Model,
    window: Window,
    call: ScoredCall,
    *,
    swapped_result: str | None,
    scoring: ScoringSettings,
) -> CallExplanation:
    """Compute all losses of one call token by token; they are 0 if no text follows the call."""

    def ids_of(result: str | None) -> list[int]:
        keeps_arrow = scoring.empty_result_keeps_arrow
        return call_ids(model.tokenizer, call.call, result, empty_result_keeps_arrow=keeps_arrow)

    texts = [[], ids_of(None), ids_of(call.result)]
    if swapped_result is not None:
        texts.append(ids_of(swapped_result))
    columns = [
        [-loss for loss in text_losses]
        for text_losses in _losses_after(model, window, call, texts, scoring)
    ]
    weights = scoring.token_weights
    losses = [weighted_loss([-score for score in column], weights) for column in columns]
    without_call, without_result, with_result, *swapped = columns
    positions = range(call.position, call.position + len(without_call))
    tokens = tuple(
        ExplainedToken(
            position=position,
            text=model.tokenizer.token_text(window.ids[position]),
            weight=weights[t],
            without_call=without_call[t],
            call_without_result=without_result[t],
            with_result=with_result[t],
            with_swapped_result=swapped[0][t] if swapped else None,
        )
        for t, position in enumerate(positions)
    )
    return CallExplanation(
        tokens,
        CallLosses(
            loss_without_call=losses[0],
            loss_call_without_result=losses[1],
            loss_with_result=losses[2],
            tokens_used=len(tokens),
            loss_with_swapped_result=losses[3] if swapped else None,
        ),
    )


def _losses_after(
    model: Model,
    window: Window,
    call: ScoredCall,
    texts: Sequence[list[int]],
    scoring: ScoringSettings,
) -> list[list[float]]:
    end = call.position + scoring.tokens_used(len(window.ids), call.position)
    start = call.position if scoring.placement == "inline" else 0
    # The last token with weight is only predicted, so it is not fed.
    rows = [[model.bos_id, *window.ids[:start], *z, *window.ids[start : end - 1]] for z in texts]
    targets = [
        (row, len(z) + position, window.ids[position])
        for row, z in enumerate(texts)
        for position in range(call.position, end)
    ]
    losses = iter(model.losses_at(rows, targets))
    return [[next(losses) for _ in range(call.position, end)] for _ in texts]
