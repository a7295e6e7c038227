"""`toolformer build`: prepare the home, plan the work, and run the stages of the shards."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import dagster as dg
import typer

from assets.corpus import configured_sources
from assets.dataset.stages import PIPELINE
from assets.documents import MissingTextsError, stored_texts
from assets.training.finetuned_model import is_finetuned
from assets.training.min_call_probability import is_calibrated
from dagster_project.commands import console
from dagster_project.commands.options import Changes, Force, RunOptions, ToolNames, names_in
from dagster_project.commands.planning import report_outdated, show_plan
from dagster_project.commands.sources import report_source_problems
from dagster_project.commands.stats import show_statistics
from dagster_project.commands.train import train_model
from dagster_project.runs.forecast import indexes_of, planned_indexes
from dagster_project.runs.plan import BuildPlan, PlannedPartition, chosen_shards
from dagster_project.runs.planned_run import PlannedRun, execute_runs, raise_failures
from dagster_project.runs.run_job import dagster_instance, rejected_sources, run_job
from toolformer.errors import ToolformerError
from toolformer.home.expected_errors import RunFailedError
from toolformer.home.home import Home
from toolformer.home.partitions import are_shards_registered
from toolformer.home.report.records import records_read
from toolformer.home.wiring.models import Annotator, check_can_annotate, finetuned_model_directory
from toolformer.home.wiring.toolbox import PASSAGE_INDEX, SEARCHING_TOOLS, open_toolbox
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.errors import SettingsError
from toolformer.settings.sections import Settings
from toolformer.settings.settings_file import load_settings, settings_of_rounds
from toolformer.sources.ingestion import stale_sources
from toolformer.sources.manifest import Manifest
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

app = typer.Typer()


@app.command()
def build(
    shards: Annotated[
        str | None,
        typer.Option(
            metavar="a,b,0:64",
            help="Only these shards: keys or ranges of numbers; 0:64 means all below 64.",
        ),
    ] = None,
    tools: ToolNames = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Build and train rounds 1 to N of `rounds` in toolformer.yaml, one after the "
            "other.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be made, why, and its cost.")
    ] = False,
    force: Force = False,
    changes: Changes = None,
) -> None:
    """Sample, execute and filter calls, then merge the kept calls into the texts."""
    options = RunOptions.of(changes, force=force, tools=names_in(tools))
    chosen = names_in(shards)
    if rounds and chosen:
        raise typer.BadParameter("--rounds builds all shards. Leave --shards out.")
    if rounds:
        run_rounds(options, until=rounds, dry_run=dry_run)
    elif dry_run:
        show_plan(options, Home.find(), chosen)
    else:
        build_dataset(options, chosen)


def prepare(
    options: RunOptions, home: Home, settings: Settings, instance: dg.DagsterInstance
) -> dict[str, str]:
    """Cut the corpus and build the indexes, unless both are up to date.

    Returns the unusable sources that have no shards, each path with the reason.
    """

    def run(*assets: str) -> None:
        # `--force` applies to the stages. An index is only rebuilt if it is stale.
        resources = replace(options, force=False).resources()
        run_job(instance, "prepare", resources=resources, assets=assets)

    rejected: Mapping[str, str] = {}
    if not _is_cut(home, settings, instance):
        run("corpus_manifest")
        rejected = rejected_sources(instance)
    unusable = report_source_problems(home, settings, rejected)
    stale = planned_indexes(options.tools, settings, home)
    for planned in stale:
        console.say(f"Building the {planned.name} first; this is done once.")
    assets = {planned.asset for planned in stale}
    if indexes := indexes_of(options.tools, settings):
        # Materialise indexes that Dagster does not know, even if they exist or no tool needs them;
        # otherwise the UI would show them as missing.
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
    """Return whether every source can be used and is cut into registered shards."""
    # Stored texts can be listed before the warehouse is ready for queries.
    stored = stored_texts(Warehouse(home.warehouse, home.database))
    cut, rejected = stale_sources(home.sources, configured_sources(settings, home), stored)
    manifest = Manifest.load(home.sources)
    is_whole = bool(manifest.active_shards) and not cut and not rejected
    return is_whole and are_shards_registered(instance, manifest)


def build_dataset(options: RunOptions, shards: Sequence[str] = ()) -> None:
    """Prepare the home and run the stages of the named shards, or of all.

    A failed shard, missing texts and unusable sources raise only after everything else is built.
    """
    home = Home.find()
    work = options.workspace(home)
    settings = work.settings
    sampling = settings.sampling
    report_outdated(options, home, [sampling.round - 1] if sampling.is_chained else [])
    # Tools that search may need an index that `prepare` builds.
    named = [name for name in options.tools if name not in SEARCHING_TOOLS]
    toolbox = open_toolbox(work, named=named if options.tools else None)
    with dagster_instance(home) as instance:
        stale = planned_indexes(options.tools, settings, home)
        unusable = prepare(options, home, settings, instance)
        if stale or len(named) < len(options.tools):
            toolbox = open_toolbox(work, named=options.tools or None)
        for sentence in toolbox.left_out:
            console.say(sentence)
        chosen = chosen_shards(Manifest.load(home.sources), shards, settings)
        annotator = Annotator.of(work)
        # A damaged shard must not stop the others.
        warehouse = work.warehouse.skipping_damage()
        if shards:
            warehouse = warehouse.limited_to([entry.key for entry in chosen])
        planning = BuildPlan(
            warehouse,
            settings,
            toolbox,
            annotator=annotator.identity,
            force=options.force,
            plans_missing_texts=False,
        )
        plan = planning.of(chosen)
        if any(partition.table == "candidate_calls" for partition in plan):
            check_can_annotate(annotator.location, toolbox.prompts, settings)
        if plan:
            warehouse.sweep({ALL, *(partition.shard for partition in plan)})
            runs = _runs(plan, home)
            with console.progress_bars():
                raise_failures(execute_runs(instance, options.resources(), runs))
    tally = records_read(warehouse)
    if plan:
        with warehouse.with_counts() as counted:
            show_statistics(counted, tally, examples=False, is_of_all=not shards)
    else:
        console.say(f"{len(chosen)} shards are up to date; nothing to do.")
    if tally.records and not tally.usable:
        raise ToolformerError(
            f"No record of the corpus is usable: of {tally.records}, {tally.reasons}. Expected at "
            "least one text. Correct the files or the options for reading them (corpus.sources in "
            "toolformer.yaml), then build again."
        )
    if planning.shards_without_texts:
        raise MissingTextsError(planning.shards_without_texts)
    if unusable:
        raise ToolformerError(
            "Everything else is built, but these sources cannot be used and have no shards: "
            f"{', '.join(unusable)}. The reasons are printed above. Correct the sources, or remove "
            "them with `toolformer sources remove`."
        )


def _runs(plan: Sequence[PlannedPartition], home: Home) -> list[PlannedRun]:
    """Group the shards into one run per set of stages that have something to make or clean up."""
    planned = defaultdict[str, set[str]](set)
    for partition in plan:
        planned[partition.shard].add(partition.table)
    shards = defaultdict[tuple[str, ...], list[str]](list)
    for shard, tables in sorted(planned.items()):
        # A kill between publishing an output and removing its checkpoint leaves the checkpoint.
        leftover = (
            name for name in PIPELINE.names if any((home.checkpoints / name / shard).glob("*"))
        )
        tables.update(leftover)
        shards[tuple(name for name in PIPELINE.names if name in tables)].append(shard)
    return [PlannedRun("build_dataset", names, tuple(keys)) for names, keys in shards.items()]


def run_rounds(options: RunOptions, *, until: int, dry_run: bool) -> None:
    """Build and train round after round, skipping work that is up to date."""
    home = Home.find()
    rounds = _rounds_until(options, home, until)
    for number, settings in enumerate(rounds, start=1):
        console.heading(f"Round {number} of {until}")
        in_round, is_last = options.in_round(number), number == until
        work = Workspace(settings, home)
        if dry_run:
            if show_plan(in_round, home, ()) or not _is_done(work, is_last=is_last):
                console.say(
                    "Its model would be trained or calibrated. Later rounds can only be planned "
                    "after that."
                )
                return
            console.say("Its model is up to date.")
            continue
        try:
            build_dataset(in_round)
            if _is_done(work, is_last=is_last) and not options.force:
                console.say(f"Its model is up to date: {finetuned_model_directory(work)}")
            else:
                train_model(in_round, is_calibrated=is_last)
        except (RunFailedError, ToolformerError) as error:
            raise RunFailedError(
                f"Round {number} of {until}: {error}\nAdd `--set sampling.round={number}` to run "
                "commands for this round only. Run the same command again to continue from here."
            ) from error
    if not dry_run:
        console.say("All rounds are built. `toolformer stats` shows which calls each round keeps.")


def _is_done(work: Workspace, *, is_last: bool) -> bool:
    """Return whether the model is up to date. A model that only annotates needs no calibration."""
    if not is_finetuned(work):
        return False
    return not is_last or is_calibrated(finetuned_model_directory(work), work.settings)


def _rounds_until(options: RunOptions, home: Home, until: int) -> list[Settings]:
    """Return the settings of each round, and check that each round trains its own model."""
    file = home.settings_file
    # Raises if the options name a round that the file does not list. `RunOptions.load_settings`
    # would write a missing file, but a dry run must not write.
    load_settings(file, overrides=options.overrides)
    rounds = settings_of_rounds(file, overrides=options.in_round(1).overrides)
    if until > len(rounds):
        raise SettingsError(
            f"--rounds {until} is beyond round {len(rounds)}, the last one in {file}. Add an entry "
            "to `rounds` there for each further round; an empty entry, {}, only changes the "
            "annotator."
        )
    for number, settings in enumerate(rounds[:until], start=1):
        if settings.training_rounds[0] != number:
            raise SettingsError(
                f"{file}, round {number}: training.rounds is {list(settings.training_rounds)}, so "
                f"no model of round {number} would be trained. Expected {number} and no later "
                "round. Correct training.rounds in the entry of the round, or remove it."
            )
    return rounds[:until]
