"""`toolformer ingest`: add sources to the settings file and cut them into shards.

Does not parse the command line.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dagster_project.commands import console
from dagster_project.commands.options import RunOptions
from dagster_project.home import Home
from dagster_project.runs.run_job import (
    dagster_instance,
    rejected_sources,
    run_job,
)
from dagster_project.settings.sections import EMBEDDED_SOURCES, Settings, SourceSettings
from dagster_project.settings.settings_file import add_sources, load_settings
from toolformer.errors import ToolformerError
from toolformer.ground.whole_files import write_whole
from toolformer.sources.manifest import Manifest
from toolformer.sources.source import BUILT_IN_SOURCES


def ingest_sources(paths: Sequence[str], given: Mapping[str, Any]) -> None:
    """Add sources to the settings file and cut them into shards.

    The embedded corpus is only the default: the first source that is added takes its place, unless
    shards of it have been cut already, in which case it is listed beside the new one.
    """
    home = Home.find()
    options = RunOptions()
    settings = options.load_settings(home)
    known = {source.path for source in settings.corpus.sources}
    new = [
        SourceSettings(path=_absolute(path), **given)
        for path in paths
        if _absolute(path) not in known
    ]
    for path in paths:
        if _absolute(path) in known:
            console.say(
                f"{path} is listed in {home.settings_file} already; change its entry there."
            )
    has_embedded_shards = any(
        entry.source in BUILT_IN_SOURCES for entry in Manifest.load(home.sources).active_shards
    )
    if not settings.corpus.sources and has_embedded_shards:
        new = [*EMBEDDED_SOURCES, *new]
    before = home.settings_file.read_text()
    if new:
        add_sources(home.settings_file, new)
    try:
        _check_sources(load_settings(home.settings_file), [source.path for source in new])
        shards_before = {entry.key for entry in Manifest.load(home.sources).active_shards}
        with dagster_instance(home) as instance:
            run_job(instance, "prepare", resources=options.resources(), assets=["corpus_manifest"])
            rejected = rejected_sources(instance)
    except BaseException:
        # A source that cannot be used must not stay in the settings and fail every later run.
        write_whole(home.settings_file, before)
        raise
    refused = [source for source in new if source.path in rejected]
    if refused:
        write_whole(home.settings_file, before)
        usable = [source for source in new if source not in refused]
        if usable:
            add_sources(home.settings_file, usable)
    added = [
        entry
        for entry in Manifest.load(home.sources).active_shards
        if entry.key not in shards_before
    ]
    console.say(
        f"{len(added)} new shards with {sum(entry.records for entry in added)} records; "
        f"{len(shards_before)} shards were there before."
    )
    if refused:
        raise ToolformerError(" ".join(rejected[source.path] for source in refused))


def _absolute(path: str) -> str:
    """Paths are kept absolute: the UI runs in another folder than the command did."""
    if path in BUILT_IN_SOURCES or "://" in path:
        return path
    return str(Path(path).expanduser().absolute())


def _check_sources(settings: Settings, paths: Sequence[str]) -> None:
    from assets.corpus import configured_sources
    from toolformer.sources.files import list_files

    for source in configured_sources(settings):
        if source.path in paths:
            list_files(source)
