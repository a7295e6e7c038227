"""The losses of one call token by token: what the filter sums up, kept apart.

    in front:       BOS | z | x_0 … x_{i+w-2}
    at its place:   BOS | x_0 … x_{i-1} | z | x_i … x_{i+w-2}

Either way the state at place |z| + j predicts x_j, for every j from i on. Each loss is one row of
its own, and the rows are fed together; nothing is shared between calls. So this is for looking at
single calls, and `toolformer.scoring.losses` for a shard of them.
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
    """One token that counts for a call; all but its weight in nats.

    Attributes:
        position: in the window, 0-based.
        without_call: log p(x_j) with no call, whose weighted sum is -L_i(ε).
        call_without_result: the same with the call alone, of L_i(e(c, ε)).
        with_result: with call and result, of L_i(e(c, r)).
        with_swapped_result: with the result of another call; None where there is none.
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
    """The tokens behind a call, in their order, and the losses that they add up to."""

    tokens: tuple[ExplainedToken, ...]
    losses: CallLosses

    def gains(self, baseline: Baseline = "minimum") -> list[float]:
        """What each token adds to the loss reduction, in nats; together they are L_i⁻ - L_i⁺.

        Args:
            baseline: what the call is compared with. Of two losses the smaller one is L_i⁻ as a
                whole: not each token's better one.
        """
        alone = self.losses.loss_call_without_result
        is_alone_better = alone is not None and alone < self.losses.loss_without_call
        compares_alone = baseline == "minimum" and is_alone_better
        return [
            token.weight
            * (
                token.with_result
                - (token.call_without_result if compares_alone else token.without_call)
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
    """Compute all losses of one call, token by token.

    Args:
        swapped_result: that of another call, to compare with; None for none.

    Returns:
        No tokens and losses of 0 where no text follows the position.
    """

    def ids_of(result: str | None) -> list[int]:
        keeps_arrow = scoring.empty_result_keeps_arrow
        return call_ids(model.tokenizer, call.call, result, empty_result_keeps_arrow=keeps_arrow)

    texts = [[], ids_of(None), ids_of(call.result)]
    if swapped_result is not None:
        texts.append(ids_of(swapped_result))
    columns = [
        [-loss for loss in text_losses]
        for text_losses in _losses_behind(model, window, call, texts, scoring)
    ]
    weights = scoring.token_weights
    losses = [weighted_loss([-score for score in column], weights) for column in columns]
    without_call, call_alone, with_result, *swapped = columns
    positions = range(call.position, call.position + len(without_call))
    tokens = tuple(
        ExplainedToken(
            position=position,
            text=model.tokenizer.token_text(window.ids[position]),
            weight=weights[t],
            without_call=without_call[t],
            call_without_result=call_alone[t],
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


def _losses_behind(
    model: Model,
    window: Window,
    call: ScoredCall,
    texts: Sequence[list[int]],
    scoring: ScoringSettings,
) -> list[list[float]]:
    """Losses of the tokens behind the position, for each text z that stands for the call."""
    end = call.position + scoring.tokens_used(len(window.ids), call.position)
    stands_at = call.position if scoring.placement == "inline" else 0
    # The last token that counts is predicted and predicts nothing: it is not fed.
    rows = [
        [model.bos_id, *window.ids[:stands_at], *z, *window.ids[stands_at : end - 1]] for z in texts
    ]
    places = [
        (row, len(z) + position, window.ids[position])
        for row, z in enumerate(texts)
        for position in range(call.position, end)
    ]
    losses = iter(model.losses_at(rows, places))
    return [[next(losses) for _ in range(call.position, end)] for _ in texts]
