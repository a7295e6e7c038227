"""`toolformer build --dry-run`: what a build would do, why, and for how long.

Changes nothing: writes no settings, cuts no source, converts no model, builds no index.
"""

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from assets.calibration import is_calibrated
from assets.corpus import configured_sources
from assets.filtering import scoring_parameters
from dagster_project.commands import console
from dagster_project.commands.options import RunOptions
from dagster_project.home import Home
from dagster_project.runs.plan import BuildPlan, PlannedSlice, planned_calibration
from dagster_project.settings.sections import Settings
from dagster_project.settings.settings_file import load_settings
from dagster_project.wiring.annotator import Annotator
from dagster_project.wiring.model_holder import precision_of
from dagster_project.wiring.retriever import needs_passage_index
from dagster_project.wiring.toolbox import open_toolbox
from toolformer.forward.embedded_model import embedded_model_directory
from toolformer.sources.errors import SourceError
from toolformer.sources.files import list_files
from toolformer.sources.manifest import Manifest, ShardEntry
from tools.retrieval.dense_index import dense_index_information
from tools.retrieval.wikipedia_index import index_information
from warehouse.warehouse import Warehouse

# Their indexes are made by `prepare`.
SEARCHING_TOOLS = ("WikiSearch", "QA")
_MOST_FILES_NAMED = 5


def show_plan(options: RunOptions, home: Home, shards: Sequence[str]) -> bool:
    """Say what a build of these shards would do; of a home without shards, what comes first.

    Returns:
        Whether it would do anything.
    """
    settings = load_settings(home.settings_file, overrides=options.overrides, preset=options.preset)
    manifest = Manifest.load(home.sources)
    missing = unbuilt(indexes_of(options, settings), home)
    awaited = [
        name
        for name in _searching(options, settings)
        # QA searches both indexes.
        if "Wikipedia index" in missing or (missing and name == "QA")
    ]
    named = [name for name in options.tools if name not in awaited]
    open_toolbox(settings, home, named=named)
    if not manifest.active_shards:
        _show_sources(settings)
    for name in missing:
        console.say(f"The {name} would be built first.")
    is_converted = _is_converted(settings, home)
    if not is_converted:
        console.say("The embedded model would be converted first, in 10 to 20 s.")
    if not manifest.active_shards:
        return True
    toolbox = open_toolbox(settings, home, named=named)
    if options.tools and not named:
        # None was named for the toolbox to open, which is not all.
        toolbox = replace(toolbox, tools={}, prompts={}, unavailable={})
    for name, why in toolbox.unavailable.items():
        if name not in awaited:
            console.say(f"{name} is left out: {why}")
    chosen = chosen_shards(manifest, shards, settings)
    with tempfile.TemporaryDirectory() as scratch:
        # To ask a warehouse makes its folders.
        folder = home.warehouse if home.warehouse.is_dir() else Path(scratch) / "warehouse"
        warehouse = Warehouse(folder, home.database)
        # The one thing that is changed, by renaming: without it an older home looks empty.
        warehouse.adopt_slices()
        # Of a model that is still to be converted, nothing can be told yet.
        model = Annotator.of(settings, home).identity if is_converted else ""
        plan = BuildPlan(
            warehouse,
            settings,
            toolbox,
            model=model,
            precision=precision_of(settings),
            force=options.force,
            awaited=awaited,
        ).of(chosen.annotated, texts_of=chosen.held_out)
    if _needs_calibration(plan, settings, home, model):
        plan.insert(0, planned_calibration(settings, model))
    _show_slices(plan, chosen.annotated)
    return bool(plan or missing)


def _searching(options: RunOptions, settings: Settings) -> list[str]:
    """The tools of a run that search an index."""
    return [
        name
        for name in SEARCHING_TOOLS
        if (name in options.tools if options.tools else settings.tools.of(name).is_enabled)
    ]


