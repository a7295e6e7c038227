"""`toolformer sources`: the sources of the corpus, listed and removed.

A source is removed here and nowhere else: one that is missing, or no longer listed in the settings,
keeps its shards.
"""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from assets.corpus import configured_sources, retire_shards_of
from assets.documents import stored_texts
from dagster_project.commands import console
from dagster_project.commands.options import AsJson, RunOptions
from dagster_project.runs.run_job import dagster_instance
from toolformer.errors import ToolformerError
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import open_warehouse
from toolformer.settings.corpus_sections import BUILT_IN_SOURCES, SourceSettings, normalised_path
from toolformer.settings.sections import Settings
from toolformer.settings.settings_file import corpus_sources, load_settings, sources_of_user
from toolformer.settings.source_file import absolute_source, added_sources, write_added_sources
from toolformer.sources.errors import SourceError, SourceNotFoundError
from toolformer.sources.files import list_files
from toolformer.sources.manifest import Manifest, check_complete
from toolformer.sources.source import Source
from warehouse.warehouse import Warehouse

app = typer.Typer()
sources_app = typer.Typer(help="List and remove the sources of the corpus.", no_args_is_help=True)
app.add_typer(sources_app, name="sources")


@sources_app.command("list")
def list_sources(as_json: AsJson = False) -> None:
    """List the sources with their shards and records, and whether they are listed and exist."""
    home = Home.find()
    settings = load_settings(home.settings_file)
    stored = stored_texts(Warehouse(home.warehouse, home.database))
    manifest = Manifest.load(home.sources)
    check_complete(home.sources, manifest, stored.all_keys)
    active = manifest.active_shards
    shards = Counter(entry.source for entry in active)
    records = Counter[str]()
    for entry in active:
        records[entry.source] += entry.records
    configured = configured_sources(settings, home)
    states = {source.name: _state(source, settings) for source in configured}
    states |= {name: "not listed any more" for name in shards if name not in states}
    rows = [
        {"source": name, "shards": shards[name], "records": records[name], "state": state}
        for name, state in states.items()
    ]
    console.frame(pl.DataFrame(rows), as_json=as_json)


def _state(source: Source, settings: Settings) -> str:
    try:
        list_files(source)
    except SourceNotFoundError:
        return "missing"
    except SourceError as error:
        return f"cannot be used: {error}"
    return "listed" if settings.corpus.sources else "embedded; no source is listed"


@sources_app.command("remove")
def remove_source(
    given: Annotated[
        str, typer.Argument(help="The source, as `sources list` shows it.", metavar="SOURCE")
    ],
) -> None:
    """Take a source out of sources.json and its shards out of the corpus."""
    home = Home.find()
    with home.shards_lock(), dagster_instance(home) as instance:
        settings = RunOptions().load_settings(home)
        manifest = Manifest.load(home.sources)
        configured = corpus_sources(settings, manifest.stored_sources)
        name = _known_name(given, configured, manifest)
        if any(normalised_path(source.path) == name for source in configured):
            _unlist(home, configured, name)
        retire_shards_of(home, open_warehouse(home), instance, name)
        manifest = Manifest.load(home.sources)
        shards = [each for each in manifest.shards if each.source == name]
    console.say(
        f"{name} is removed; its {len(shards)} shards are kept aside, and come back with what was "
        "computed from them when it is ingested again."
    )
    settings = load_settings(home.settings_file)
    if not settings.corpus.sources and corpus_sources(settings, manifest.stored_sources):
        console.say("No source is listed now: the next build uses the embedded corpus.")


def _known_name(given: str, configured: Sequence[SourceSettings], manifest: Manifest) -> str:
    shown = {normalised_path(source.path) for source in configured}
    shown |= manifest.stored_sources
    # Of one that a kill left half removed, the shards may be retired already.
    known = shown | {entry.source for entry in manifest.shards}
    absolute = normalised_path(absolute_source(given, Path.cwd()))
    for name in (given, normalised_path(given), absolute):
        if name in known:
            return name
    raise SourceNotFoundError(
        f"There is no source {given!r} in this home. Expected one of those that `toolformer "
        f"sources list` shows: {', '.join(sorted(shown))}."
    )


def _unlist(home: Home, configured: Sequence[SourceSettings], name: str) -> None:
    if len(configured) == 1 and name in BUILT_IN_SOURCES:
        raise ToolformerError(
            f"{name} is the only source, and it is what a home without sources uses. Ingest a "
            "source of your own first, then remove it."
        )
    if name in map(normalised_path, sources_of_user(home.settings_file)):
        raise ToolformerError(
            f"{name} is listed in '{home.settings_file}', which only you change. Take its entry "
            "out of corpus.sources there, and run the same again to remove its shards."
        )
    # Where none was added they are those of the preset, or of a home without sources.
    listed = added_sources(home.settings_file) or configured
    kept = [source for source in listed if normalised_path(source.path) != name]
    write_added_sources(home.settings_file, kept)


def report_source_problems(
    home: Home, settings: Settings, rejected: Mapping[str, str]
) -> dict[str, str]:
    """Say which sources could not be used, and which are not listed any more.

    Args:
        rejected: sources that could not be used, by path, with the error.

    Returns:
        Those of the rejected that have no shards.
    """
    shards = Counter(entry.source for entry in Manifest.load(home.sources).active_shards)
    for path, error in rejected.items():
        count = shards[normalised_path(path)]
        console.say(f"{error} Its {count} shards stay." if count else error)
    listed = {source.name for source in configured_sources(settings, home)}
    for name in sorted(shards.keys() - listed):
        console.say(
            f"The source {name!r} is not listed in the settings of this run; its {shards[name]} "
            f"shards stay. `toolformer sources remove {shlex.quote(name)}` removes them."
        )
    return {path: why for path, why in rejected.items() if not shards[normalised_path(path)]}
