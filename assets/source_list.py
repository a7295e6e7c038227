"""Adds sources to `sources.json`, the list that the program keeps in a home."""

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
    """Return the sources that are not listed yet; relative paths refer to the absolute `folder`.

    Raises SettingsError if `reading`, the other keys of their entries, is not valid, and
    SourceError if a path is not UTF-8.
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
    """List sources and yield their paths; after the block, remove those that have no shards.

    Removal also follows an error, since an unusable source would fail every later run. A source
    with registered shards stays, so that the next run completes its cutting. The first listed
    source replaces those of the preset or the embedded ones. If these have shards, they are listed
    too, so that nothing computed is lost. The caller holds `Home.shards_lock`.
    """
    new = new_sources(settings, paths, home.root, reading)
    implied = _implied(home, settings, new)
    listed = [*added_sources(home.settings_file), *implied, *new]
    given = {absolute_source(path, home.root) for path in paths}
    requested = [source for source in listed if source.path in given]
    try:
        if new:
            write_added_sources(home.settings_file, listed)
        yield [source.path for source in requested]
    finally:
        owners = Manifest.load(home.sources).stored_sources
        unused = [source for source in requested if normalised_path(source.path) not in owners]
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
