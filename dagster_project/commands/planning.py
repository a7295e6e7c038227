"""`toolformer build --dry-run`: show what a build would do, why, and how long it would take."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from dagster_project.commands import console
from dagster_project.commands.options import RunOptions
from dagster_project.runs.forecast import Forecast, forecast_build
from dagster_project.runs.plan import chosen_shards
from toolformer.home.expected_errors import EXPECTED_ERRORS, explained
from toolformer.home.fingerprints import MISSING
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import open_warehouse
from toolformer.settings.settings_file import load_settings, settings_of_rounds
from toolformer.sources.manifest import Manifest


def show_plan(options: RunOptions, home: Home, shards: Sequence[str]) -> bool:
    """Print what a build of these shards would do; return whether it would do anything."""
    settings = load_settings(home.settings_file, overrides=options.overrides)
    forecast = forecast_build(
        settings, home, tools=options.tools, shards=shards, force=options.force
    )
    _show_preparation(forecast)
    for name, why in forecast.unavailable.items():
        console.say(f"{name} is left out: {why}")
    if forecast.unknown_tools:
        names = ", ".join(forecast.unknown_tools)
        console.say(f"Work for {names} can only be planned after the index is built.")
    if forecast.held_out and not shards:
        console.say(
            "Shards that are held out to measure perplexity, and therefore not annotated: "
            f"{forecast.held_out}."
        )
    if forecast.partitions:
        _show_partitions(forecast)
    elif forecast.is_prepared:
        console.say(f"{len(forecast.shards)} shards are up to date; a build would do nothing.")
    return forecast.does_anything


def report_outdated(options: RunOptions, home: Home, rounds: Iterable[int]) -> None:
    """Print which stored calls of these rounds, and which of their texts, a build would remake.

    Missing partitions are not reported, because a build of some shards or tools leaves them out on
    purpose. A chained round includes the rounds before it, whose calls are in its texts.
    """
    printed = set[str]()
    for number in rounds:
        try:
            for sentence in _outdated(options, home, number):
                if sentence not in printed:
                    console.say(sentence)
                printed.add(sentence)
        except EXPECTED_ERRORS as error:
            console.say(f"It is unknown whether the calls are up to date: {explained(error)}")


def _outdated(options: RunOptions, home: Home, number: int) -> Iterator[str]:
    own = options.overrides.get("sampling", {}).get("round")
    of_file = {each.sampling.round for each in settings_of_rounds(home.settings_file)}
    if number not in {own, *of_file}:
        # The settings of this round are unknown: neither the options nor the file list it.
        return
    # Overrides for another round do not apply to this one.
    changes = options if options.applies_to_all_rounds or own in (None, number) else RunOptions()
    settings = changes.in_round(number).load_settings(home)
    if settings.sampling.is_chained:
        yield from _outdated(options, home, number - 1)
    warehouse, shards = open_warehouse(home).skipping_damage(), list[str]()
    tools, sources = set[str](), set[str]()
    manifest = Manifest.load(home.sources)
    for entry in manifest.annotated_shards:
        if warehouse.partition_names("augmented_texts", entry.key, round_number=number):
            shards.append(entry.key)
            sources.add(entry.source)
            tools.update(
                warehouse.partition_names("filtered_calls", entry.key, round_number=number)
            )
    if not shards:
        return
    beyond = set(shards).difference(each.key for each in chosen_shards(manifest, (), settings))
    if beyond:
        yield (
            f"{len(beyond)} shards beyond sampling.shards have texts of round {number} from an "
            "earlier build. Training and exports use these texts too."
        )
    if settings.is_annotated_by_server:
        # Only the server knows its model, and it may be off during training or export.
        return
    named = sorted(tools.intersection(settings.tools.enabled_names))
    forecast = forecast_build(settings, home, tools=named, shards=shards)
    older = [each for each in forecast.partitions if each.reason != MISSING]
    counts = Counter(each.table for each in older)
    outputs = [f"{count} partitions of {table}" for table, count in counts.items()]
    outputs += [f"the texts of {source.path}" for source in forecast.cut if source.name in sources]
    if not outputs:
        return
    why = f" ({older[0].reason})" if older else ""
    of_round = f" --set sampling.round={number}" if number > 1 else ""
    given = {**changes.overrides.get("sampling", {}), **changes.overrides}.keys()
    is_set = given - {"round", "sampling", "training", "evaluation"}
    same = " with the same --set" if is_set else ""
    outdated = dict.fromkeys(each.shard for each in older)
    of_shards = f" --shards {','.join(outdated)}" if beyond.intersection(outdated) else ""
    yield (
        f"Out of date: {', '.join(outputs)}{why}. `toolformer build{of_round}{of_shards}`{same} "
        "brings them up to date."
    )


def _show_preparation(forecast: Forecast) -> None:
    if forecast.cut:
        console.say("These sources would be cut into shards first:")
        for source in forecast.cut:
            console.say(f"  {source.path}, records per shard: {source.shard_size}")
        console.say(
            "The plan covers only existing shards. `toolformer ingest` cuts a new source into "
            "shards without building them."
        )
    for path, why in forecast.unusable.items():
        console.say(f"The source {path} cannot be used: {why}")
    for index in forecast.indexes:
        if index.can_be_built:
            console.say(f"The {index.name} is {index.reason} and would be built first.")
    if not forecast.is_converted:
        console.say(
            "The embedded model would be converted first, in 10 to 20 s."
            if forecast.partitions
            else "The embedded model would be converted first, in 10 to 20 s. Work that needs it "
            "can only be planned after that."
        )


def _show_partitions(forecast: Forecast) -> None:
    import polars as pl

    rows = pl.DataFrame(forecast.partitions, schema_overrides={"seconds": pl.Float64})
    is_measured = pl.col("seconds").is_not_null().all()
    summary = rows.group_by("table", "partition_name", "reason", maintain_order=True).agg(
        pl.len().alias("shards"),
        pl.col("tokens").sum().alias("expected tokens"),
        pl.when(is_measured)
        .then(pl.col("seconds").sum().round())
        .cast(int)
        .alias("expected seconds"),
    )
    console.frame(summary.rename({"table": "stage", "partition_name": "tool", "reason": "why"}))
    expected = f"about {rows['tokens'].sum():,} tokens"
    if not rows["seconds"].has_nulls():
        expected += f" and {rows['seconds'].sum() / 60:.1f} minutes"
    console.say(
        f"{rows.height} partitions of {rows['shard'].n_unique()} shards, {expected}. The actual "
        "cost may be half or twice as much."
    )
