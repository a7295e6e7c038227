"""Writes the output folder of `toolformer export dataset`: Parquet files and a dataset card."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.base.digests import hex_digest, hex_digest_of_file
from toolformer.exports.dataset_card import (
    CARD_FILE,
    KEPT_CALLS,
    TEXTS,
    Configuration,
    data_file,
    dataset_card,
)
from toolformer.home.wiring.model_cards import source_licences
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import Settings
from warehouse.schema import tables
from warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import pyarrow as pa

_QUERIES = {TEXTS: "exported_texts", KEPT_CALLS: "exported_kept_calls"}
_TABLES = (TEXTS, "filtered_calls", "candidate_calls", "executed_calls")
# Descriptions of the columns that the export adds; no table of the warehouse has them.
_ADDED_COLUMN_DESCRIPTIONS = {
    "split": "Split of the training set that contains the text: train or development; none if the "
    "training set lacks the text or does not exist yet.",
    "is_merged": "Whether the call is in `augmented_texts`; false if another kept call took its "
    "position.",
}
_PUBLISHED_SECTIONS = ("sampling", "scoring")
_PUBLISHED_TOOL_SETTINGS = ("sampling_threshold", "positions_per_text", "calls_per_position")
_ROWS_PER_FILE = 1_000_000
_ROWS_PER_GROUP = 16_384


def write_dataset_folder(
    folder: Path, warehouse: Warehouse, work: Workspace, round_number: int
) -> dict[str, int]:
    """Write the augmented texts and kept calls of a round; return row counts by configuration."""
    configurations: dict[str, Configuration] = {}
    for name, query in _QUERIES.items():
        with warehouse.stream(query, round=round_number) as batches:
            columns = {column: _column_description(column) for column in batches.schema.names}
            data_folder = (folder / data_file(name)).parent
            configurations[name] = _write_parquet(batches, data_folder, columns)
    tools = warehouse.ask("exported_tools", round=round_number).to_dicts()
    card = dataset_card(
        round_number=round_number,
        annotators=warehouse.ask("annotators", round=round_number).rows(),
        writers=dict(warehouse.ask("call_writers", round=round_number).iter_rows()),
        tools=tools,
        settings=_published_settings(work.settings, [row["tool"] for row in tools]),
        sources=source_licences(work),
        configurations=configurations,
    )
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    return {name: each.rows for name, each in configurations.items()}


def _write_parquet(
    batches: "pa.RecordBatchReader", folder: Path, columns: Mapping[str, str]
) -> Configuration:
    from pyarrow import dataset

    counts: list[int] = []
    parquet_format = dataset.ParquetFileFormat()
    dataset.write_dataset(
        batches,
        folder,
        format=parquet_format,
        file_options=parquet_format.make_write_options(compression="zstd"),
        basename_template="part-{i}.parquet",
        preserve_order=True,
        max_rows_per_file=_ROWS_PER_FILE,
        min_rows_per_group=_ROWS_PER_GROUP,
        max_rows_per_group=_ROWS_PER_GROUP,
        file_visitor=lambda written: counts.append(written.metadata.num_rows),
    )
    files = sorted(folder.glob("*.parquet"))
    return Configuration(
        rows=sum(counts),
        size=sum(file.stat().st_size for file in files),
        digest=hex_digest(*map(hex_digest_of_file, files)),
        columns=columns,
    )


def _column_description(column: str) -> str:
    if column in _ADDED_COLUMN_DESCRIPTIONS:
        return _ADDED_COLUMN_DESCRIPTIONS[column]
    table_columns = (each for name in _TABLES for each in tables()[name].columns)
    return next(each.description for each in table_columns if each.name == column)


def _published_settings(settings: Settings, tools: list[str]) -> dict[str, object]:
    """Return settings of sampling and scoring, without paths and options that may be private."""
    published: dict[str, object] = {
        f"{section}.{name}": value
        for section in _PUBLISHED_SECTIONS
        for name, value in getattr(settings, section).model_dump(mode="json").items()
        if name != "annotator"
    }
    for tool in set(tools) & set(settings.tools.names):
        tool_settings = settings.tools.of(tool)
        published |= {
            f"tools.{tool}.{name}": getattr(tool_settings, name)
            for name in _PUBLISHED_TOOL_SETTINGS
        }
    return published
