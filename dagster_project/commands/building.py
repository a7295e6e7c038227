"""`toolformer build`: prepare the home, plan, and run the stages of the shards.

Does not parse the command line.
"""

from collections.abc import Sequence
from typing import Any

from dagster_project.commands import console
from dagster_project.commands.options import RunOptions, open_warehouse
from dagster_project.commands.reporting import show_statistics
from dagster_project.home import Home
from dagster_project.runs.plan import BuildPlan, PlannedSlice
from dagster_project.runs.run_job import (
    RunFailedError,
    dagster_instance,
    neighbouring,
    run_job,
)
from dagster_project.settings.sections import Settings
from dagster_project.wiring.annotator import Annotator
from dagster_project.wiring.model_holder import precision_of
from dagster_project.wiring.retriever import needs_passage_index
from dagster_project.wiring.toolbox import open_toolbox
from toolformer.sources.manifest import Manifest, ShardEntry
from tools.retrieval.dense_index import dense_index_information
from tools.retrieval.wikipedia_index import index_information

# Their indexes are made by `prepare`.
SEARCHING_TOOLS = ("WikiSearch", "QA")


def prepare(options: RunOptions, home: Home, settings: Settings) -> None:
    """Cut the corpus and build the indexes where that was not done or the settings changed."""
    assets = ["corpus_manifest"]
    searching = [
        name
        for name in SEARCHING_TOOLS
        if (name in options.tools if options.tools else settings.tools.of(name).is_enabled)
    ]
    if searching:
        assets.append("wikipedia_index")
        if index_information(home.wikipedia_index) is None:
            console.say("Building the Wikipedia index first; this is done once.")
    if "QA" in searching and needs_passage_index(settings):
        assets.append("passage_index")
        if dense_index_information(home.passage_index) is None:
            console.say("Building the passage index first; this is done once.")
    with dagster_instance(home) as instance:
        try:
            run_job(
                instance,
                "prepare",
                # Forcing a build means its stages; the index is only made anew when it is stale.
                resources={**options.resources(), "settings": _unforced(options)},
                assets=assets,
            )
        except RunFailedError:
            # Without an index the other tools can still be sampled, and those that search say why
            # they cannot be.
            if (
                any(name in options.tools for name in SEARCHING_TOOLS)
                or not Manifest.load(home.sources).active_shards
            ):
                raise


def _unforced(options: RunOptions) -> dict[str, Any]:
    return {**options.resources()["settings"], "force": False}


def build_dataset(options: RunOptions, *, shards: Sequence[str], dry_run: bool) -> None:
    """Run the stages of the shards, or say what they would do.

    Raises:
        RunFailedError: shards failed; the others are finished all the same.
    """
    home = Home.find()
    settings = options.load_settings(home)
    open_toolbox(
        settings, home, named=[name for name in options.tools if name not in SEARCHING_TOOLS]
    )
    if not (dry_run and Manifest.load(home.sources).active_shards):
        prepare(options, home, settings)
    toolbox = open_toolbox(settings, home, named=options.tools)
    for name, why in toolbox.unavailable.items():
        console.say(f"{name} is left out: {why}")
    entries = _chosen_shards(Manifest.load(home.sources), shards)
    annotator = Annotator.of(settings, home)
    plan = BuildPlan(
        open_warehouse(home),
        settings,
        toolbox,
        model=annotator.identity,
        precision=precision_of(settings),
        force=options.force,
    ).of(entries)
    if dry_run:
        _show_plan(plan, entries)
        return
    if not plan:
        console.say(f"{len(entries)} shards are up to date; nothing to do.")
        return
    todo = sorted({planned.shard for planned in plan})
    failures: list[RunFailedError] = []
    with dagster_instance(home) as instance, console.progress_bars():
        pending = neighbouring(instance, todo)
        while pending:
            group = pending.pop(0)
            try:
                run_job(instance, "build_dataset", resources=options.resources(), shards=group)
            except RunFailedError as error:
                failures.append(error)
                rest = [shard for shard in group if shard not in error.failed_shards]
                if error.failed_shards and rest:
                    # A failed stage ends its run; the other shards go on in runs of their own.
                    pending += neighbouring(instance, rest)
    if failures:
        raise RunFailedError("\n".join(str(failure) for failure in failures))
    show_statistics(examples=False)


def _chosen_shards(manifest: Manifest, shards: Sequence[str]) -> list[ShardEntry]:
    if not shards:
        return manifest.active_shards
    return [manifest.entry(key) for key in shards]


def _show_plan(plan: Sequence[PlannedSlice], entries: Sequence[ShardEntry]) -> None:
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
    summary = rows.group_by("stage", "tool", "why", maintain_order=True).agg(
        pl.len().alias("shards"),
        pl.col("tokens").sum().alias("expected tokens"),
        (pl.col("seconds").sum() / 60).round(1).alias("expected minutes"),
    )
    console.frame(summary)
    console.say(
        f"{len(plan)} slices of {len({planned.shard for planned in plan})} shards, about "
        f"{rows['tokens'].sum():,} tokens and {rows['seconds'].sum() / 60:.1f} minutes."
    )
