"""The corpus: shards cut from the sources, and the texts in them (paper §4.1)."""

from dataclasses import asdict

import dagster as dg
import polars as pl

from assets.inputs import Wanted
from assets.outputs import Made
from assets.shard_asset import shard_asset
from assets.shard_stage import EXPECTED_ERRORS, ShardReport, ShardStage, failure_of
from assets.shard_texts import typed_frame
from dagster_project.fingerprints import CODE_VERSIONS, documents_fingerprint, fingerprint
from dagster_project.metadata import REJECTED_SOURCES, table_markdown
from dagster_project.partitions import register_shards
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.settings.sections import EMBEDDED_SOURCES, Settings
from toolformer.sources.ingestion import update_manifest
from toolformer.sources.manifest import Manifest, ShardEntry, read_shard
from toolformer.sources.records import ParsedDocument
from toolformer.sources.source import Source
from tools.translation.identification import guess_language
from warehouse.schema import ALL


def configured_sources(settings: Settings) -> list[Source]:
    """The sources of the settings; the embedded corpus where none is listed."""
    return [
        Source(
            **{**source.model_dump(), "shard_size": source.shard_size or settings.corpus.shard_size}
        )
        for source in settings.corpus.sources or EMBEDDED_SOURCES
    ]


@dg.asset(
    group_name="prepare",
    kinds={"python", "json"},
    code_version=CODE_VERSIONS["corpus_manifest"],
)
def corpus_manifest(
    context: dg.AssetExecutionContext, settings: SettingsResource, warehouse: WarehouseResource
) -> dg.MaterializeResult:
    """The shards of the corpus: slices of the sources, registered as partitions.

    Keys are never renumbered or reused. The same sources register nothing new; a changed or removed
    file retires its shards, whose slices are moved aside.
    """
    try:
        loaded, home = settings.load(), settings.home()
        update = update_manifest(
            home.sources,
            configured_sources(loaded),
            held_out_every=loaded.corpus.held_out_every,
            progress=lambda source, records: context.log.info(f"{source}: {records} records"),
        )
        store = warehouse.open()
        for entry in update.retired:
            store.retire_shard(entry.key)
    except EXPECTED_ERRORS as error:
        raise failure_of(error) from error
    active = Manifest.load(home.sources).active_shards
    new = register_shards(context.instance, [entry.key for entry in active])
    for rejected in update.rejected_sources:
        context.log.error(f"{rejected.source.path}: {rejected.error}")
    if update.rejected_sources and not active:
        raise failure_of(update.rejected_sources[0].error)
    shards = pl.DataFrame(
        [
            {
                "shard": entry.key,
                "source": entry.source,
                "records": entry.records,
                "held out": entry.is_held_out,
            }
            for entry in active
        ]
    )
    return dg.MaterializeResult(
        metadata={
            "shards": len(active),
            "new shards": len(update.added),
            "partitions registered": len(new),
            "retired shards": ", ".join(entry.key for entry in update.retired) or "none",
            REJECTED_SOURCES: dg.MetadataValue.json(
                {each.source.path: str(each.error) for each in update.rejected_sources}
            ),
            "records": sum(entry.records for entry in active),
            "shards by source": dg.MetadataValue.md(table_markdown(shards, rows=50)),
        }
    )


@shard_asset(kinds={"polars", "duckdb"}, deps=["corpus_manifest"])
def documents(
    context: dg.AssetExecutionContext, settings: SettingsResource, warehouse: WarehouseResource
) -> dg.MaterializeResult:
    """The texts of a shard; one row = one text, keyed by `document_id`.

    A record that cannot become a text is counted and kept with its reason in `rejected_records`.
    """
    stage = ShardStage.open(context, "documents", settings, warehouse)

    def make_shard(key: str, report: ShardReport) -> None:
        entry = Manifest.load(stage.home.sources).entry(key)
        wanted = Wanted(documents_fingerprint(entry))
        report.slices["documents"] = stage.replace_if_stale(
            key, ALL, lambda: wanted, lambda _: _read(stage, entry)
        )
        rows = stage.warehouse.read_slice("documents", key, ALL)
        rejected = stage.warehouse.read_slice("rejected_records", key, ALL)
        report.counts = {"records": entry.records, "documents": rows.height}
        report.count({"rejected records": rejected.height})
        report.count_reasons("rejected", rejected)
        report.preview = rows.select("text", "title", "published_on", "language", "url")

    return stage.run(make_shard)


def _read(stage: ShardStage, entry: ShardEntry) -> Made:
    """The texts of a shard; what could not become one is stored on the way."""
    rows, rejections = [], []
    for parsed in read_shard(stage.home.sources, entry):
        fields = asdict(parsed)
        if isinstance(parsed, ParsedDocument):
            guess = guess_language(parsed.text)
            rows.append({**fields, "shard": entry.key, "language": guess and guess.language})
        else:
            rejections.append({**fields, "shard": entry.key})
    # Rejections first: documents without them would look complete after a kill.
    stage.warehouse.replace_slice(
        "rejected_records",
        entry.key,
        ALL,
        typed_frame("rejected_records", rejections),
        metadata=fingerprint("documents", of=entry.digest).metadata(),
    )
    return Made(typed_frame("documents", rows))
