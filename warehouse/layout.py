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
from warehouse.errors import LayoutError, PartitionNameError
from warehouse.schema import ALL, table_schema, tables

EMPTY_SHARD, EMPTY = "none", "empty"
"""Directory key of the files without rows, which no catalogue names, and the name of each."""

LAYOUT_FILE = "layout-version"
CATALOGUE_FOLDER = "catalogue"
RETIRED = "retired"
"""Folder of the catalogues of retired shards, below that of the others."""

_SHARD = re.compile(r"[a-z0-9-]+")
_PARTITION = re.compile(r"[A-Za-z0-9._-]+")
_ROUND = re.compile(r"round-(\d+)\.(.+)")
_FILE = re.compile(r"(?P<name>.+)-[0-9a-f]{16}\.parquet")
# Raised when catalogues are written or files are named in another way.
_FORM = 6


def partition_folder(folder: Path, table: str, shard: str, name: str) -> Path:
    """Return the folder of a partition's file, whether or not there is one.

    Raises:
        UnknownTableError: There is no such table.
        PartitionNameError: The shard or the name cannot be part of a path.
    """
    schema = table_schema(table)
    if not _SHARD.fullmatch(shard) or shard == EMPTY_SHARD:
        raise PartitionNameError(
            f"'{shard}' is no shard key: expected lower-case letters, digits and hyphens, "
            f"such as 'shard-00000', and not '{EMPTY_SHARD}'. Rename the shard."
        )
    if not _PARTITION.fullmatch(name) or name.startswith("."):
        raise PartitionNameError(
            f"'{name}' is no partition name: expected letters, digits, '.', '_' and '-', and no "
            "'.' in front. Replace the other characters, for example '/' by '-'."
        )
    if schema.is_cross_shard and shard != ALL:
        raise PartitionNameError(
            f"Table '{table}' does not belong to one shard, but shard '{shard}' was given: "
            f"expected '{ALL}'."
        )
    return folder / schema.name / f"shard={shard}"


def shard_of(path: Path) -> str | None:
    """Return the shard key in the folder's name of a file; None if there is none."""
    prefix, _, key = path.parent.name.partition("=")
    return key if prefix == "shard" and _SHARD.fullmatch(key) else None


def partition_of(path: Path) -> str | None:
    """Return the name of the partition that a file belongs to; None if it has another name.

    Example:
        >>> partition_of(Path("QA-0123456789abcdef.parquet"))
        'QA'
    """
    match = _FILE.fullmatch(path.name)
    return match["name"] if match else None


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
    """Return the name of a partition in a sampling round; the inverse of `split_round`.

    Example:
        >>> name_in_round(1, "Calculator"), name_in_round(2, "Calculator")
        ('Calculator', 'round-2.Calculator')
    """
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
    """Refuse a warehouse of another layout; one without partitions may have no version yet.

    Raises:
        LayoutError: Its version differs, or it has partitions and no version.
    """
    file = folder / LAYOUT_FILE
    version = file.read_text(errors="replace").strip() if file.exists() else "none"
    if version == layout_version():
        return
    partitions = (
        path for path in folder.glob("*/shard=*/*.parquet") if shard_of(path) != EMPTY_SHARD
    )
    if version != "none" or any(partitions):
        raise LayoutError(
            f"The warehouse '{folder}' has layout version {version}, expected {layout_version()}: "
            "another state of toolformer wrote it, with other columns or catalogues. Carry over "
            "what no build can make again: copy toolformer.yaml, sources.json, the files of your "
            "sources and inbox, and labels.jsonl, as far as they exist, into an empty folder. Then "
            "run `TOOLFORMER_HOME=FOLDER toolformer build`."
        )


def record_layout(folder: Path) -> None:
    """Write the version into a warehouse that has none yet.

    Raises:
        LayoutError: See `check_layout`.
    """
    check_layout(folder)
    file = folder / LAYOUT_FILE
    if not file.exists():
        write_whole(file, f"{layout_version()}\n")
