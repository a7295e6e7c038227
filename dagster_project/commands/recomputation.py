"""Recomputes the losses of a stored call, token by token, with the model that scored it."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from assets.shard_texts import first_calls_in
from dagster_project.commands.options import RunOptions
from toolformer.chained_calls import FirstCalls
from toolformer.errors import ToolformerError
from toolformer.explanation import ExplainedToken, explain_call
from toolformer.filtering import CallLosses
from toolformer.forward.precision import FLOAT32
from toolformer.forward.tokenization import Tokenizer
from toolformer.forward.windows import Window, split_into_windows
from toolformer.home.home import Home
from toolformer.home.wiring.model_holder import ModelHolder
from toolformer.home.wiring.models import is_trained
from toolformer.home.wiring.workspace import Workspace
from toolformer.scoring.call_scorer import ScoredCall
from toolformer.settings.sections import Settings, merged
from tools.model_identity import model_identity
from tools.protocol import ToolCall

LOSSES = (
    "loss_without_call",
    "loss_call_without_result",
    "loss_with_result",
    "loss_with_swapped_result",
)


class CannotRecomputeError(ToolformerError):
    """Error for a missing model, result or text from which the losses were computed."""


@dataclass(frozen=True, slots=True)
class Recomputation:
    """Losses recomputed in float32; losses and gains are in nats.

    Attributes:
        placement: `prefix` (before the text) or `inline`.
        tokens: tokens with a weight.
        gains: contribution of each token to the loss reduction.
        largest_difference: largest difference between a recomputed loss and the stored one.
    """

    model: str
    placement: str
    tokens: tuple[ExplainedToken, ...]
    gains: tuple[float, ...]
    losses: CallLosses
    largest_difference: float


def recompute(call: Mapping[str, Any], options: RunOptions, home: Home) -> Recomputation:
    """Recompute the losses of a scored call with the settings that are stored with them.

    `call` is a row of `explained_call.sql`. The options may name the model's directory.
    """
    round_overrides = merged(options.overrides, {"sampling": {"round": call["round"]}})
    settings = dataclasses.replace(options, overrides=round_overrides).load_settings(home)
    settings, identity = _as_scored(call, settings)
    work = Workspace(settings, home, ModelHolder())
    named = (settings.language_model.path, settings.sampling.annotator)
    stored = sorted({*home.models.glob("*"), *home.converted_models.glob("*")})
    directories = filter(is_trained, [*map(Path, named), *stored])
    directory = next((each for each in directories if model_identity(each) == identity), None)
    if directory is None:
        raise CannotRecomputeError(
            f"The model that scored this call ({identity}) is neither in {str(home.models)!r} nor "
            "named by the settings. It was trained again or removed, or it runs on a server. If "
            "its directory still exists, name it with --set sampling.annotator=DIRECTORY."
        )
    if call["result"] is None:
        raise CannotRecomputeError(
            "The result that this call was scored with is no longer stored. Run `toolformer "
            "build`, which executes the call again."
        )
    key = (call["document_id"], call["window_index"])
    scored = ScoredCall(
        call_id=call["call_id"],
        window=key,
        position=call["position"],
        call=ToolCall(call["tool"], call["arguments"]),
        result=call["result"],
    )
    try:
        model = work.holder.load(directory, settings.language_model, home)
        window = _window_of(call, model.tokenizer, settings)
        calls = first_calls_in(work.warehouse, call["shard"], settings)
        first_calls = FirstCalls({key: calls[key]} if key in calls else {}, model.tokenizer)
        [window] = first_calls.insert([window])
        position = first_calls.position_for_model(key, scored.position)
        explanation = explain_call(
            model,
            window,
            dataclasses.replace(scored, position=position),
            swapped_result=call["swapped_result"],
            scoring=settings.scoring,
        )
    finally:
        work.holder.release()
    losses = explanation.losses
    pairs = [(call[name], getattr(losses, name)) for name in LOSSES]
    return Recomputation(
        model=str(directory),
        placement=settings.scoring.placement,
        tokens=explanation.tokens,
        gains=tuple(explanation.gains(call["baseline"])),
        losses=losses,
        largest_difference=max(
            abs(stored - now) for stored, now in pairs if stored is not None and now is not None
        ),
    )


def _as_scored(call: Mapping[str, Any], settings: Settings) -> tuple[Settings, str]:
    """Return the settings of the original scoring, but in float32, and the model's identity."""
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
    """Return the window of a call, cut in the same way as for sampling."""
    windows = split_into_windows(
        call["document_id"],
        call["text"] or "",
        tokenizer,
        window_tokens=settings.corpus.window_tokens,
    )
    number, position = call["window_index"], call["position"]
    window = next(islice(windows, number, None), None)
    if window is not None and position < len(window.offsets):
        offset = window.offsets[position]
        if offset is not None and window.start + offset == call["character_offset"]:
            return window
    raise CannotRecomputeError(
        f"Token {position} of window {number} is not at the position of the call: the text is "
        "missing, or its tokens have changed. Run `toolformer build`, which samples it again."
    )
