"""`toolformer build`: prepare the home, plan, and run the stages of the shards."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import dagster as dg

from assets.corpus import configured_sources
from assets.dataset.stages import PIPELINE
from assets.documents import MissingTextsError, stored_texts
from dagster_project.commands import console
from dagster_project.commands.options import RunOptions
from dagster_project.commands.planning import show_plan, tell_outdated
from dagster_project.commands.reporting import show_statistics
from dagster_project.commands.sources import tell_about_sources
from dagster_project.runs.forecast import indexes_of, planned_indexes
from dagster_project.runs.plan import BuildPlan, PlannedPartition, chosen_shards
from dagster_project.runs.planned_run import PlannedRun, raise_all, run_all
from dagster_project.runs.run_job import dagster_instance, rejected_sources, run_job
from toolformer.errors import ToolformerError
from toolformer.home.expected_errors import RunFailedError
from toolformer.home.home import Home
from toolformer.home.partitions import are_shards_registered
from toolformer.home.report.records import records_read
from toolformer.home.wiring.models import Annotator, check_can_annotate
from toolformer.home.wiring.retriever import PASSAGE_INDEX, SEARCHING_TOOLS
from toolformer.home.wiring.toolbox import Toolbox, open_toolbox
from toolformer.settings.sections import Settings
from toolformer.sources.ingestion import stale_sources
from toolformer.sources.manifest import Manifest
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse


def prepare(
    options: RunOptions, home: Home, settings: Settings, instance: dg.DagsterInstance
) -> dict[str, str]:
    """Cut the corpus and build the indexes where that was not done or the settings changed.

    What goes wrong is told: a source that cannot be used, and an index that cannot be built while
    no tool that searches was named (it is left out then).

    Returns:
        Sources that cannot be used and have no shards, by path, with the reason.

    Raises:
        RunFailedError: there is no corpus, or a named tool has no index.
    """

    def run(*assets: str) -> None:
        # Forcing a build means its stages; the index is only made anew when it is stale.
        resources = replace(options, force=False).resources()
        run_job(instance, "prepare", resources=resources, assets=assets)

    rejected: Mapping[str, str] = {}
    if not _is_cut(home, settings, instance):
        run("corpus_manifest")
        rejected = rejected_sources(instance)
    unusable = tell_about_sources(home, settings, rejected)
    stale = planned_indexes(options.tools, settings, home)
    for planned in stale:
        console.say(f"Building the {planned.name} first; this is done once.")
    assets = {planned.asset for planned in stale}
    if indexes := indexes_of(options.tools, settings):
        # Else the UI shows as missing what is there, or what nothing needs.
        made = instance.get_latest_materialization_event
        assets |= {asset for asset in (*indexes, PASSAGE_INDEX) if not made(dg.AssetKey(asset))}
    try:
        if assets:
            run(*sorted(assets))
    except RunFailedError as error:
        if any(name in options.tools for name in SEARCHING_TOOLS):
            raise
        console.say(f"Search tools without an index are left out: {error}")
    return unusable


def _is_cut(home: Home, settings: Settings, instance: dg.DagsterInstance) -> bool:
    """Whether the shards and their partitions are those of the sources, and all can be used."""
    # Which texts there are can be seen before it is ready for readers.
    stored = stored_texts(Warehouse(home.warehouse, home.database))
    cut, rejected = stale_sources(home.sources, configured_sources(settings, home), stored)
    manifest = Manifest.load(home.sources)
    is_whole = bool(manifest.active_shards) and not cut and not rejected
    return is_whole and are_shards_registered(instance, manifest)


def build_dataset(options: RunOptions, *, shards: Sequence[str], dry_run: bool) -> None:
    """Run the stages of the shards, or say what they would do.

    Args:
        shards: only these keys and ranges of numbers; none for all.

    Raises:
        RunFailedError: shards failed; the others are finished all the same.
        MissingTextsError: texts of shards are gone, and their sources cannot be cut again; the
            others are built.
        ToolformerError: no record is usable; or a source cannot be used and has no shards, while
            the others are built.
    """
    home = Home.find()
    if dry_run:
        show_plan(options, home, shards)
        return
    work = options.workspace(home)
    settings = work.settings
    sampling = settings.sampling
    tell_outdated(options, home, [sampling.round - 1] if sampling.is_chained else [])
    # Those that search may need an index that `prepare` builds.
    named = [name for name in options.tools if name not in SEARCHING_TOOLS]
    toolbox = open_toolbox(work, named=named if options.tools else None)
    with dagster_instance(home) as instance:
        stale = planned_indexes(options.tools, settings, home)
        unusable = prepare(options, home, settings, instance)
        if stale or len(named) < len(options.tools):
            toolbox = open_toolbox(work, named=options.tools or None)
        _tell_left_out(toolbox)
        chosen = chosen_shards(Manifest.load(home.sources), shards, settings)
        annotator = Annotator.of(work)
        # A damaged shard stops no other.
        warehouse = work.warehouse.skipping_damage()
        if shards:
            warehouse = warehouse.limited_to([entry.key for entry in chosen])
        planning = BuildPlan(
            warehouse,
            settings,
            toolbox,
            annotator=annotator.identity,
            force=options.force,
            are_texts_coming=False,
        )
        plan = planning.of(chosen)
        if any(partition.table == "candidate_calls" for partition in plan):
            check_can_annotate(annotator.location, toolbox.prompts, settings, is_here=True)
        if plan:
            warehouse.sweep({ALL, *(partition.shard for partition in plan)})
            # For each shard the stages from the first on that has something to make.
            runs = _runs(plan, home)
            with console.progress_bars():
                raise_all(run_all(instance, options.resources(), runs))
    tally = records_read(warehouse)
    if plan:
        with warehouse.with_counts() as counted:
            show_statistics(counted, tally, examples=False, is_of_all=not shards)
    else:
        console.say(f"{len(chosen)} shards are up to date; nothing to do.")
    if tally.records and not tally.usable:
        raise ToolformerError(
            f"No record of the corpus is usable: of {tally.records}, {tally.reasons}. Expected at "
            "least one text. Correct the files, or how they are read (corpus.sources in "
            "toolformer.yaml), and build again."
        )
    if planning.without_texts:
        raise MissingTextsError(planning.without_texts)
    if unusable:
        raise ToolformerError(
            "Everything else is built, but these sources cannot be used and have no shards: "
            f"{', '.join(unusable)}. The reasons are above. Correct them, or take them out with "
            "`toolformer sources remove`."
        )


def _tell_left_out(toolbox: Toolbox) -> None:
    for sentence in toolbox.left_out:
        console.say(sentence)


def _runs(plan: Sequence[PlannedPartition], home: Home) -> list[PlannedRun]:
    """One planned run for all shards that have something to make in the same stages.

    Or to remove: where a kill came between an output and the end of its checkpoint.
    """
    planned = defaultdict[str, set[str]](set)
    for partition in plan:
        planned[partition.shard].add(partition.table)
    shards = defaultdict[tuple[str, ...], list[str]](list)
    for shard, tables in sorted(planned.items()):
        left = (name for name in PIPELINE.names if any((home.checkpoints / name / shard).glob("*")))
        tables.update(left)
        shards[tuple(name for name in PIPELINE.names if name in tables)].append(shard)
    return [PlannedRun("build_dataset", names, tuple(keys)) for names, keys in shards.items()]
