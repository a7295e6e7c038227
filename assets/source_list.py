"""The sources of a home that the program lists, and how one comes to them.

Does not cut anything.
"""

from collections.abc import Sequence

from dagster_project.home import Home
from dagster_project.settings.sections import EMBEDDED_SOURCES, Settings, SourceSettings
from dagster_project.settings.settings_file import listed_sources
from dagster_project.settings.source_file import (
    absolute_source,
    added_sources,
    write_added_sources,
)
from toolformer.sources.manifest import Manifest
from toolformer.sources.source import normalised_path


def add_sources(
    home: Home, settings: Settings, new: Sequence[SourceSettings]
) -> list[SourceSettings]:
    """List new sources, after those that nobody listed and that have shards.

    These are the embedded ones, or a preset's: the first source that is listed takes their place,
    and nothing that was computed is to be lost by it.

    Args:
        home: under `Home.corpus_lock`.
        settings: without the new sources.
        new: that are not listed.

    Returns:
        Those that were added to the list.
    """
    added = [*_implied(home, settings, new), *new]
    if added:
        write_added_sources(home.settings_file, [*added_sources(home.settings_file), *added])
    return added


def _implied(home: Home, settings: Settings, new: Sequence[SourceSettings]) -> list[SourceSettings]:
    if not new or listed_sources(home.settings_file):
        return []
    implied = settings.corpus.sources or EMBEDDED_SOURCES
    names = {normalised_path(source.path) for source in implied}
    if not any(entry.source in names for entry in Manifest.load(home.sources).active_shards):
        return []
    given = {source.path for source in new}
    return [source for source in implied if source.path not in given]


def remove_sources(home: Home, names: Sequence[str]) -> None:
    """Take sources out of `sources.yaml`, by their normalised paths; under `Home.corpus_lock`."""
    kept = [
        each
        for each in added_sources(home.settings_file)
        if normalised_path(each.path) not in names
    ]
    write_added_sources(home.settings_file, kept)


def list_new_sources(home: Home, settings: Settings, paths: Sequence[str]) -> list[str]:
    """List sources with all that the settings say by default; under `Home.corpus_lock`.

    Returns:
        The paths of those that were not listed before.

    Raises:
        SettingsError: a file of the settings is not valid.
    """
    known = {source.path for source in settings.corpus.sources}
    given = dict.fromkeys(absolute_source(path, home.root) for path in paths)
    new = [path for path in given if path not in known]
    if new:
        sources = [SourceSettings(path=path) for path in new]  # pyright: ignore[reportCallIssue]
        add_sources(home, settings, sources)
    return new
