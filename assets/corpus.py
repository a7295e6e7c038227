"""Cuts the sources of the corpus into shards and stores their texts (paper §4.1)."""

from collections.abc import Collection
from functools import cache, partial
from typing import Any

import dagster as dg
from pydantic import Field

from assets.code_versions import code_version_tags
from assets.documents import DOCUMENTS, reported_texts, store_texts, stored_texts
from assets.failures import failure_of
from assets.run import Run
from assets.source_list import listing
from assets.stage import Stage
from assets.stage_asset import asset_of
from toolformer.errors import ToolformerError
from toolformer.home.fingerprints import FINGERPRINT
from toolformer.home.home import Home
from toolformer.home.metadata import REJECTED_SOURCES
from toolformer.home.partitions import (
    SHARDS_OF_TEXTS,
    other_homes,
    register_evaluations,
    register_shards,
)
from toolformer.home.report.records import reading_losses
from toolformer.settings.sections import Settings
from toolformer.settings.settings_file import corpus_sources
from toolformer.sources.cutting import CutShard
from toolformer.sources.files import skipped_files
from toolformer.sources.ingestion import ManifestUpdate, retire_source, update_manifest
from toolformer.sources.manifest import Manifest, ShardEntry
from toolformer.sources.source import Source
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

CORPUS_MANIFEST = Stage(
    name="corpus_manifest",
    version="1",
    group="prepare",
    kinds=("python", "json"),
    settings=("corpus.sources", "corpus.shard_size", "corpus.held_out_every"),
)


class NewSources(dg.Config):
    """Sources to add to `sources.json` before the corpus is cut."""

    new_sources: list[str] = Field(
        default=[],
        description="Files or folders of texts to add. Unusable ones are not kept in the list.",
    )
    reading: dict[str, Any] = Field(
        default={},
        description="How to read them, as in an entry of corpus.sources: {text_column: body}",
    )


def configured_sources(settings: Settings, home: Home) -> list[Source]:
    return [
        Source(
            **{
                **source.model_dump(exclude={"license", "tools"}),
                "shard_size": source.shard_size or settings.corpus.shard_size,
            }
        )
        for source in corpus_sources(settings, Manifest.load(home.sources).stored_sources)
    ]


def skipped_files_by_source(
    home: Home, settings: Settings, paths: Collection[str]
) -> list[tuple[str, list[str]]]:
    """Return sources with unread files in their folder; raise SourceError if a source is gone."""
    of_sources = [
        (source.path, skipped_files(source))
        for source in configured_sources(settings, home)
        if source.path in paths
    ]
    return [(path, files) for path, files in of_sources if files]


def sync_shards(home: Home, warehouse: Warehouse, instance: dg.DagsterInstance) -> list[ShardEntry]:
    """Set aside, restore and register shards as the manifest says; return the active ones.

    Checks all shards, so that work of a killed run is completed. The caller holds
    `Home.shards_lock`.
    """
    manifest = Manifest.load(home.sources)
    aside = warehouse.retired()
    for entry in manifest.shards:
        if entry.status == "retired" and entry.key not in aside:
            warehouse.retire(entry.key)
        elif entry.status != "retired" and entry.key in aside:
            warehouse.restore(entry.key)
    register_shards(instance, manifest)
    return manifest.active_shards


def _store_cut(run: Run, cut: list[tuple[ShardEntry, CutShard]]) -> None:
    sync_shards(run.home, run.warehouse, run.context.instance)
    for event in store_texts(run.warehouse, cut, run_id=run.context.run.run_id):
        _report(run, event)


def _report(run: Run, texts: dg.AssetMaterialization) -> None:
    """Log an event and remove it from Dagster's queue, which would keep it in memory."""
    run.context.log_event(texts)
    for _ in run.context.op_execution_context.consume_events():
        pass


