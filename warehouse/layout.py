"""Where the files of a warehouse lie and how they may be named.

    catalogue/<shard>.json              what is published of a shard (`catalogue.py`)
    catalogue/retired/<shard>.json      the same of a shard that was taken out of the corpus
    <table>/shard=<shard>/<partition>-<digest>.parquet    rows; never changed once it is there

The digest is that of the file's bytes, so a bit that was flipped on the disk is noticed before
anything is decoded. A file being written ends in `.tmp`. Other files are ignored.
Files without rows under `shard=none` let views of DuckDB files exist over tables without rows.
"""

import functools
import json
import os
import re
from pathlib import Path

from toolformer.base.digests import digest_of_bytes, hex_digest, hex_digest_of_file
from toolformer.base.whole_files import flush, write_whole
from warehouse.errors import LayoutError, PartitionNameError
from warehouse.schema import ALL, sql_texts, table_schema, tables

EMPTY_SHARD, EMPTY = "none", "empty"
"""Directory key of the files without rows, which no catalogue names, and the name of each."""

LAYOUT_FILE = "layout-version"
CATALOGUE_FOLDER = "catalogue"
RETIRED = "retired"
"""Folder of the catalogues of retired shards, and beside the warehouse of their files."""

_SHARD = re.compile(r"[a-z0-9-]+")
_PARTITION = re.compile(r"[A-Za-z0-9._-]+")
_ROUND = re.compile(r"round-(\d+)\.(.+)")
_FILE = re.compile(r"(?P<name>.+)-(?P<digest>[0-9a-f]{16})\.parquet")
_COMMENT = re.compile(r"--.*")
_DIGEST_BYTES = 8
# Another one where files are named, or catalogues written, in another way.
_FORM = 5


def partition_folder(folder: Path, table: str, shard: str, name: str) -> Path:
    """Returns the folder of a partition's file, whether or not there is one.

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
    """Returns the shard key of a file by its folder; None where that is none of a shard."""
    prefix, _, key = path.parent.name.partition("=")
    return key if prefix == "shard" and _SHARD.fullmatch(key) else None


def partition_of(path: Path) -> str | None:
    """Returns the partition that a file is of; None where it is of none.

    Example:
        >>> partition_of(Path("QA-0123456789abcdef.parquet"))
        'QA'
    """
    match = _FILE.fullmatch(path.name)
    return match["name"] if match else None


def catalogue_file(folder: Path, shard: str) -> Path:
    """Returns where the catalogue of a shard lies."""
    # A second join takes as long as reading it.
    return folder / f"{CATALOGUE_FOLDER}/{shard}.json"


def retired_catalogue_file(folder: Path, shard: str) -> Path:
    """Returns where the catalogue of a shard lies that was taken out of the corpus."""
    return folder / CATALOGUE_FOLDER / RETIRED / f"{shard}.json"


def names_in(folder: Path) -> list[str]:
    """Returns the names in a folder, none where there is no folder."""
    try:
        return os.listdir(folder)  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []


def split_round(name: str) -> tuple[int, str]:
    """Returns the sampling round of a partition name and the rest of it.

    Example:
        >>> split_round("Calculator"), split_round("round-2.Calculator")
        ((1, 'Calculator'), (2, 'Calculator'))
    """
    match = _ROUND.fullmatch(name)
    return (int(match[1]), match[2]) if match else (1, name)


def name_in_round(round_number: int, name: str) -> str:
    """Returns the name that a partition has in a sampling round; `split_round` takes it apart.

    Example:
        >>> name_in_round(1, "Calculator"), name_in_round(2, "Calculator")
        ('Calculator', 'round-2.Calculator')
    """
    return name if round_number == 1 else f"round-{round_number}.{name}"


def put_in_place(temporary: Path, folder: Path, name: str) -> Path:
    """Gives the finished file of a partition its place, for good; returns that.

    Raises:
        OSError: The file system refused.
    """
    digest = hex_digest_of_file(temporary, size=_DIGEST_BYTES)
    path = folder / f"{name}-{digest}.parquet"
    flush(temporary)
    temporary.rename(path)
    flush(folder)
    return path


def is_intact(path: Path, file_name: str | None = None) -> bool:
    """Whether a file has the bytes that were written under this name, by default its own.

    Raises:
        FileNotFoundError: It is gone.
        OSError: It cannot be read.
    """
    return _has_digest(file_name or path.name, hex_digest_of_file(path, size=_DIGEST_BYTES))


def has_content(path: Path, content: bytes) -> bool:
    """Whether a file was written with these bytes, by its name."""
    return _has_digest(path.name, digest_of_bytes(content, size=_DIGEST_BYTES).hex())


def is_damaged(path: Path) -> bool:
    """Whether a file cannot be read, or has not the bytes that it was written with."""
    try:
        return not is_intact(path)
    except FileNotFoundError:
        # Swept or moved meanwhile.
        return False
    except OSError:
        return True


def _has_digest(file_name: str, digest: str) -> bool:
    match = _FILE.fullmatch(file_name)
    return match is not None and match["digest"] == digest


@functools.cache
def layout_version() -> str:
    """Returns what tells this layout from others.

    It has a digest of all columns and counts: rows of other columns could not be read beside those
    that are written now, whether an older state of this project wrote them or another machine does.
    """
    columns = {
        name: [(column.name, column.type, column.is_required) for column in schema.columns]
        for name, schema in tables().items()
    }
    counts = {name: _COMMENT.sub("", text) for name, text in sql_texts("counts").items()}
    return f"{_FORM}-{hex_digest(json.dumps([columns, counts]), size=_DIGEST_BYTES)}"


def check_layout(folder: Path) -> None:
    """Refuses a warehouse of another layout; one without partitions may have none yet.

    Raises:
        LayoutError: It has another version, or partitions and no version.
    """
    file = folder / LAYOUT_FILE
    version = file.read_text(errors="replace").strip() if file.exists() else "none"
    if version == layout_version():
        return
    partitions = (
        path for path in folder.glob("*/shard=*/*.parquet") if shard_of(path) != EMPTY_SHARD
    )
    if version != "none" or any(partitions):
        raise layout_error(folder, version)


def layout_error(place: Path | str, version: str) -> LayoutError:
    """Returns the error for partitions of another layout."""
    return LayoutError(
        f"The warehouse '{place}' has layout version {version}, expected {layout_version()}: "
        "its partitions cannot be read by this state of toolformer, which has other columns or "
        "names files otherwise. Begin anew: copy toolformer.yaml, sources.json and labels.jsonl, "
        "as far as they are there, into an empty folder, then run `TOOLFORMER_HOME=FOLDER "
        "toolformer build` (with an object store, set TOOLFORMER_STORE to an empty prefix too)."
    )


def record_layout(folder: Path) -> None:
    """Writes the version into a warehouse that has none yet; see `check_layout`."""
    check_layout(folder)
    file = folder / LAYOUT_FILE
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(file, f"{layout_version()}\n")
