"""Slices as they were stored before they had versions, `<name>.parquet`, made versions once.

Does not read rows: a file counts as ours by the metadata that is written with every slice.
"""

from pathlib import Path

from warehouse.layout import EMPTY_SHARD, files_without_version
from warehouse.slices import is_of_this_project
from warehouse.versions import adopt


def adopt_slices(folder: Path) -> None:
    """Makes versions of all slices of an older home.

    Args:
        folder: Folder of the warehouse.

    Raises:
        OSError: The file system refused; what was adopted so far stays so.
    """
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