def _needs_calibration(
    plan: Sequence[PlannedSlice], settings: Settings, home: Home, model: str
) -> bool:
    """Whether calls are decided on in bfloat16 by a model whose band nobody measured."""
    decides = any(planned.table == "filtered_calls" for planned in plan)
    if not decides or not scoring_parameters(settings).is_rescored:
        return False
    return not model or not is_calibrated(settings, home, model)


@dataclass(frozen=True, slots=True)
class ChosenShards:
    """The shards of a build.

    Attributes:
        annotated: all stages run for these.
        held_out: only their texts are made, since no text that is trained on may share words with
            them; none where they are annotated too.
    """

    annotated: list[ShardEntry]
    held_out: list[ShardEntry]


def chosen_shards(manifest: Manifest, shards: Sequence[str], settings: Settings) -> ChosenShards:
    """The active shards that were named, or else all, of which `sampling.shards` may leave few.

    These few are the first of every source, as many of each as of the others.
    """
    active, most = manifest.active_shards, settings.sampling.shards
    if shards:
        return ChosenShards([manifest.entry(key) for key in shards], [])
    if most is None:
        return ChosenShards(active, [])
    taken: Counter[str] = Counter()
    places: dict[str, int] = {}
    for entry in active:
        if not entry.is_held_out:
            places[entry.key] = taken[entry.source]
            taken[entry.source] += 1
    first = set(sorted(places, key=places.__getitem__)[:most])
    return ChosenShards(
        [entry for entry in active if entry.key in first],
        [entry for entry in active if entry.is_held_out],
    )


def indexes_of(options: RunOptions, settings: Settings) -> dict[str, str]:
    """The indexes that the tools of a run search: asset, and what a person calls it."""
    searching = _searching(options, settings)
    indexes = {"wikipedia_index": "Wikipedia index"} if searching else {}
    if "QA" in searching and needs_passage_index(settings):
        indexes["passage_index"] = "passage index"
    return indexes


def unbuilt(indexes: Mapping[str, str], home: Home) -> list[str]:
    """Those of the indexes that are not there."""
    information = {
        "wikipedia_index": partial(index_information, home.wikipedia_index),
        "passage_index": partial(dense_index_information, home.passage_index),
    }
    return [name for asset, name in indexes.items() if information[asset]() is None]


def _is_converted(settings: Settings, home: Home) -> bool:
    if settings.language_model.path != "embedded":
        return True
    return (embedded_model_directory(home.models) / "model.safetensors").exists()


def _show_sources(settings: Settings) -> None:
    console.say("No shards yet. These sources would be cut first:")
    for source in configured_sources(settings):
        try:
            files = [file.name for file in list_files(source)]
        except SourceError as error:
            console.say(f"  {source.path}: {error}")
            continue
        more = len(files) - _MOST_FILES_NAMED
        shown = ", ".join(files[:_MOST_FILES_NAMED]) + (f" and {more} more" if more > 0 else "")
        console.say(f"  {source.path}, records per shard: {source.shard_size}; {shown}")


def _show_slices(plan: Sequence[PlannedSlice], entries: Sequence[ShardEntry]) -> None:
    import polars as pl

    if not plan:
        console.say(f"{len(entries)} shards are up to date; a build would do nothing.")
        return
    rows = pl.DataFrame(
        [
            {
                "stage": planned.table,
                "tool": planned.slice_name,
                "why": planned.reason,
                "shard": planned.shard,
                "tokens": planned.tokens,
                "seconds": planned.seconds,
            }
            for planned in plan
        ]
    )
    slices = [planned for planned in plan if planned.shard]
    summary = rows.group_by("stage", "tool", "why", maintain_order=True).agg(
        pl.len().alias("shards"),
        pl.col("tokens").sum().alias("expected tokens"),
        (pl.col("seconds").sum() / 60).round(1).alias("expected minutes"),
    )
    console.frame(summary)
    console.say(
        f"{len(slices)} slices of {len({planned.shard for planned in slices})} shards, about "
        f"{rows['tokens'].sum():,} tokens and {rows['seconds'].sum() / 60:.1f} minutes."
    )
