"""The losses of a stored call computed again, token by token, by the model that scored it."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from assets.scoring import calls_to_score
from dagster_project.commands.options import RunOptions
from dagster_project.home import Home
from dagster_project.settings.sections import Settings, merged
from dagster_project.wiring.annotator import directory_of_model
from dagster_project.wiring.model_holder import ModelHolder
from dagster_project.wiring.scoring import scoring_parameters
from toolformer.errors import ToolformerError
from toolformer.explanation import ExplainedToken, explain_call
from toolformer.filtering import Baseline, CallLosses, FilterDecision, decide
from toolformer.forward.precision import FLOAT32
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window, split_into_windows
from toolformer.losses import ScoredCall
from toolformer.swapped_results import SwappedResults
from tools.protocol import ToolCall
from warehouse.layout import name_in_round
from warehouse.warehouse import Warehouse

_LOSSES = (
    "loss_without_call",
    "loss_call_without_result",
    "loss_with_result",
    "loss_with_swapped_result",
)
# Rounding of other batches moves a loss of float32 by less, in nats.
_ROUNDING = 1e-3


class CannotRecomputeError(ToolformerError):
    """What the losses were computed from is not here."""


@dataclass(frozen=True, slots=True)
class OtherResult:
    """The result of another call, to compare with.

    Attributes:
        call_id, result: of the other call.
        loss: with its result, in nats; None where it is not stored.
    """

    call_id: str
    result: str
    loss: float | None


@dataclass(frozen=True, slots=True)
class Recomputation:
    """The losses computed again in float32.

    Attributes:
        model: directory of the model.
        precision: that it computed in.
        placement: of the call: prefix (in front of the text) or inline.
        other: whose result the losses with a swapped result have.
        tokens: those that count; log-probabilities in nats.
        gains: what each adds to the loss reduction, in nats.
        losses: the weighted sums, in nats.
        decision: by these losses, at the stored thresholds.
        is_same_decision: whether the stored one is the same.
        largest_difference: of a loss from the stored one, in nats.
        remark: how the two compare, in a sentence.
    """

    model: str
    precision: str
    placement: str
    other: OtherResult | None
    tokens: tuple[ExplainedToken, ...]
    gains: tuple[float, ...]
    losses: CallLosses
    decision: FilterDecision
    is_same_decision: bool
    largest_difference: float
    remark: str


def stored_other_result(call: Mapping[str, Any]) -> OtherResult | None:
    """The result of another call that the call was scored with, where it was."""
    if call["swapped_result"] is None:
        return None
    loss = call["loss_with_swapped_result"]
    return OtherResult(call["swapped_call_id"], call["swapped_result"], loss)


def recompute(
    call: Mapping[str, Any], options: RunOptions, home: Home, warehouse: Warehouse
) -> Recomputation:
    """Compute the losses of a call with the settings that are stored with them.

    Args:
        call: row of `explained_call.sql` of a scored call.
        options: of the command; they may name the model's directory.
        home, warehouse: have the model and the results of other calls.

    Raises:
        CannotRecomputeError: the model, the result or the text is not there any more.
    """
    round_overrides = merged(options.overrides, {"sampling": {"round": call["round"]}})
    settings = dataclasses.replace(options, overrides=round_overrides).load_settings(home)
    settings, identity = _as_scored(call, settings)
    directory = directory_of_model(identity, settings, home)
    if directory is None:
        raise CannotRecomputeError(
            f"The model that scored this call ({identity}) is neither in {str(home.models)!r} nor "
            "named by the settings: it was trained again, or removed. Name its directory with "
            "--set sampling.annotator=DIRECTORY, if it is still there."
        )
    if call["result"] is None:
        raise CannotRecomputeError(
            "The result that this call was scored with is not stored any more. Run `toolformer "
            "build`, which executes it again."
        )
    scored = ScoredCall(
        call_id=call["call_id"],
        window=(call["document_id"], call["window"]),
        position=call["position"],
        call=ToolCall(call["tool"], call["arguments"]),
        result=call["result"],
    )
    other = stored_other_result(call) or _chosen_other_result(call, settings, warehouse)
    parameters = scoring_parameters(settings)
    holder = ModelHolder()
    try:
        model = holder.load(directory, settings, home)
        explanation = explain_call(
            model,
            _window_of(call, model.tokenizer, settings),
            scored,
            swapped_result=other and other.result,
            call_format=parameters.call_format,
            form=parameters.form,
        )
    finally:
        holder.release()
    losses = explanation.losses
    baseline = Baseline(call["baseline"])
    decision = decide(
        losses,
        filtering_threshold=call["filtering_threshold"],
        contrast_threshold=call["contrast_threshold"],
        baseline=baseline,
    )
    difference = _largest_difference({**call, _LOSSES[-1]: other and other.loss}, losses)
    return Recomputation(
        model=str(directory),
        precision=FLOAT32,
        placement=settings.scoring.placement,
        other=other,
        tokens=explanation.tokens,
        gains=tuple(explanation.gains(baseline)),
        losses=losses,
        decision=decision,
        is_same_decision=decision.is_kept == call["is_kept"],
        largest_difference=difference,
        remark=_remark(call, decision, difference),
    )


def _as_scored(call: Mapping[str, Any], settings: Settings) -> tuple[Settings, str]:
    """The settings that the call was scored with, in float32; and the model's identity."""
    parts = json.loads(call["scoring_parts"])
    identity, bos_token = json.loads(parts["language_model"])
    values = {path: json.loads(value) for path, value in parts.items() if "." in path}
    values |= {"language_model.bos_token": bos_token, "language_model.precision": FLOAT32}
    changes: dict[str, dict[str, object]] = {}
    for path, value in values.items():
        section, name = path.split(".")
        changes.setdefault(section, {})[name] = value
    sections = {
        section: getattr(settings, section).model_copy(update=update)
        for section, update in changes.items()
    }
    return settings.model_copy(update=sections), identity


