"""`toolformer ingest`: list sources and cut them into shards.

Does not parse the command line.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from assets.source_list import add_sources, remove_sources
from dagster_project.commands import console
from dagster_project.commands.options import RunOptions
from dagster_project.commands.reporting import records_read
from dagster_project.commands.sources import retire_shards_of, tell_about_sources
from dagster_project.home import Home
from dagster_project.runs.run_job import (
    dagster_instance,
    rejected_sources,
    run_job,
)
from dagster_project.settings.sections import Settings, SourceSettings, validated
from dagster_project.settings.settings_file import load_settings
from dagster_project.settings.source_file import absolute_source
from dagster_project.wiring.warehouse import open_warehouse
from toolformer.errors import ToolformerError
from toolformer.sources.manifest import Manifest, ShardEntry
from toolformer.sources.reasons import Tally
from toolformer.sources.source import normalised_path
from warehouse.warehouse import Warehouse


def ingest_sources(paths: Sequence[str], given: Mapping[str, Any]) -> None:
    """List sources in `sources.yaml` and cut them into shards.

    The embedded corpus is only the default: the first source that is added takes its place, unless
    shards of it have been cut already, in which case it is listed beside the new one.
    """
    with Home.find().corpus_lock():
        _ingest(Home.find(), paths, given)


def _ingest(home: Home, paths: Sequence[str], given: Mapping[str, Any]) -> None:
    options = RunOptions()
    settings = options.load_settings(home)
    manifest = Manifest.load(home.sources)
    new = _new_sources(settings, paths, given)
    listed = add_sources(home, settings, new)
    try:
        _check_sources(load_settings(home.settings_file), [source.path for source in new])
        with dagster_instance(home) as instance:
            run_job(instance, "prepare", resources=options.resources(), assets=["corpus_manifest"])
            rejected = rejected_sources(instance)
    except BaseException:
        # A source that cannot be used must not stay listed and fail every later run.
        remove_sources(home, [normalised_path(source.path) for source in listed])
        raise
    tallies = _tallies(home, manifest, new)
    refused = {
        source.path: why for source in new if (why := _why_refused(source.path, rejected, tallies))
    }
    if refused:
        remove_sources(home, [normalised_path(path) for path in refused])
        _retire_unusable(home, refused, tallies)
    _report(manifest, Manifest.load(home.sources).active_shards)
    others = {path: why for path, why in rejected.items() if path not in refused}
    tell_about_sources(home, load_settings(home.settings_file), others)
    if tallies:
        console.say(f"{Tally.of(tallies.values())}.")
    if refused:
        raise ToolformerError(" ".join(refused.values()))


def _retire_unusable(home: Home, paths: Iterable[str], tallies: Mapping[str, Tally]) -> None:
    """Take the shards out again that hold no text; a source that is missing keeps its own."""
    for name in map(normalised_path, paths):
        if name in tallies and not tallies[name].usable:
            retire_shards_of(home, name)


def _tallies(home: Home, before: Manifest, new: Sequence[SourceSettings]) -> dict[str, Tally]:
    """By source the records of the shards that came in, and of all shards of the new sources."""
    keys_before = {entry.key for entry in before.active_shards}
    names = {normalised_path(source.path) for source in new}
    found: dict[str, list[ShardEntry]] = {}
    for entry in Manifest.load(home.sources).active_shards:
        if entry.key not in keys_before or entry.source in names:
            found.setdefault(entry.source, []).append(entry)
    warehouse = open_warehouse(home)
    return {name: _tally(warehouse, entries) for name, entries in found.items()}


def _tally(warehouse: Warehouse, entries: Sequence[ShardEntry]) -> Tally:
    rejected = records_read(warehouse.limited_to([entry.key for entry in entries])).rejected
    return Tally(sum(entry.records for entry in entries), rejected)


def _why_refused(
    path: str, rejected: Mapping[str, str], tallies: Mapping[str, Tally]
) -> str | None:
    """Why a new source cannot stay; None where it can."""
    tally = tallies.get(normalised_path(path))
    if path in rejected or tally is None:
        # A build of other settings at the same time can have had the last word on what is rejected.
        return rejected.get(path, f"The source {path!r} gave no shards. Ingest it again.")
    if tally.usable:
        return None
    return (
        f"No record of the source {path!r} is usable: of {tally.records}, {tally.reasons}. "
        "Expected at least one text. Correct the file, or how it is read (--format, "
        "--text-column), and ingest it again."
    )


def _new_sources(
    settings: Settings, paths: Sequence[str], given: Mapping[str, Any]
) -> list[SourceSettings]:
    known = {source.path for source in settings.corpus.sources}
    named = {absolute_source(path, Path.cwd()): path for path in paths}
    for path in known.intersection(named):
        console.say(
            f"{named[path]} is listed already. To read it otherwise, remove it (`toolformer "
            "sources remove`) and ingest it again, or list it in toolformer.yaml: that entry holds."
        )
    sources = [{"path": path, **given} for path in named if path not in known]
    checked = validated({"corpus": {"sources": sources}}, origin="The new sources")
    return list(checked.corpus.sources)


def _report(before: Manifest, active: Sequence[ShardEntry]) -> None:
    keys_before = {entry.key for entry in before.active_shards}
    known = {entry.key for entry in before.shards}
    added = [entry for entry in active if entry.key not in known]
    restored = [entry for entry in active if entry.key in known - keys_before]
    console.say(
        f"{len(added)} new shards with {sum(entry.records for entry in added)} records; "
        f"{len(keys_before)} shards were there before."
    )
    if restored:
        console.say(f"{len(restored)} shards came back, with what was computed from them.")


def _check_sources(settings: Settings, paths: Sequence[str]) -> None:
    from assets.corpus import configured_sources
    from toolformer.sources.files import list_files

    for source in configured_sources(settings):
        if source.path in paths:
            list_files(source)
