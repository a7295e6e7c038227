"""Defines the paths and names of files in a warehouse.

    catalogue/<shard>.json              published partitions of a shard (`catalogue.py`)
    catalogue/retired/<shard>.json      catalogue of a shard that was removed from the corpus
    <table>/shard=<shard>/<partition>-<version>.parquet    rows; never changed

The version is a random name. A file that is being written ends in `.tmp`. Files without rows under
`shard=none` give the views of `warehouse.duckdb` their columns if a table has no rows.
"""

import functools
import json
import os
import re
from pathlib import Path

from toolformer.base.atomic_files import write_atomically
from toolformer.base.digests import hex_digest
from warehouse.errors import LayoutError, PartitionValidationError
from warehouse.schema import ALL, table_schema, tables

EMPTY_SHARD = "none"
"""Shard key of the files without rows, which no catalogue names."""

LAYOUT_FILE = "layout-version"
CATALOGUE_FOLDER = "catalogue"
RETIRED = "retired"

_SHARD = rf"(?!{EMPTY_SHARD}$)[a-z0-9-]+"
_PARTITION = r"(?!\.)[A-Za-z0-9._-]+"
_ROUND = re.compile(r"round-(\d+)\.(.+)")
# Increment when the format of catalogues or the names of files change.
_FORM = 6


def check_names(table: str, shard: str, name: str) -> None:
    """Raise PartitionValidationError if the shard or the name cannot be part of a path."""
    pattern, example = (ALL, ALL) if table_schema(table).is_cross_shard else (_SHARD, "shard-00000")
    if not (re.fullmatch(pattern, shard) and re.fullmatch(_PARTITION, name)):
        raise PartitionValidationError(
            f"Partition '{name}' of shard '{shard}' cannot be stored in table '{table}'. Expected "
            f"a shard such as '{example}' and a name of letters, digits, '.', '_' and '-' that "
            "does not begin with '.'. Replace the other characters, for example '/' by '-'."
        )


def file_path(table: str, shard: str, name: str, version: str) -> str:
    return f"{table}/shard={shard}/{name}-{version}.parquet"


def catalogue_file(folder: Path, shard: str, *, is_retired: bool = False) -> str:
    """Return the path of a catalogue as text, since making a `Path` takes as long as a read."""
    subfolder = f"{CATALOGUE_FOLDER}/{RETIRED}" if is_retired else CATALOGUE_FOLDER
    return f"{folder}/{subfolder}/{shard}.json"


def names_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []


def split_round(name: str) -> tuple[int, str]:
    """Split a partition name such as `round-2.Calculator` into round and rest; default round 1.

    Example:
        >>> split_round("Calculator"), split_round("round-2.Calculator")
        ((1, 'Calculator'), (2, 'Calculator'))
    """
    match = _ROUND.fullmatch(name)
    return (int(match[1]), match[2]) if match else (1, name)


def name_in_round(round_number: int, name: str) -> str:
    return name if round_number == 1 else f"round-{round_number}.{name}"


@functools.cache
def layout_version() -> str:
    """Return a version that changes with file names, the catalogue format and tables' columns."""
    columns = {
        name: [(column.name, column.type, column.is_required) for column in schema.columns]
        for name, schema in tables().items()
    }
    return f"{_FORM}-{hex_digest(json.dumps(columns), size=8)}"


def check_layout(folder: Path) -> None:
    """Raise LayoutError if the warehouse has another layout, or has rows but no version."""
    stored = folder / LAYOUT_FILE
    version = stored.read_text(errors="replace").strip() if stored.exists() else "none"
    if version == layout_version():
        return
    files = folder.glob("*/shard=*/*.parquet")
    if version != "none" or any(file.parent.name != f"shard={EMPTY_SHARD}" for file in files):
        raise LayoutError(
            f"The warehouse '{folder}' has layout version {version}. Expected {layout_version()}: "
            "another version of toolformer wrote it, with other columns or catalogues. Copy what "
            "no build can make again to an empty folder: toolformer.yaml, sources.json, the files "
            "of your sources and inbox, and labels.jsonl, if they exist. Then run "
            "`TOOLFORMER_HOME=FOLDER toolformer build`."
        )


def record_layout(folder: Path) -> None:
    check_layout(folder)
    if not (folder / LAYOUT_FILE).exists():
        write_atomically(folder / LAYOUT_FILE, f"{layout_version()}\n")