def _window_of(call: Mapping[str, Any], tokenizer: Tokenizer, settings: Settings) -> Window:
    """The window that a call stands in, cut as it was when the call was sampled."""
    windows = split_into_windows(
        call["document_id"],
        call["text"] or "",
        tokenizer,
        window_tokens=settings.corpus.window_tokens,
    )
    number, position = call["window"], call["position"]
    window = next(islice(windows, number, None), None)
    if window is not None and position < len(window.offsets):
        offset = window.offsets[position]
        if offset is not None and window.start + offset == call["character_offset"]:
            return window
    raise CannotRecomputeError(
        f"Token {position} of window {number} is not where the call stands in its text: the text "
        "is gone, or was cut into other tokens. Run `toolformer build`, which samples it again."
    )


def _chosen_other_result(
    call: Mapping[str, Any], settings: Settings, warehouse: Warehouse
) -> OtherResult | None:
    """The result that the call would be scored with; None where all results are the same."""
    address = call["shard"], name_in_round(call["round"], call["tool"])
    calls = calls_to_score(
        warehouse.read_slice("executed_calls", *address),
        warehouse.read_slice("candidate_calls", *address),
        call["tool"],
    )
    results = SwappedResults(calls, seed=settings.sampling.seed)
    swapped = results.of({call["call_id"]}).get(call["call_id"])
    return swapped and OtherResult(swapped.other_call_id, swapped.call.result, None)


def _largest_difference(stored: Mapping[str, Any], losses: CallLosses) -> float:
    """How far a loss lies from the stored one, in nats, of those that are stored."""
    pairs = [(stored[name], getattr(losses, name)) for name in _LOSSES]
    return max(abs(then - now) for then, now in pairs if then is not None and now is not None)


def _remark(call: Mapping[str, Any], decision: FilterDecision, difference: float) -> str:
    manner = "as" if decision.is_kept == call["is_kept"] else "otherwise than"
    if call["precision"] != FLOAT32:
        why = f"and the stored ones are of {call['precision']}, which rounds more"
    elif difference > _ROUNDING:
        why = "which is more than rounding: the stored ones may be of another device"
    else:
        why = "which is rounding"
    return (
        f"These losses decide {manner} the stored ones did. They differ by up to "
        f"{difference:.4f} nats, {why}."
    )
