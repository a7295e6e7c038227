"""The least probability with which a finetuned model opens calls, calibrated on development texts.

The paper has no such number: there k alone decides (§4.2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from assets.failures import expected_errors
from assets.inputs import Input, Wanted, look_at
from assets.outputs import DONE, UP_TO_DATE, make_once
from assets.stage import TOOL_VERSION, Stage
from assets.training.development_texts import DevelopmentText, development_texts
from assets.training.opening_gains import measure_openings
from assets.training.training_set import EXCLUSIONS, fingerprints_of, slice_inputs
from dagster_project.home import Home
from dagster_project.partitions import MODEL_VARIANTS
from dagster_project.plots.call_threshold_figure import call_threshold_plot
from dagster_project.plots.files import plot_links
from dagster_project.progress import progress_of
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.settings.sections import Settings
from dagster_project.shared_files import bring, publish
from dagster_project.wiring.evaluated_models import evaluated_model, name_of_variant
from dagster_project.wiring.model_cards import write_model_card
from dagster_project.wiring.model_holder import ModelHolder, base_model_directory
from toolformer.decoding.call_threshold import (
    CallThreshold,
    call_threshold_text,
    choose_call_threshold,
    read_call_threshold,
    why_too_few,
)
from toolformer.errors import ToolformerError
from toolformer.forward.tokenization import load_tokenizer
from toolformer.ground.beside_models import CALL_THRESHOLD_FILE
from toolformer.ground.whole_files import write_whole
from toolformer.training.variants import PLAIN
from tools.model_identity import model_identity
from tools.protocol import Tool
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CALL_THRESHOLD = Stage(
    name="call_threshold",
    version="4",
    settings=(
        "corpus.window_tokens",
        "corpus.max_windows_per_text",
        "scoring.window_tokens",
        "scoring.window_weights",
        "scoring.token_budget",
        "execution.deadline_seconds",
        "execution.max_result_tokens",
        "execution.leak_share",
        "decoding.call_top_k",
        "decoding.max_call_tokens",
        # As long may a text be with its context.
        "training.max_tokens",
        "training.development_share",
        "training.seed",
    ),
    settings_of_parts=("language_model.bos_token", "tools.*.is_enabled", *TOOL_VERSION.settings),
)

WITHOUT_CALLS = "it was trained without calls, so it has none to open"
NO_TOOLS = "none of the tools can run here, so no call has a result"
DONE_BUT_GIVEN_UP = (
    "done, but calls were given up: the tool had no answer to many in a row; the next run measures "
    "again"
)


@dg.asset(
    partitions_def=MODEL_VARIANTS,
    group_name="train",
    kinds={"pytorch", "matplotlib"},
    deps=[
        "finetuned_model",
        "training_set",
        dg.AssetDep("documents", partition_mapping=dg.AllPartitionMapping()),
        "wikipedia_index",
        "passage_index",
    ],
    code_version=CALL_THRESHOLD.version,
)
def call_threshold(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    warehouse: WarehouseResource,
    toolbox: ToolboxResource,
    language_model: LanguageModelResource,
) -> dg.MaterializeResult:
    """`call_threshold.json` in the model's directory: how likely ` [` has to be to open a call.

    One partition = one variant of the finetuned model. Decoding takes the value where
    `decoding.least_call_probability` is null. It is the one with which the model's own calls, with
    their results, gain most on development texts; the control `plain` has none. A model without one
    opens no calls.
    """
    with expected_errors():
        loaded = settings.load(variant=context.partition_key)
        home, store, holder = settings.home(), warehouse.open(), language_model.holder()
        variant = loaded.training.variant
        directory = evaluated_model(name_of_variant(variant), loaded, home).directory
        tools = {} if variant == PLAIN else toolbox.open(loaded, home).tools

        def wanted() -> Wanted:
            return _wanted(store, loaded, directory, tools)

        def is_stale() -> bool:
            bring(home, directory)
            return settings.force or wanted().fingerprint.difference(_stored(directory)) is not None

        # The model's own lock: nobody trains it anew meanwhile.
        lock = home.output_lock(f"finetuned_model.{directory.name}")

        def make() -> str:
            looked_at = wanted()
            chosen, given_up = _choose(context, store, home, loaded, directory, holder, tools)
            context.log.info(chosen.told)
            if lock.regain() and not is_stale():
                return UP_TO_DATE
            looked_at.check_unchanged(wanted())
            made_from = looked_at.fingerprint
            if given_up:
                # Out of date at once, so that the next run measures again.
                made_from = made_from.with_part("given_up_calls", given_up)
            stored = replace(chosen, made_from=made_from.metadata())
            write_whole(directory / CALL_THRESHOLD_FILE, call_threshold_text(stored))
            write_model_card(directory, base_model_directory(loaded, home), loaded)
            publish(home, directory)
            return DONE_BUT_GIVEN_UP if given_up else DONE

        state = make_once(
            lock,
            is_stale=is_stale,
            make=make,
            hold_device=partial(holder.hold_device, loaded, home),
        )
        chosen = read_call_threshold(directory)
        if chosen is None:
            raise ToolformerError(
                f"{CALL_THRESHOLD_FILE} in {str(directory)!r} was removed as soon as it was "
                "written. Run again; it is made anew."
            )
    told_tools = ", ".join(tools) or "none"
    return dg.MaterializeResult(
        metadata={
            "state": state,
            "tools": told_tools,
            **_report(chosen),
            **plot_links(home, "call_threshold", _plots(chosen), partition=variant),
        }
    )


def _training_set(store: Warehouse) -> list[Input]:
    """Its texts, and what was left out of it.

    Raises:
        ToolformerError: there is none.
    """
    found = [look_at(store, table, ALL, ALL) for table in ("training_texts", EXCLUSIONS)]
    there = [each for each in found if each is not None]
    if len(there) < len(found):
        raise ToolformerError("There is no training set yet. Materialise `training_set` first.")
    return there


def _documents(store: Warehouse) -> dict[str, Input]:
    """The documents of the shards that its texts come from, where they are still there."""
    return slice_inputs(store, "documents", store.ask("training_shards")["shard"].to_list())


def _wanted(
    store: Warehouse, settings: Settings, directory: Path, tools: Mapping[str, Tool]
) -> Wanted:
    training_set = _training_set(store)
    documents = _documents(store)
    return Wanted(
        # The probabilities are of float32.
        CALL_THRESHOLD.fingerprint(
            settings,
            {
                "training_set": [each.fingerprint for each in training_set],
                "documents": fingerprints_of(documents),
                "language_model": [model_identity(directory), settings.language_model.bos_token],
                "tool_versions": {name: tool.version for name, tool in tools.items()},
            },
        ),
        (*training_set, *documents.values()),
    )


def is_calibrated(directory: Path) -> bool:
    """Whether a choice is stored with the model of a directory, whatever it was made from.

    What it would be made from now is not known while the training set of another round is stored.
    """
    return _stored(directory) is not None


def _stored(directory: Path) -> Mapping[str, str] | None:
    """What the stored choice was made from; None where there is none that can be read."""
    try:
        stored = read_call_threshold(directory)
    except ToolformerError:
        return None
    return stored and stored.made_from


def _choose(
    context: dg.AssetExecutionContext,
    store: Warehouse,
    home: Home,
    settings: Settings,
    directory: Path,
    holder: ModelHolder,
    tools: Mapping[str, Tool],
) -> tuple[CallThreshold, int]:
    """The choice, and how many calls were given up on the way."""
    k = settings.decoding.call_top_k
    if settings.training.variant == PLAIN:
        return CallThreshold(None, WITHOUT_CALLS, k, 0, 0), 0
    shards = sorted(_documents(store))
    texts = development_texts(store, shards, load_tokenizer(directory), settings)
    # The model is not loaded for nothing.
    reason = _why_none(texts, tools)
    if reason is not None:
        with_calls = _with_calls(texts)
        return CallThreshold(None, reason, k, with_calls, len(texts) - with_calls), 0
    measured = measure_openings(
        texts,
        tools,
        partial(holder.load, directory, settings, home, precision="float32"),
        settings,
        home,
        progress_of=lambda step: progress_of("calibrating calls", context.log, detail=step),
    )
    return choose_call_threshold(measured.texts, call_top_k=k), measured.given_up


def _why_none(texts: Sequence[DevelopmentText], tools: Mapping[str, Tool]) -> str | None:
    """Why nothing can be chosen, as far as that is known before anything is measured."""
    with_calls = _with_calls(texts)
    few = why_too_few(with_calls=with_calls, without_calls=len(texts) - with_calls)
    return few or (None if tools else NO_TOOLS)


def _with_calls(texts: Sequence[DevelopmentText]) -> int:
    return sum(bool(text.call_positions) for text in texts)


def _report(chosen: CallThreshold) -> dict[str, Any]:
    """What the asset shows; what the chosen one does where there is one."""
    shown: dict[str, Any] = {
        "call_top_k": chosen.call_top_k,
        "texts with calls": chosen.texts_with_calls,
        "texts without calls": chosen.texts_without_calls,
    }
    point = chosen.chosen
    if point is None:
        return {"least call probability": "none", "reason": chosen.reason or "", **shown}
    return {
        "least call probability": point.threshold,
        "choice": chosen.told,
        **shown,
        "mean gain of texts with calls": point.gain_with_calls,
        "mean gain of texts without calls": point.gain_without_calls,
        "score": point.score,
        "texts with calls in which one opens": point.opened_with_calls,
        "at a kept one": point.right,
        "texts without calls in which one opens": point.opened_without_calls,
    }


def _plots(chosen: CallThreshold) -> dict[str, "Figure"]:
    if chosen.chosen is None:
        return {}
    plot = call_threshold_plot(
        pl.DataFrame(list(chosen.curve)),
        chosen=chosen.chosen.threshold,
        texts_with_calls=chosen.texts_with_calls,
        texts_without_calls=chosen.texts_without_calls,
    )
    return {"calls by threshold": plot}
