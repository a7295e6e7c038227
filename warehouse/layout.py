"""Paths and names of the files of a warehouse.

    catalogue/<shard>.json              published partitions of a shard (`catalogue.py`)
    catalogue/retired/<shard>.json      the same of a shard that was taken out of the corpus
    <table>/shard=<shard>/<partition>-<version>.parquet    rows; never changed

The version is a random name. A file being written ends in `.tmp`. Files without rows under
`shard=none` let the views of `warehouse.duckdb` exist over tables without rows.
"""

import functools
import json
import os
import re
from pathlib import Path

from toolformer.base.digests import hex_digest
from toolformer.base.whole_files import write_whole
from warehouse.errors import LayoutError, PartitionValidationError
from warehouse.schema import ALL, table_schema, tables

EMPTY_SHARD = "none"
"""Directory key of the files without rows, which no catalogue names."""

LAYOUT_FILE = "layout-version"
CATALOGUE_FOLDER = "catalogue"
RETIRED = "retired"
"""Folder of the catalogues of retired shards, below that of the others."""

_SHARD = rf"(?!{EMPTY_SHARD}$)[a-z0-9-]+"
_PARTITION = r"(?!\.)[A-Za-z0-9._-]+"
_ROUND = re.compile(r"round-(\d+)\.(.+)")
# Raised when catalogues are written or files are named in another way.
_FORM = 6


def check_names(table: str, shard: str, name: str) -> None:
    """Raise unless a partition can have these names.

    Raises:
        UnknownTableError: There is no such table.
        PartitionValidationError: The shard or the name cannot be part of a path.
    """
    pattern, example = (ALL, ALL) if table_schema(table).is_cross_shard else (_SHARD, "shard-00000")
    if not (re.fullmatch(pattern, shard) and re.fullmatch(_PARTITION, name)):
        raise PartitionValidationError(
            f"Partition '{name}' of shard '{shard}' cannot be stored in table '{table}'. Expected "
            f"a shard such as '{example}' and a name of letters, digits, '.', '_' and '-' that "
            "does not begin with '.'. Replace the other characters, for example '/' by '-'."
        )


def file_path(table: str, shard: str, name: str, version: str) -> str:
    """Return the path of a version of a partition, below the warehouse."""
    return f"{table}/shard={shard}/{name}-{version}.parquet"


def catalogue_file(folder: Path, shard: str, *, is_retired: bool = False) -> str:
    """Return the path of the catalogue of a shard, as text (a `Path` takes as long as reading)."""
    below = f"{CATALOGUE_FOLDER}/{RETIRED}" if is_retired else CATALOGUE_FOLDER
    return f"{folder}/{below}/{shard}.json"


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder; none if there is no folder."""
    try:
        return os.listdir(folder)  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []


def split_round(name: str) -> tuple[int, str]:
    """Return the sampling round of a partition name and the rest of it.

    Example:
        >>> split_round("Calculator"), split_round("round-2.Calculator")
        ((1, 'Calculator'), (2, 'Calculator'))
    """
    match = _ROUND.fullmatch(name)
    return (int(match[1]), match[2]) if match else (1, name)


def name_in_round(round_number: int, name: str) -> str:
    """Return the name of a partition in a sampling round; the inverse of `split_round`."""
    return name if round_number == 1 else f"round-{round_number}.{name}"


@functools.cache
def layout_version() -> str:
    """Return the version of this layout: rows with other columns cannot be read together."""
    columns = {
        name: [(column.name, column.type, column.is_required) for column in schema.columns]
        for name, schema in tables().items()
    }
    return f"{_FORM}-{hex_digest(json.dumps(columns), size=8)}"


def check_layout(folder: Path) -> None:
    """Refuse a warehouse of another layout; one without rows may have no version yet.

    Raises:
        LayoutError: Its version differs, or it has rows and no version.
    """
    stored = folder / LAYOUT_FILE
    version = stored.read_text(errors="replace").strip() if stored.exists() else "none"
    if version == layout_version():
        return
    files = folder.glob("*/shard=*/*.parquet")
    if version != "none" or any(file.parent.name != f"shard={EMPTY_SHARD}" for file in files):
        raise LayoutError(
            f"The warehouse '{folder}' has layout version {version}, expected {layout_version()}: "
            "another state of toolformer wrote it, with other columns or catalogues. Carry over "
            "what no build can make again: copy toolformer.yaml, sources.json, the files of your "
            "sources and inbox, and labels.jsonl, as far as they exist, into an empty folder. Then "
            "run `TOOLFORMER_HOME=FOLDER toolformer build`."
        )


def record_layout(folder: Path) -> None:
    """Write the version into a warehouse that has none yet; see `check_layout`."""
    check_layout(folder)
    if not (folder / LAYOUT_FILE).exists():
        write_whole(folder / LAYOUT_FILE, f"{layout_version()}\n")
