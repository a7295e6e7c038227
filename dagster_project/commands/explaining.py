"""`toolformer explain`: one call in its text, its losses token by token, and the decision.

Computes the losses again with the model that scored the call, in float32. Does not parse the
command line.
"""

import dataclasses
import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from assets.filtering import calls_to_score, scoring_parameters
from dagster_project.commands import console
from dagster_project.commands.explained_call import (
    Decision,
    ExplainedCall,
    ForeignResult,
    Recomputation,
)
from dagster_project.commands.explanation_page import write_page
from dagster_project.commands.explanation_tables import call_shown, recomputation_shown
from dagster_project.commands.options import RunOptions
from dagster_project.commands.stored_call import find_call
from dagster_project.fingerprints import FINGERPRINT, LOSSES_FINGERPRINT, losses_fingerprint
from dagster_project.home import Home
from dagster_project.settings.sections import ScoringSettings, Settings, merged
from dagster_project.wiring.annotator import directory_of_model
from dagster_project.wiring.model_holder import ModelHolder
from dagster_project.wiring.warehouse import open_warehouse
from toolformer.errors import ToolformerError
from toolformer.explanation import CallExplanation, explain_call
from toolformer.filtering import CallLosses, decide
from toolformer.foreign_results import foreign_calls
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window, split_into_windows
from toolformer.losses import ScoredCall
from tools.protocol import ToolCall
from warehouse.layout import name_in_round
from warehouse.warehouse import Warehouse

_FLOAT32 = "float32"
# Rounding of other batches moves a loss of float32 by less, in nats.
_ROUNDING = 1e-3


class _CannotRecomputeError(ToolformerError):
    """What the losses were computed from is not here; what is stored is shown all the same."""


def explain(
    given: str, options: RunOptions, *, with_model: bool, as_json: bool, output: Path | None
) -> None:
    """Print a call, as far as it came, and its losses token by token where it was scored.

    Args:
        given: its id, or enough of the beginning.
        options: of the command.
        with_model: compute the losses again.
        as_json: the fields of `ExplainedCall`, with `recomputation` (or null) and
            `not_recomputed`, the reason why not (or null), in place of tables.
        output: file of a page to write, in place of tables.

    Raises:
        ToolformerError: there is no such call, there are several, or the page cannot be written.
    """
    home = Home.find()
    warehouse = open_warehouse(home)
    call, text = find_call(warehouse, given)
    again, why_not = None, "--no-model was given"
    if call.decision is None:
        why_not = "it has no losses"
    elif with_model:
        try:
            again = _computed_again(call, call.decision, text, options, home, warehouse)
            why_not = None
        except _CannotRecomputeError as error:
            why_not = str(error)
    if output is not None:
        write_page(output.expanduser(), call, again, why_not)
    if as_json:
        console.document(
            {
                **dataclasses.asdict(call),
                "recomputation": again and dataclasses.asdict(again),
                "not_recomputed": why_not,
            }
        )
        return
    if output is not None:
        console.say(f"Page: {output}")
        return
    console.show(*call_shown(call))
    if again is not None:
        console.show(*recomputation_shown(again))
    elif call.decision is not None and with_model:
        console.say(f"\nThe losses are not computed again. {why_not}")


def _computed_again(
    call: ExplainedCall,
    decision: Decision,
    text: str | None,
    options: RunOptions,
    home: Home,
    warehouse: Warehouse,
) -> Recomputation:
    """The losses token by token, and whether they decide as the stored ones did.

    Raises:
        _CannotRecomputeError: the settings, the model or the text are others by now.
    """
    of_round = merged(options.overrides, {"sampling": {"round": call.round}})
    settings = dataclasses.replace(options, overrides=of_round).load_settings(home)
    settings, identity = _as_scored(call, settings, warehouse)
    directory = directory_of_model(identity, settings, home)
    if directory is None:
        raise _CannotRecomputeError(
            f"The model that scored this call ({identity}) is neither in {str(home.models)!r} nor "
            "named by the settings: it was trained again, or removed. Name its directory with "
            "--set sampling.annotator=DIRECTORY, if it is still there."
        )
    scored = _scored_call(call)
    foreign = call.foreign or _chosen_foreign(call, settings, warehouse)
    parameters = scoring_parameters(settings)
    holder = ModelHolder()
    try:
        model = holder.load(directory, settings, home)
        found = explain_call(
            model,
            _window_of(call, text, model.tokenizer, settings),
            scored,
            foreign_result=foreign and foreign.result,
            call_format=parameters.call_format,
            form=parameters.form,
        )
    finally:
        holder.release()
    return _compared(decision, found, foreign, directory, placement=settings.scoring.placement)


def _as_scored(
    call: ExplainedCall, settings: Settings, warehouse: Warehouse
) -> tuple[Settings, str]:
    """The settings with what the call was scored with, in float32; and the model's identity."""
    parts = _scoring_parts(call, settings, warehouse)
    identity, bos_token = json.loads(parts["language_model"])
    model = {"bos_token": bos_token, "precision": _FLOAT32}
    changes = {
        "language_model": settings.language_model.model_copy(update=model),
        # What the parts leave out is as the paper has it.
        "scoring": ScoringSettings.model_validate(json.loads(parts["scoring"])),
        "corpus": settings.corpus.model_copy(
            update={"window_tokens": json.loads(parts["window_tokens"])}
        ),
    }
    return settings.model_copy(update=changes), identity


