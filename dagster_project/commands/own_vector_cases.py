"""The groups of test vectors whose rules the paper does not have.

Does not know the other groups; `vector_cases.py` does.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from dagster_project.commands.vector_fields import (
    CaseError,
    Fields,
    Found,
    equal_fractions,
    number_of,
    token_losses,
)

if TYPE_CHECKING:
    from toolformer.decoding.call_threshold import MeasuredText
    from toolformer.decoding.triggers import CallChance


def _window(inputs: Fields, expected: Fields) -> Found:
    from toolformer.loss_form import LossForm
    from toolformer.loss_weights import weighted_loss

    form, counts = LossForm(weights=_window_weights(inputs)), inputs["tokens_left"]
    sums = [weighted_loss([1.0] * count, form.weights) for count in counts]
    is_exact = equal_fractions(expected["fractions"], form.weights)
    return [
        ("weights equal their fractions", True, is_exact),
        ("tokens_used", expected["tokens_used"], [form.tokens_used(count, 0) for count in counts]),
        ("weight_sum", expected["weight_sum"], sums),
    ]


def _window_weights(inputs: Fields) -> tuple[float, ...]:
    from toolformer.loss_weights import window_weights

    tokens, kind = inputs["window_tokens"], inputs["window_weights"]
    if kind not in ("linear", "uniform"):
        raise CaseError(f"window_weights is {kind!r}, neither 'linear' nor 'uniform'")
    return window_weights(tokens, are_linear=kind == "linear")


def _form(inputs: Fields, expected: Fields) -> Found:
    from toolformer.filtering import Baseline, CallLosses, decide
    from toolformer.loss_form import LossForm, Placement
    from toolformer.loss_weights import losses_of_positions, weighted_loss

    form = LossForm(Placement(inputs["placement"]), _window_weights(inputs))
    losses, position = token_losses(inputs), inputs["position"]
    in_front = {name: of_text[:position] for name, of_text in losses.items()}
    if form.placement is Placement.INLINE and len({*map(tuple, in_front.values())}) > 1:
        raise CaseError("the tokens in front of a call at its place do not see it, yet they differ")
    used = form.tokens_used(inputs["n_tokens"], position)
    without, call_only, with_result = (
        losses_of_positions(of_text, [position], form.weights)[0] for of_text in losses.values()
    )
    decision = decide(
        CallLosses(
            loss_without_call=without,
            loss_with_result=with_result,
            loss_call_without_result=call_only,
            tokens_used=used,
        ),
        filtering_threshold=number_of(inputs["tau_f"]),
        baseline=Baseline(inputs["baseline"]),
    )
    found = {
        "tokens_used": used,
        "weight_sum": weighted_loss([1.0] * used, form.weights),
        "L_empty": without,
        "L_call_only": call_only,
        "L_plus": with_result,
        "diff": math.nan if decision.loss_reduction is None else decision.loss_reduction,
        "keep": decision.is_kept,
        "reason": decision.reason.value,
    }
    return [(name, expected[name], value) for name, value in found.items()]


def _decision(inputs: Fields, expected: Fields) -> Found:
    from toolformer.filtering import Baseline, CallLosses, decide

    losses = CallLosses(
        loss_without_call=number_of(inputs["L_empty"]),
        loss_with_result=number_of(inputs["L_plus"]),
        loss_call_without_result=_number_or_none(inputs["L_call_only"]),
        tokens_used=inputs["tokens_used"],
        loss_with_swapped_result=_number_or_none(inputs["L_swapped"]),
    )
    decision = decide(
        losses,
        filtering_threshold=number_of(inputs["tau_f"]),
        contrast_threshold=_number_or_none(inputs["tau_c"]),
        baseline=Baseline(inputs["baseline"]),
    )
    found = {
        "diff": math.nan if decision.loss_reduction is None else decision.loss_reduction,
        "contrast": losses.contrast,
        "keep": decision.is_kept,
        "reason": decision.reason.value,
    }
    return [(name, expected[name], value) for name, value in found.items()]


def _number_or_none(value: Any) -> float | None:
    return None if value is None else number_of(value)


def _proposed(inputs: Fields, expected: Fields) -> Found:
    from toolformer.positions import proposed_positions
    from tools.protocol import Proposal

    places = proposed_positions(
        [Proposal(offset, arguments) for offset, arguments in inputs["proposals"]],
        start=inputs["start"],
        text=inputs["text"],
        offsets=inputs["offsets"],
    )
    return [("positions", expected["positions"], [list(place) for place in places.items()])]


def _choice(inputs: Fields, expected: Fields) -> Found:
    from toolformer.positions import choose_positions

    probabilities, allowed = [number_of(value) for value in inputs["p_api"]], inputs["allowed"]
    if len(allowed) != len(probabilities):
        raise CaseError(f"allowed has {len(allowed)} values, p_api {len(probabilities)}")
    positions = choose_positions(
        probabilities,
        sampling_threshold=number_of(inputs["tau_s"]),
        positions_per_text=inputs["k"],
        is_allowed=allowed,
        proposed=inputs["proposed"],
    )
    return [("positions", expected["positions"], positions)]


def _opening(inputs: Fields, expected: Fields) -> Found:
    from toolformer.decoding.triggers import first_opening, may_open

    chances = _chances(inputs["chances"])
    call_top_k, least = inputs["k"], number_of(inputs["least_call_probability"])
    opens = [
        may_open(*chance, call_top_k=call_top_k, least_call_probability=least) for chance in chances
    ]
    first = first_opening(chances, call_top_k=call_top_k, least_call_probability=least)
    return [("opens", expected["opens"], opens), ("first", expected["first"], first)]


def _chances(values: Sequence[Any]) -> "list[CallChance]":
    from toolformer.decoding.triggers import CallChance

    return [CallChance(rank, _number_or_none(probability)) for rank, probability in values]


def _call_threshold(inputs: Fields, expected: Fields) -> Found:
    from toolformer.decoding.call_threshold import MeasuredText, choose_call_threshold

    texts: list[MeasuredText] = []
    for number, values in enumerate(inputs["texts"]):
        text = Fields(f"text {number + 1}", values)
        texts += [_measured_text(text, inputs["k"])] * text["times"]
        text.check_all_used()
    chosen = choose_call_threshold(texts, call_top_k=inputs["k"])
    return [
        ("threshold", expected["threshold"], chosen.least_call_probability),
        ("curve", expected["curve"], [list(astuple(point)) for point in chosen.curve]),
    ]


def _measured_text(text: Fields, call_top_k: int) -> "MeasuredText":
    from toolformer.decoding.call_threshold import MeasuredText, Opening
    from toolformer.decoding.triggers import first_openings

    chances, gains, kept = _chances(text["chances"]), text["gains"], text["call_positions"]
    if len(gains) != len(chances):
        raise CaseError(f"there are {len(gains)} gains for {len(chances)} chances")
    openings = [
        Opening(chances[at].probability or 0.0, gains[at], at in kept)
        for at in first_openings(chances, call_top_k=call_top_k)
    ]
    return MeasuredText(openings, has_calls=bool(kept))


OWN_GROUPS: dict[str, dict[str, Callable[[Fields, Fields], Found]]] = {
    "windows": {"window": _window},
    "forms": {"form": _form},
    "decisions": {"decision": _decision},
    "proposals": {"proposed": _proposed, "choice": _choice},
    "openings": {"opening": _opening},
    "call_thresholds": {"call_threshold": _call_threshold},
}
