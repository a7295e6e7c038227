"""The list of sources that the program keeps for a home, and how sources are added."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolformer.home.home import Home
from toolformer.home.settings.corpus_sections import EMBEDDED_SOURCES, SourceSettings
from toolformer.home.settings.sections import Settings, validated
from toolformer.home.settings.settings_file import listed_sources
from toolformer.home.settings.source_file import absolute_source, added_sources, write_added_sources
from toolformer.sources.manifest import Manifest
from toolformer.sources.source import check_path, normalised_path


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
def listing(home: Home, settings: Settings, new: Sequence[SourceSettings]) -> Iterator[None]:
    """List new sources in `sources.json`; where the block fails, it is as it was.

    Behind those that nobody listed and that have shards: the embedded ones, or a preset's. The
    first source that is listed takes their place, and nothing that was computed is to be lost by
    it. Under `Home.shards_lock`.
    """
    before = added_sources(home.settings_file)
    if new:
        write_added_sources(home.settings_file, [*before, *_implied(home, settings, new), *new])
    try:
        yield
    except BaseException:
        # A source that cannot be used must not stay listed and fail every later run.
        write_added_sources(home.settings_file, before)
        raise


def _implied(home: Home, settings: Settings, new: Sequence[SourceSettings]) -> list[SourceSettings]:
    if listed_sources(home.settings_file):
        return []
    implied = settings.corpus.sources or EMBEDDED_SOURCES
    names = {normalised_path(source.path) for source in implied}
    if not any(entry.source in names for entry in Manifest.load(home.sources).active_shards):
        return []
    given = {source.path for source in new}
    return [source for source in implied if source.path not in given]


def remove_sources(home: Home, paths: Sequence[str]) -> None:
    """Take sources out of `sources.json`; under `Home.shards_lock`."""
    kept = [source for source in added_sources(home.settings_file) if source.path not in paths]
    write_added_sources(home.settings_file, kept)