def _scoring_parts(
    call: ExplainedCall, settings: Settings, warehouse: Warehouse
) -> Mapping[str, str]:
    """The parts of the fingerprint of the losses.

    Earlier releases stored its digest alone: then they are those of the settings, if these give
    the same digest.
    """
    stored = call.provenance["scoring_parts"]
    if stored is not None:
        return json.loads(stored)
    name = name_in_round(call.round, call.tool)
    executed, filtered = (
        warehouse.slice_metadata(table, call.place.shard, name) or {}
        for table in ("executed_calls", "filtered_calls")
    )
    sampled = json.loads(call.provenance["sampling_parts"] or "{}")
    if "language_model" in sampled:
        now = losses_fingerprint(
            executed.get(FINGERPRINT, ""),
            settings,
            json.loads(sampled["language_model"])[0],
        )
        if now.digest == filtered.get(LOSSES_FINGERPRINT):
            return now.parts
    raise _CannotRecomputeError(
        "An earlier release scored this call and did not store with which settings; those of "
        "toolformer.yaml are others by now, or the call was sampled again since. Put them back "
        "for this command with --set (such as --set scoring.placement=inline), or run "
        "`toolformer build`, which scores it again."
    )


def _scored_call(call: ExplainedCall) -> ScoredCall:
    place, execution = call.place, call.execution
    if call.arguments is None or execution is None or execution.result is None:
        raise _CannotRecomputeError(
            "The result that this call was scored with is not stored any more. Run `toolformer "
            "build`, which executes it again."
        )
    return ScoredCall(
        call_id=call.call_id,
        window=(place.document_id, place.window),
        position=place.position,
        call=ToolCall(call.tool, call.arguments),
        result=execution.result,
    )


def _window_of(
    call: ExplainedCall, text: str | None, tokenizer: Tokenizer, settings: Settings
) -> Window:
    """The window that a call stands in, cut as it was when the call was sampled."""
    place = call.place
    windows = split_into_windows(
        place.document_id,
        text or "",
        tokenizer,
        window_tokens=settings.corpus.window_tokens,
    )
    window = next(islice(windows, place.window, None), None)
    if window is not None and place.position < len(window.offsets):
        offset = window.offsets[place.position]
        if offset is not None and window.start + offset == place.character_offset:
            return window
    raise _CannotRecomputeError(
        f"Token {place.position} of window {place.window} is not where the call stands in its "
        "text: the text is gone, or was cut into other tokens. Run `toolformer build`, which "
        "samples it again."
    )


def _chosen_foreign(
    call: ExplainedCall, settings: Settings, warehouse: Warehouse
) -> ForeignResult | None:
    """The foreign result that a contrast would take; None where all results are the same."""
    calls = calls_to_score(warehouse, call.place.shard, call.tool, round_number=call.round)
    chosen = foreign_calls(calls, {call.call_id}, seed=settings.sampling.seed)
    if not chosen:
        return None
    return ForeignResult(chosen[0].other_call_id, chosen[0].call.result, "explain", None)


def _compared(
    stored: Decision,
    found: CallExplanation,
    foreign: ForeignResult | None,
    directory: Path,
    *,
    placement: str,
) -> Recomputation:
    now = decide(
        found.losses,
        filtering_threshold=stored.filtering_threshold,
        contrast_threshold=stored.contrast_threshold,
        baseline=stored.baseline,
    )
    difference = _largest_difference(stored, found.losses, foreign)
    is_same = now.is_kept == stored.is_kept
    return Recomputation(
        model=str(directory),
        precision=_FLOAT32,
        placement=placement,
        foreign=foreign,
        tokens=found.tokens,
        gains=tuple(found.gains(stored.baseline)),
        losses=found.losses,
        loss_reduction=now.loss_reduction,
        is_kept=now.is_kept,
        reason=now.reason,
        is_same_decision=is_same,
        largest_difference=difference,
        remark=_remark(stored, difference, is_same=is_same),
    )


def _largest_difference(
    stored: Decision, losses: CallLosses, foreign: ForeignResult | None
) -> float:
    """How far a loss lies from the stored one, in nats, of those that are stored."""
    pairs: list[tuple[Any, Any]] = [
        (stored.loss_without_call, losses.loss_without_call),
        (stored.loss_call_without_result, losses.loss_call_without_result),
        (stored.loss_with_result, losses.loss_with_result),
        (foreign and foreign.loss, losses.loss_with_foreign_result),
    ]
    return max(abs(then - now) for then, now in pairs if then is not None and now is not None)


def _remark(stored: Decision, difference: float, *, is_same: bool) -> str:
    decided = "as the stored ones did" if is_same else "otherwise than the stored ones did"
    if stored.precision != _FLOAT32:
        why = f"and the stored ones are of {stored.precision}, which rounds more"
    elif difference > _ROUNDING:
        why = "which is more than rounding: the stored ones may be of another device"
    else:
        why = "which is rounding"
    return f"These losses decide {decided}. They differ by up to {difference:.4f} nats, {why}."
