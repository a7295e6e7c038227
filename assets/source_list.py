"""The list of sources in `toolformer.yaml`, and how a source comes into it.

Does not cut anything.
"""

from collections.abc import Sequence
from pathlib import Path

from dagster_project.home import Home
from dagster_project.settings.sections import EMBEDDED_SOURCES, Settings, SourceSettings
from dagster_project.settings.settings_file import (
    absolute_path,
    add_sources,
    listed_sources,
    write_settings_file,
)
from toolformer.sources.manifest import Manifest
from toolformer.sources.source import BUILT_IN_SOURCES, normalised_path


def absolute(path: str, folder: Path) -> str:
    """A source as the settings give it; a relative path is looked up from a folder."""
    return path if path in BUILT_IN_SOURCES else absolute_path(path, folder)


def with_implied(
    home: Home, settings: Settings, new: Sequence[SourceSettings]
) -> list[SourceSettings]:
    """New sources, after those that nobody listed and that have shards.

    These are the embedded ones, or a preset's: the first source that is listed takes their place,
    and nothing that was computed is to be lost by it.
    """
    if not new or listed_sources(home.settings_file):
        return list(new)
    implied = settings.corpus.sources or EMBEDDED_SOURCES
    names = {normalised_path(source.path) for source in implied}
    if not any(entry.source in names for entry in Manifest.load(home.sources).active_shards):
        return list(new)
    given = {source.path for source in new}
    return [*(source for source in implied if source.path not in given), *new]


def list_new_sources(home: Home, settings: Settings, paths: Sequence[str]) -> list[str]:
    """Add sources to the settings file; to be called under `Home.corpus_lock`.

    Returns:
        The paths of those that it did not list before.

    Raises:
        SettingsError: the file is not valid, or in a form that cannot be changed in place.
    """
    known = {source.path for source in settings.corpus.sources}
    given = dict.fromkeys(absolute(path, home.root) for path in paths)
    new = [path for path in given if path not in known]
    if new:
        write_settings_file(home.settings_file, preset=settings.preset)
        sources = [SourceSettings(path=path) for path in new]  # pyright: ignore[reportCallIssue]
        add_sources(home.settings_file, with_implied(home, settings, sources))
    return new
