"""The texts of a shard (paper §4.1)."""

from dataclasses import asdict

from assets.outputs import Made
from assets.shard_report import ShardReport, ShardRows
from assets.shard_run import PartitionRun
from assets.shard_texts import typed_frame
from assets.stage import PER_SHARD, Part, Partition, ShardStage
from dagster_project.shared_files import bring
from toolformer.sources.manifest import read_shard, slice_path
from toolformer.sources.records import ParsedDocument
from tools.translation.identification import guess_language


def read_texts(work: PartitionRun) -> Made:
    """The texts of a shard; one row = one text, keyed by `document_id`.

    A record that cannot become a text is counted and kept with its reason in `rejected_records`.
    """
    home, entry = work.run.home, work.partition.entry
    bring(home, slice_path(home.sources, entry.key))
    rows, rejections = [], []
    for parsed in read_shard(home.sources, entry):
        fields = asdict(parsed)
        if isinstance(parsed, ParsedDocument):
            guess = guess_language(parsed.text)
            rows.append({**fields, "shard": entry.key, "language": guess and guess.language})
        else:
            rejections.append({**fields, "shard": entry.key})
    return Made(
        typed_frame("documents", rows),
        beside={"rejected_records": typed_frame("rejected_records", rejections)},
    )


def report_texts(rows: ShardRows, report: ShardReport) -> None:
    """How many records of a shard became texts, and why others did not."""
    texts, rejected = rows.of("documents"), rows.of("rejected_records")
    report.count({"records": rows.entry.records, "documents": texts.height})
    report.count({"rejected records": rejected.height})
    report.count_reasons("rejected", rejected)
    report.preview = texts.select("text", "title", "published_on", "language", "url")


def _raw_slice(partition: Partition) -> str:
    return partition.entry.digest


DOCUMENTS = ShardStage(
    name="documents",
    version="1",
    kinds=("polars", "duckdb"),
    per=PER_SHARD,
    beside=("rejected_records",),
    parts=(Part("raw_slice", _raw_slice, ("corpus.sources", "corpus.shard_size")),),
    compute=read_texts,
    report=report_texts,
)
