"""`toolformer build --dry-run`: what a build would do, why, and for how long.

Does not plan; `dagster_project.runs.forecast` does.
"""

from collections.abc import Sequence

from dagster_project.commands import console
from dagster_project.commands.findings import named
from dagster_project.commands.options import RunOptions
from dagster_project.home import Home
from dagster_project.runs.forecast import Forecast, Preparation, forecast_build
from dagster_project.settings.settings_file import load_settings
from toolformer.sources.errors import SourceError
from toolformer.sources.files import list_files
from toolformer.sources.source import Source


def show_plan(options: RunOptions, home: Home, shards: Sequence[str]) -> bool:
    """Say what a build of these shards would do, and what it would prepare first.

    Returns:
        Whether it would do anything.
    """
    settings = load_settings(home.settings_file, overrides=options.overrides, preset=options.preset)
    forecast = forecast_build(
        settings, home, tools=options.tools, shards=shards, force=options.force
    )
    _show_preparation(forecast.preparation)
    for name, why in (forecast.unavailable or {}).items():
        console.say(f"{name} is left out: {why}")
    if forecast.unknown_tools:
        names = ", ".join(forecast.unknown_tools)
        console.say(f"What a build does with {names} is planned once the index is there.")
    _show_slices(forecast)
    return forecast.does_anything


def _show_preparation(preparation: Preparation) -> None:
    if preparation.cut:
        console.say("These sources would be cut into shards first:")
        for source in preparation.cut:
            _show_source(source)
        console.say("The plan below is for the shards that are there now.")
    for path, why in preparation.unusable.items():
        console.say(f"The source {path} cannot be used: {why}")
    for index in preparation.indexes:
        if index.can_be_built:
            console.say(f"The {index.name} is {index.reason} and would be built first.")
    if not preparation.is_converted:
        console.say(
            "The embedded model would be converted first, in 10 to 20 s. What is made with it is "
            "planned once it is there."
        )


def _show_source(source: Source) -> None:
    try:
        files = [file.name for file in list_files(source)]
    except SourceError as error:
        console.say(f"  {source.path}: {error}")
        return
    console.say(f"  {source.path}, records per shard: {source.shard_size}; {named(files)}")


def _show_slices(forecast: Forecast) -> None:
    import polars as pl

    slices = forecast.slices
    if not slices:
        if not forecast.preparation.does_anything:
            count = len(forecast.shards)
            console.say(f"{count} shards are up to date; a build would do nothing.")
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
            for planned in slices
        ]
    )
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
