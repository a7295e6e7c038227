"""Writes the folder of `toolformer export dataset`: Parquet files and a card."""

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
# Descriptions of columns that exist in no table.
_OWN_MEANINGS = {
    "split": "Part of the training set that the text is in: train or development. Null if the text "
    "is not in it, or no training set exists yet.",
    "is_merged": "Whether the call is in `augmented_texts`. A call that lost its position to "
    "another call is not.",
}
_SHOWN_SECTIONS = ("sampling", "scoring")
_SHOWN_OF_TOOLS = ("sampling_threshold", "positions_per_text", "calls_per_position")
_ROWS_PER_FILE = 1_000_000
_ROWS_PER_GROUP = 16_384


def write_dataset_folder(
    folder: Path, warehouse: Warehouse, work: Workspace, round_number: int
) -> dict[str, int]:
    """Write C* and the kept calls of a round to an empty folder; return row counts by part."""
    configurations: dict[str, Configuration] = {}
    for name, query in _QUERIES.items():
        with warehouse.stream(query, round=round_number) as batches:
            columns = {column: _meaning(column) for column in batches.schema.names}
            folder_of_data = (folder / data_file(name)).parent
            configurations[name] = _write_parquet(batches, folder_of_data, columns)
    tools = warehouse.ask("exported_tools", round=round_number).to_dicts()
    card = dataset_card(
        round_number=round_number,
        annotators=warehouse.ask("annotators", round=round_number).rows(),
        writers=dict(warehouse.ask("call_writers", round=round_number).iter_rows()),
        tools=tools,
        settings=_shown(work.settings, [row["tool"] for row in tools]),
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
    form = dataset.ParquetFileFormat()
    dataset.write_dataset(
        batches,
        folder,
        format=form,
        file_options=form.make_write_options(compression="zstd"),
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


def _meaning(column: str) -> str:
    if column in _OWN_MEANINGS:
        return _OWN_MEANINGS[column]
    columns = (known for name in _TABLES for known in tables()[name].columns)
    return next(known.description for known in columns if known.name == column)


def _shown(settings: Settings, tools: list[str]) -> dict[str, object]:
    """Return the settings that decided which calls are kept, without private paths and options."""
    shown: dict[str, object] = {
        f"{section}.{name}": value
        for section in _SHOWN_SECTIONS
        for name, value in getattr(settings, section).model_dump(mode="json").items()
        if name != "annotator"
    }
    for tool in set(tools) & set(settings.tools.names):
        tool_settings = settings.tools.of(tool)
        shown |= {f"tools.{tool}.{name}": getattr(tool_settings, name) for name in _SHOWN_OF_TOOLS}
    return shown
