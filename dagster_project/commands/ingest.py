"""`toolformer ingest`: add sources to the corpus and cut them into shards."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from assets.corpus import skipped_files_by_source
from assets.source_list import new_sources
from dagster_project.commands import console
from dagster_project.commands.options import RunOptions
from dagster_project.commands.sources import report_source_problems
from dagster_project.commands.stats import show_losses
from dagster_project.runs.run_job import dagster_instance, rejected_sources, run_job
from toolformer.errors import ToolformerError
from toolformer.home.home import Home
from toolformer.home.report.records import records_read
from toolformer.home.wiring.workspace import open_warehouse
from toolformer.settings.corpus_sections import (
    DATE_COLUMN,
    TEXT_COLUMN,
    TITLE_COLUMN,
    URL_COLUMN,
    GivenFormat,
    normalised_path,
)
from toolformer.settings.settings_file import load_settings
from toolformer.settings.source_file import absolute_source
from toolformer.sources.manifest import Manifest, ShardEntry

_SHOWN_FILES = 10

app = typer.Typer()


@app.command()
def ingest(
    sources: Annotated[
        list[str], typer.Argument(help="Files, folders or glob patterns.", metavar="SOURCE…")
    ],
    limit: Annotated[
        int | None, typer.Option(min=1, help="Read at most this many records, from the start.")
    ] = None,
    shard_size: Annotated[int | None, typer.Option(min=1, help="Records per shard.")] = None,
    file_format: Annotated[
        GivenFormat, typer.Option("--format", help="File format; auto detects it from the names.")
    ] = "auto",
    text_column: Annotated[str, typer.Option(help="Column with the text.")] = TEXT_COLUMN,
    url_column: Annotated[str, typer.Option(help="Column with the URL.")] = URL_COLUMN,
    date_column: Annotated[
        str, typer.Option(help="Column with the publication date.")
    ] = DATE_COLUMN,
    title_column: Annotated[str, typer.Option(help="Column with the title.")] = TITLE_COLUMN,
    context_column: Annotated[
        str | None, typer.Option(help="Column whose text precedes the document in training.")
    ] = None,
    strip_marks: Annotated[
        bool,
        typer.Option(
            "--strip-marks",
            help="Remove chat marks such as <|im_end|>, GSM8K's << >> and ####, and tool calls.",
        ),
    ] = False,
) -> None:
    """Add texts to the corpus and cut them into shards."""
    reading = {
        "limit": limit,
        "shard_size": shard_size,
        "format": file_format,
        "text_column": text_column,
        "url_column": url_column,
        "date_column": date_column,
        "title_column": title_column,
        "context_column": context_column,
        "strip_marks": strip_marks,
    }
    # Concurrent ingests wait for each other, so that each reports only what it has added.
    with Home.find().output_lock("ingest"):
        _ingest(Home.find(), sources, {key: value for key, value in reading.items() if value})


def _ingest(home: Home, paths: Sequence[str], reading: Mapping[str, Any]) -> None:
    options = RunOptions()
    settings = options.load_settings(home)
    manifest = Manifest.load(home.sources)
    new = {source.path for source in new_sources(settings, paths, Path.cwd(), reading)}
    asked = {absolute_source(path, Path.cwd()): path for path in paths}
    for absolute, path in asked.items():
        if absolute not in new:
            console.say(
                f"{path} is already listed. To read it with other options, run `toolformer sources "
                "remove` and ingest it again, or list it in toolformer.yaml, which takes "
                "precedence."
            )
    with dagster_instance(home) as instance:
        run_job(
            instance,
            "prepare",
            resources=options.resources(),
            assets=["corpus_manifest"],
            ops={"corpus_manifest": {"new_sources": list(asked), "reading": dict(reading)}},
        )
        rejected = rejected_sources(instance)
    active = Manifest.load(home.sources).active_shards
    names = {normalised_path(path) for path in asked}
    of_these = [entry for entry in active if entry.source in names]
    _report(home, manifest, active, of_these)
    if reading.get("strip_marks"):
        _report_marks(home, of_these)
    settings = load_settings(home.settings_file)
    refused = asked.keys() - {source.path for source in settings.corpus.sources}
    for path, files in skipped_files_by_source(home, settings, asked.keys() - rejected.keys()):
        more = ", …" if len(files) > _SHOWN_FILES else ""
        console.say(
            f"{len(files)} file(s) of {path} were skipped, because their names show no known "
            f"format or they describe the data set: {', '.join(files[:_SHOWN_FILES])}{more}"
        )
    others = {path: why for path, why in rejected.items() if path not in refused}
    report_source_problems(home, settings, others)
    if refused:
        # The reasons are missing if a concurrent run has replaced them with its own.
        unknown = "The source {!r} cannot be used. Ingest it again to see why."
        raise ToolformerError(
            " ".join(rejected.get(path, unknown.format(path)) for path in sorted(refused))
        )


def _report_marks(home: Home, shards: Sequence[ShardEntry]) -> None:
    counts = "select count(*) - count(called_tool), count(called_tool) from text_marks"
    keys = [entry.key for entry in shards]
    marks, calls = open_warehouse(home).limited_to(keys).query(counts).row(0)
    console.say(
        f"Removed from the texts and stored in the table text_marks: {marks:,} annotated "
        f"calculations and {calls:,} tool calls."
    )


def _report(
    home: Home, before: Manifest, active: Sequence[ShardEntry], asked: Sequence[ShardEntry]
) -> None:
    keys_before = {entry.key for entry in before.active_shards}
    known = {entry.key for entry in before.shards}
    added = [entry for entry in active if entry.key not in known]
    restored = [entry for entry in active if entry.key in known - keys_before]
    console.say(
        f"New shards: {len(added)} (records: {sum(entry.records for entry in added)}). "
        f"Earlier shards: {len(keys_before)}."
    )
    if restored:
        console.say(f"{len(restored)} shards were restored with everything computed from them.")
    read = [entry for entry in active if entry.key not in keys_before or entry in asked]
    if read:
        warehouse = open_warehouse(home)
        console.say(f"{records_read(warehouse, read)}.")
        show_losses(warehouse, read)
