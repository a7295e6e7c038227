"""The list of sources that the program keeps for a home, and how sources are added."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolformer.home.home import Home
from toolformer.settings.corpus_sections import SourceSettings, normalised_path
from toolformer.settings.sections import Settings, validated
from toolformer.settings.settings_file import corpus_sources, listed_sources
from toolformer.settings.source_file import absolute_source, added_sources, write_added_sources
from toolformer.sources.manifest import Manifest
from toolformer.sources.source import check_path


def new_sources(
    settings: Settings, paths: Sequence[str], folder: Path, reading: Mapping[str, Any]
) -> list[SourceSettings]:
    """Those of some sources that are not listed.

    Args:
        paths: paths of the sources; relative ones are looked up from `folder`, which is absolute.
        reading: how they are read, as an entry of `corpus.sources` says it.

    Raises:
        SettingsError: what is said of how they are read is not valid.
        SourceError: a path is not UTF-8.
    """
    for path in paths:
        check_path(path)
    known = {source.path for source in settings.corpus.sources}
    given = dict.fromkeys(absolute_source(path, folder) for path in paths)
    entries = [{"path": path, **reading} for path in given if path not in known]
    checked = validated({"corpus": {"sources": entries}}, origin="The new sources")
    return list(checked.corpus.sources)


@contextmanager
def listing(
    home: Home, settings: Settings, paths: Sequence[str], reading: Mapping[str, Any]
) -> Iterator[list[str]]:
    """List sources in `sources.json`; after the block, remove those of them without shards.

    However the block ends: a source that cannot be used must not stay listed and fail every later
    run, and shards that were registered need an owner, whose cutting the next run completes.

    The first source that is listed takes the place of the embedded sources, or the preset's. Those
    that have shards are listed before it, so that nothing computed is lost. Requires
    `Home.shards_lock`.

    Args:
        home: its list is changed.
        settings: those of the home.
        paths, reading: see `new_sources`; relative paths are looked up from the home.

    Yields:
        The paths of these sources that `sources.json` lists, the known ones included.
    """
    new = new_sources(settings, paths, home.root, reading)
    implied = _implied(home, settings, new)
    listed = [*added_sources(home.settings_file), *implied, *new]
    given = {absolute_source(path, home.root) for path in paths}
    asked = [source for source in listed if source.path in given]
    try:
        if new:
            write_added_sources(home.settings_file, listed)
        yield [source.path for source in asked]
    finally:
        owners = Manifest.load(home.sources).stored_sources
        unused = [source for source in asked if normalised_path(source.path) not in owners]
        if all(source in unused for source in new):
            unused += implied
        if unused:
            kept = [source for source in listed if source not in unused]
            write_added_sources(home.settings_file, kept)


def _implied(home: Home, settings: Settings, new: Sequence[SourceSettings]) -> list[SourceSettings]:
    manifest = Manifest.load(home.sources)
    implied = corpus_sources(settings, manifest.stored_sources)
    names = {normalised_path(source.path) for source in implied}
    has_shards = any(entry.source in names for entry in manifest.active_shards)
    if not new or not has_shards or listed_sources(home.settings_file):
        return []
    given = {source.path for source in new}
    return [source for source in implied if source.path not in given]