def _report_unreported(run: Run, active: list[ShardEntry]) -> None:
    """Report texts that another machine or a killed run stored but did not report here."""
    reported = run.context.instance.get_materialized_partitions(dg.AssetKey(DOCUMENTS))
    stored = stored_texts(run.warehouse).keys
    for entry in active:
        if entry.key not in stored or entry.key in reported:
            continue
        if texts := run.warehouse.partition_metadata(DOCUMENTS, entry.key, ALL):
            shown = {"records": entry.records}
            _report(run, reported_texts(entry, texts[FINGERPRINT], metadata=shown))


def retire_shards_of(
    home: Home, warehouse: Warehouse, instance: dg.DagsterInstance, name: str
) -> list[ShardEntry]:
    """Retire the shards of a source; the caller holds `Home.shards_lock`."""
    retired = retire_source(home.sources, name, stored_texts(warehouse))
    sync_shards(home, warehouse, instance)
    return retired


def _update(run: Run) -> ManifestUpdate:
    context, home, corpus = run.context, run.home, run.settings.corpus
    # Log only one line per source, because each line becomes an event in Dagster's database.
    shown = cache(partial(run.progress, "reading records"))
    update = update_manifest(
        home.sources,
        configured_sources(run.settings, home),
        held_out_every=corpus.held_out_every,
        stored=stored_texts(run.warehouse),
        store=partial(_store_cut, run),
        progress=lambda source, records: shown(source)(records, None),
    )
    _report_unreported(run, sync_shards(home, run.warehouse, context.instance))
    register_evaluations(context.instance, run.settings.evaluation)
    return update


@asset_of(CORPUS_MANIFEST, config_schema=NewSources.to_config_schema())
def corpus_manifest(run: Run) -> dg.MaterializeResult:
    """Shards of the corpus, cut from the sources and registered as partitions.

    Each source is read once, and its texts become partitions of `documents`. Keys are never
    renumbered or reused for other records. Unchanged sources register nothing new. When records
    change, their shards are retired and their partitions set aside; both are restored if the
    records return. A source that is missing or no longer listed keeps its shards.
    """
    context, home = run.context, run.home
    if others := other_homes(context.instance, home):
        context.log.warning(
            f"This Dagster instance also has shards of another home: {', '.join(others)}. "
            "Expected one home per instance: the homes have separate partitions, but their assets "
            "share names, so Dagster takes materialisations of one home for those of the other. "
            "Give this home its own DAGSTER_HOME, or its own database in dagster.yaml."
        )
    config = NewSources(**context.op_execution_context.op_config)
    with home.shards_lock():
        # Load the settings under the lock: another run may have listed sources meanwhile.
        settings = Run(context).settings
        with listing(home, settings, config.new_sources, config.reading) as listed_paths:
            # Load the settings again, now with the new sources.
            run = Run(context)
            registered = set(context.instance.get_dynamic_partitions(SHARDS_OF_TEXTS.name))
            update = _update(run)
        active = Manifest.load(home.sources).active_shards
    rejected = {path: str(error) for path, error in update.rejected_sources.items()}
    for path, why in rejected.items():
        context.log.error(f"{path}: {why}")
    if rejected and not active:
        raise failure_of(ToolformerError(" ".join(rejected.values())))
    left_out = skipped_files_by_source(
        home, run.settings, [path for path in listed_paths if path not in rejected]
    )
    return dg.MaterializeResult(
        # Computed after listing, so that the code version covers the new sources.
        tags=code_version_tags(context, CORPUS_MANIFEST)(None),
        metadata={
            "dagster/row_count": len(active),
            "shards": len(active),
            "new shards": len(update.added),
            "partitions registered": len({entry.key for entry in active} - registered),
            "retired shards": ", ".join(entry.key for entry in update.retired) or "none",
            "restored shards": ", ".join(entry.key for entry in update.restored) or "none",
            "sources not listed": ", ".join(update.unlisted) or "none",
            REJECTED_SOURCES: dg.MetadataValue.json(rejected),
            "files not read": ", ".join(name for _, names in left_out for name in names) or "none",
            "records": sum(entry.records for entry in active),
            **dict(reading_losses(run.warehouse, active)),
        },
    )
