"""Slices of earlier releases, written anew once as this release writes them.

Stored before they had versions, they are `<name>.parquet` and become versions; before their rows
were counted, or with fewer columns, they are read, completed and published as a new version with
the same metadata. Does not change what is stored in a row.
"""

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.ground.whole_files import write_whole
from warehouse.counting import layout_of
from warehouse.errors import DamagedSliceError, SliceNotFoundError, SliceValidationError
from warehouse.layout import EMPTY_SHARD, SliceInfo, files_without_version, list_slices
from warehouse.schema import tables
from warehouse.slices import is_of_this_project, read_slice, renew_slice, stored_layout
from warehouse.versions import adopt

if TYPE_CHECKING:
    import polars as pl

_log = logging.getLogger(__name__)
# What all slices of a folder are known to have been written by.
_STAMP = ".layout"
_OF_CANDIDATE = ["document_id", "window", "position", "proposed"]


def adopt_slices(folder: Path, *, again: bool = False) -> None:
    """Makes slices of an older home those of this release; does nothing where they are.

    A slice that cannot be read, or breaks a rule, stays as it is: a statement that needs it names
    it.

    Args:
        folder: Folder of the warehouse.
        again: Look at every slice, even if all were of this release before.

    Raises:
        StorageError: The disk refused a write; what was adopted so far stays so.
        OSError: The file system refused.
    """
    if not folder.is_dir():
        return
    _version(folder)
    stamp = folder / _STAMP
    layout = hashlib.sha256("".join(map(layout_of, tables())).encode()).hexdigest()
    if not again and stamp.exists() and stamp.read_bytes() == layout.encode():
        return
    older = [info for name in tables() for info in list_slices(folder, name) if _is_older(info)]
    if older:
        _log.warning(
            f"Counting the rows of {len(older):,} slices that an earlier release wrote, once. "
            "Nothing in their rows changes."
        )
    for info in older:
        _renew(folder, info)
    if older or not again:
        write_whole(stamp, layout, is_durable=False)


def _renew(folder: Path, info: SliceInfo) -> None:
    try:
        rows = _completed(folder, info, read_slice(folder, info.table, info.shard, info.name))
        renew_slice(folder, info.table, info.shard, info.name, rows)
    except (DamagedSliceError, SliceNotFoundError, SliceValidationError) as error:
        _log.warning(f"'{info.path}' stays as it is: {error}")


def _version(folder: Path) -> None:
    for path in files_without_version(folder):
        if not is_of_this_project(path):
            # Damaged or a stranger's: nobody reads it, and `toolformer doctor` names it.
            continue
        try:
            if path.parent.name == f"shard={EMPTY_SHARD}":
                path.unlink()
            else:
                adopt(path)
        except FileNotFoundError:
            # Another process adopts them too.
            continue


def _is_older(info: SliceInfo) -> bool:
    try:
        return stored_layout(info.path) != layout_of(info.table)
    except (DamagedSliceError, OSError):
        return False


def _completed(folder: Path, info: SliceInfo, rows: "pl.DataFrame") -> "pl.DataFrame":
    """Rows with what earlier releases did not store beside them, where it stands elsewhere."""
    if info.table != "filtered_calls" or not rows["document_id"].is_null().all():
        return rows
    try:
        candidates = read_slice(folder, "candidate_calls", info.shard, info.name)
    except SliceNotFoundError:
        return rows
    return rows.drop(_OF_CANDIDATE).join(
        candidates.select("call_id", *_OF_CANDIDATE),
        on="call_id",
        how="left",
        maintain_order="left",
    )
