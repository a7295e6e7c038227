"""`toolformer ingest`: add sources to the settings file and cut them into shards.

Does not parse the command line.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dagster_project.commands import console
from dagster_project.commands.options import RunOptions
from dagster_project.commands.sources import absolute, tell_about_sources
from dagster_project.home import Home
from dagster_project.runs.run_job import (
    dagster_instance,
    rejected_sources,
    run_job,
)
from dagster_project.settings.sections import EMBEDDED_SOURCES, Settings, SourceSettings
from dagster_project.settings.settings_file import (
    add_sources,
    listed_sources,
    load_settings,
    remove_sources,
)
from dagster_project.settings.yaml_text import read_text
from toolformer.errors import ToolformerError
from toolformer.ground.whole_files import write_whole
from toolformer.sources.manifest import Manifest, ShardEntry
from toolformer.sources.source import normalised_path


def ingest_sources(paths: Sequence[str], given: Mapping[str, Any]) -> None:
    """Add sources to the settings file and cut them into shards.

    The embedded corpus is only the default: the first source that is added takes its place, unless
    shards of it have been cut already, in which case it is listed beside the new one.
    """
    with Home.find().corpus_lock():
        _ingest(Home.find(), paths, given)


def _ingest(home: Home, paths: Sequence[str], given: Mapping[str, Any]) -> None:
    options = RunOptions()
    settings = options.load_settings(home)
    manifest = Manifest.load(home.sources)
    new = _new_sources(home, settings, paths, given)
    given_paths = {source.path for source in new}
    if new:
        implied = _implied(home, settings, manifest)
        new = [*(source for source in implied if source.path not in given_paths), *new]
    before = read_text(home.settings_file)
    if new:
        add_sources(home.settings_file, new)
    written = read_text(home.settings_file)
    try:
        _check_sources(load_settings(home.settings_file), [source.path for source in new])
        with dagster_instance(home) as instance:
            run_job(instance, "prepare", resources=options.resources(), assets=["corpus_manifest"])
            rejected = rejected_sources(instance)
    except BaseException:
        # A source that cannot be used must not stay in the settings and fail every later run.
        _take_back(home, new, before, written)
        raise
    active = Manifest.load(home.sources).active_shards
    cut = {entry.source for entry in active}
    refused = [
        source
        for source in new
        if source.path in rejected or normalised_path(source.path) not in cut
    ]
    if refused:
        _take_back(home, new, before, written)
        usable = [source for source in new if source not in refused]
        if usable:
            add_sources(home.settings_file, usable)
    _report(manifest, active)
    others = {path: why for path, why in rejected.items() if path not in {s.path for s in refused}}
    tell_about_sources(home, load_settings(home.settings_file), others)
    if refused:
        # A build of other settings at the same time can have had the last word on what is rejected.
        unknown = "The source {!r} gave no shards. Ingest it again."
        errors = [rejected.get(source.path, unknown.format(source.path)) for source in refused]
        raise ToolformerError(" ".join(errors))


def _new_sources(
    home: Home, settings: Settings, paths: Sequence[str], given: Mapping[str, Any]
) -> list[SourceSettings]:
    known = {source.path for source in settings.corpus.sources}
    for path in paths:
        if absolute(path) in known:
            console.say(
                f"{path} is listed in {home.settings_file} already; change its entry there."
            )
    new = [path for path in dict.fromkeys(map(absolute, paths)) if path not in known]
    return [SourceSettings(path=path, **given) for path in new]


def _implied(home: Home, settings: Settings, manifest: Manifest) -> list[SourceSettings]:
    """Sources that nobody listed and that have shards: the embedded ones, or a preset's."""
    if listed_sources(home.settings_file):
        return []
    implied = settings.corpus.sources or EMBEDDED_SOURCES
    names = {normalised_path(source.path) for source in implied}
    has_shards = any(entry.source in names for entry in manifest.active_shards)
    return list(implied) if has_shards else []


def _take_back(home: Home, new: Sequence[SourceSettings], before: str, written: str) -> None:
    """Take the new entries out of the settings file, and nothing that was written meanwhile."""
    if read_text(home.settings_file) == written:
        write_whole(home.settings_file, before)
    else:
        remove_sources(home.settings_file, [source.path for source in new])


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
