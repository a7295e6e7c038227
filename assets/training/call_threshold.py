"""The least probability with which a finetuned model opens calls, calibrated on development texts.

The paper has no such number: there k alone decides (§4.2).
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import dagster as dg
import polars as pl

from assets.inputs import Input, Wanted, look_at
from assets.outputs import DONE, make_once
from assets.shard_stage import expected_errors
from assets.training.development_texts import development_texts
from assets.training.training_set import EXCLUSIONS, fingerprints_of, slice_inputs
from dagster_project.fingerprints import CODE_VERSIONS, call_threshold_fingerprint
from dagster_project.home import Home
from dagster_project.partitions import MODEL_VARIANTS
from dagster_project.plots.call_threshold_figure import call_threshold_plot
from dagster_project.plots.figures import png_markdown
from dagster_project.progress import progress_of
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.settings.sections import Settings
from dagster_project.wiring.evaluated_models import evaluated_model, name_of_variant
from dagster_project.wiring.model_cards import write_model_card
from dagster_project.wiring.model_holder import ModelHolder, base_model_directory, precision_of
from toolformer.decoding.call_chances import call_chances
from toolformer.decoding.call_threshold import (
    CallThreshold,
    ReadText,
    call_threshold_text,
    choose_call_threshold,
    read_call_threshold,
    why_too_few,
)
from toolformer.errors import ToolformerError
from toolformer.forward.geometry import choose_pack_tokens
from toolformer.forward.tokenization import load_tokenizer
from toolformer.ground.beside_models import CALL_THRESHOLD_FILE
from toolformer.ground.whole_files import write_whole
from toolformer.training.variants import PLAIN
from tools.model_identity import model_identity
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

WITHOUT_CALLS = "it was trained without calls, so it has none to open"


@dg.asset(
    partitions_def=MODEL_VARIANTS,
    group_name="train",
    kinds={"pytorch", "matplotlib"},
    deps=[
        "finetuned_model",
        "training_set",
        dg.AssetDep("documents", partition_mapping=dg.AllPartitionMapping()),
    ],
    code_version=CODE_VERSIONS["call_threshold"],
)
def call_threshold(
    context: dg.AssetExecutionContext,
    settings: SettingsResource,
    warehouse: WarehouseResource,
    language_model: LanguageModelResource,
) -> dg.MaterializeResult:
    """`call_threshold.json` in the model's directory: how likely ` [` has to be to open a call.

    One partition = one variant of the finetuned model. Decoding takes the value where
    `decoding.least_call_probability` is null. It is the one that best tells the places of kept
    calls from all others, on development texts; the control `plain` has none.
    """
    with expected_errors():
        loaded = settings.load(variant=context.partition_key)
        home, store, holder = settings.home(), warehouse.open(), language_model.holder()
        variant = loaded.training.variant
        directory = evaluated_model(name_of_variant(variant), loaded, home).directory

        def wanted() -> Wanted:
            return _wanted(store, loaded, directory)

        def is_stale() -> bool:
            return settings.force or wanted().fingerprint.difference(_stored(directory)) is not None

        def make() -> str:
            looked_at = wanted()
            chosen = _choose(context, store, home, loaded, directory, holder)
            context.log.info(chosen.told)
            looked_at.check_unchanged(wanted())
            stored = replace(chosen, made_from=looked_at.fingerprint.metadata())
            write_whole(directory / CALL_THRESHOLD_FILE, call_threshold_text(stored))
            write_model_card(directory, base_model_directory(loaded, home), loaded)
            return DONE

        state = make_once(
            # The model's own lock: nobody trains it anew meanwhile.
            home.output_lock(f"finetuned_model.{directory.name}"),
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
    return dg.MaterializeResult(metadata={"state": state, **_report(chosen)})


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


def _wanted(store: Warehouse, settings: Settings, directory: Path) -> Wanted:
    training_set = _training_set(store)
    documents = _documents(store)
    return Wanted(
        call_threshold_fingerprint(
            [each.fingerprint for each in training_set],
            settings,
            model_identity(directory),
            precision_of(settings),
            documents=fingerprints_of(documents),
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
) -> CallThreshold:
    k = settings.decoding.call_top_k
    if settings.training.variant == PLAIN:
        return CallThreshold(None, WITHOUT_CALLS, k, 0, 0)
    shards = sorted(_documents(store))
    texts = development_texts(store, shards, load_tokenizer(directory), settings)
    positions = [text.call_positions for text in texts]
    if why_too_few(positions):
        # The model is not loaded for nothing.
        return choose_call_threshold([ReadText((), each) for each in positions], call_top_k=k)
    model = holder.load(directory, settings, home)
    chances = call_chances(
        model,
        [text.window for text in texts],
        call_top_k=k,
        token_budget=settings.scoring.token_budget
        or choose_pack_tokens(model, window_tokens=settings.corpus.window_tokens),
        progress=progress_of(f"calibrating calls of {directory.name}", context.log),
    )
    read = [ReadText(*each) for each in zip(chances, positions, strict=True)]
    return choose_call_threshold(read, call_top_k=k)


def _report(chosen: CallThreshold) -> dict[str, object]:
    """What the asset shows; shares in words where one was chosen."""
    shown: dict[str, object] = {
        "call_top_k": chosen.call_top_k,
        "texts with calls": chosen.texts_with_calls,
        "texts without calls": chosen.texts_without_calls,
    }
    point = chosen.chosen
    if point is None:
        return {"least call probability": "none", "reason": chosen.reason or "", **shown}
    frame = pl.DataFrame(list(chosen.curve))
    plot = call_threshold_plot(
        frame,
        chosen=point.threshold,
        texts_with_calls=chosen.texts_with_calls,
        texts_without_calls=chosen.texts_without_calls,
    )
    return {
        "least call probability": point.threshold,
        "choice": chosen.told,
        **shown,
        "first call at a kept one": point.right,
        "first call elsewhere": point.elsewhere,
        "texts without calls that get one": point.without,
        "gain - loss": point.score,
        "calls by threshold": dg.MetadataValue.md(png_markdown(plot, "calls by threshold")),
    }
