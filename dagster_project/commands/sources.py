"""`toolformer sources`: list and remove the sources of the corpus.

Only this command removes shards. A source that is missing, or no longer listed in the settings,
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
    """List the sources with their shards, records and state."""
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
    states |= {name: "no longer listed" for name in shards if name not in states}
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
    return "listed" if settings.corpus.sources else "embedded, since no source is listed"


@sources_app.command("remove")
def remove_source(
    given: Annotated[
        str, typer.Argument(help="Source, as shown by `sources list`.", metavar="SOURCE")
    ],
) -> None:
    """Remove a source from sources.json, and its shards from the corpus."""
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
        f"Removed {name} from the corpus. Its {len(shards)} shards are kept: ingest the source "
        "again to restore them with everything computed from them."
    )
    settings = load_settings(home.settings_file)
    if not settings.corpus.sources and corpus_sources(settings, manifest.stored_sources):
        console.say("No source is listed now, so the next build uses the embedded corpus.")


def _known_name(given: str, configured: Sequence[SourceSettings], manifest: Manifest) -> str:
    shown = {normalised_path(source.path) for source in configured}
    shown |= manifest.stored_sources
    # If an earlier removal was killed, the shards may already be retired.
    known = shown | {entry.source for entry in manifest.shards}
    absolute = normalised_path(absolute_source(given, Path.cwd()))
    for name in (given, normalised_path(given), absolute):
        if name in known:
            return name
    raise SourceNotFoundError(
        f"There is no source {given!r} in this home. Expected a source that `toolformer sources "
        f"list` shows: {', '.join(sorted(shown))}."
    )


def _unlist(home: Home, configured: Sequence[SourceSettings], name: str) -> None:
    if len(configured) == 1 and name in BUILT_IN_SOURCES:
        raise ToolformerError(
            f"{name} is the only source, and a home without sources would use it again. Ingest "
            "another source first, then remove this one."
        )
    if name in map(normalised_path, sources_of_user(home.settings_file)):
        raise ToolformerError(
            f"{name} is listed in '{home.settings_file}', which toolformer never changes. Remove "
            "its entry from corpus.sources there, then run the same command again to remove its "
            "shards."
        )
    # Without added sources, these are the preset's sources or the embedded one.
    listed = added_sources(home.settings_file) or configured
    kept = [source for source in listed if normalised_path(source.path) != name]
    write_added_sources(home.settings_file, kept)


def report_source_problems(
    home: Home, settings: Settings, rejected: Mapping[str, str]
) -> dict[str, str]:
    """Print which sources were rejected, and which are no longer listed.

    `rejected` has the error message per path. Returns its entries that have no shards.
    """
    shards = Counter(entry.source for entry in Manifest.load(home.sources).active_shards)
    for path, error in rejected.items():
        count = shards[normalised_path(path)]
        console.say(f"{error} Its {count} existing shards are kept." if count else error)
    listed = {source.name for source in configured_sources(settings, home)}
    for name in sorted(shards.keys() - listed):
        console.say(
            f"The source {name!r} is not listed in the settings of this run; its {shards[name]} "
            f"shards are kept. `toolformer sources remove {shlex.quote(name)}` removes them."
        )
    return {path: why for path, why in rejected.items() if not shards[normalised_path(path)]}
