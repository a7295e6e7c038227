"""Finds slices that are not as they were written, and moves slices out of the way.

Does not repair rows: a slice put aside is built again by the stage that wrote it.
"""

import shutil
from collections.abc import Collection, Iterable, Iterator
from itertools import count, takewhile
from pathlib import Path

from warehouse.errors import SliceNotFoundError, StorageError
from warehouse.layout import (
    empty_slice_path,
    foreign_files,
    list_slices,
    slice_folder,
)
from warehouse.schema import table_schema, tables
from warehouse.versions import (
    is_intact,
    names_in,
    newest_version,
    newest_versions,
    slice_of,
    versions,
)


def damaged_slices(folder: Path, table_names: Iterable[str] | None = None) -> list[Path]:
    """Returns the slices whose bytes are not those that were written, and foreign files, by path.

    Args:
        folder: Folder of the warehouse.
        table_names: Tables to look at; None is all.
    """
    names = list(tables() if table_names is None else table_names)
    found = foreign_files(folder, names)
    for table in names:
        found += [path for path in files_of(folder, table) if is_damaged(path)]
    return sorted(found)


def files_of(folder: Path, table: str, shards: Collection[str] | None = None) -> list[Path]:
    """Returns the newest versions of a table's slices, that without rows among them.

    Args:
        folder: Folder of the warehouse.
        table: Name of the table.
        shards: Only the slices of these, where the table is cut by shard; by default all.
    """
    empty = empty_slice_path(folder, table)
    keys = None if shards is None or table_schema(table).is_cross_shard else shards
    found = [info.path for info in list_slices(folder, table) if keys is None or info.shard in keys]
    return found if empty is None else [empty, *found]


def set_aside(folder: Path, path: Path) -> Path:
    """Moves one slice out of the warehouse and returns where it went.

    Args:
        folder: Folder of the warehouse.
        path: A slice in it.

    Returns:
        Its new path, below `damaged` beside the warehouse folder.

    Raises:
        SliceNotFoundError: The path is no file of the warehouse.
        StorageError: The file system refused.
    """
    source = path.absolute()
    if not source.exists() or not source.is_relative_to(folder.absolute()):
        raise SliceNotFoundError(
            f"'{path}' is no slice of the warehouse '{folder}'. Give a path that "
            "`damaged_slices` returned."
        )
    relative = source.relative_to(folder.absolute())
    target = _free(folder.parent / "damaged" / relative)
    _move(source, target)
    return target


def retire_shard(folder: Path, shard: str) -> Path | None:
    """Moves all slices of a shard out of the warehouse.

    Args:
        folder: Folder of the warehouse.
        shard: Key of the shard.

    Returns:
        The folder they are in now, `retired/<shard>-<n>` beside the warehouse folder; None where
        the shard has no slices.

    Raises:
        SliceNameError: The key cannot be part of a path.
        StorageError: The file system refused.
    """
    sources = [
        directory
        for directory in (
            slice_folder(folder, table, shard, "x")
            for table, schema in tables().items()
            if not schema.is_cross_shard
        )
        if directory.is_dir() and any(directory.glob("*.parquet"))
    ]
    if not sources:
        return None
    target = next(path for path in _retired_folders(folder, shard) if not path.exists())
    for source in sources:
        _move(source, target / source.relative_to(folder))
    return target


def restore_shard(folder: Path, shard: str) -> int:
    """Moves the slices of a retired shard back, from where `retire_shard` put them.

    A slice that was made anew meanwhile stays as it is, and of several retired ones the last comes
    back. A kill in the middle leaves what the next call moves.

    Args:
        folder: Folder of the warehouse.
        shard: Key of the shard.

    Returns:
        How many slices came back.

    Raises:
        StorageError: The file system refused.
    """
    moved = 0
    aside = list(takewhile(Path.exists, _retired_folders(folder, shard)))
    for source in reversed(aside):
        for directory in sorted(source.glob("*/shard=*")):
            target = folder / directory.relative_to(source)
            for path in newest_versions(versions(directory)):
                if newest_version(target, slice_of(path) or "") is None:
                    _move(path, target / path.name)
                    moved += 1
        shutil.rmtree(source, ignore_errors=True)
    return moved


def retired_shards(folder: Path) -> set[str]:
    """Returns the shards whose slices were moved aside, from where `retire_shard` put them."""
    return {name.rpartition("-")[0] for name in names_in(folder.parent / "retired")}


def _retired_folders(folder: Path, shard: str) -> Iterator[Path]:
    """Where a shard's slices go when it is retired for the first time, the second, and so on."""
    return (folder.parent / "retired" / f"{shard}-{number}" for number in count(1))


def _free(path: Path) -> Path:
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def _move(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
    except OSError as error:
        raise StorageError(
            f"Cannot move '{source}' to '{target}': {error}. Check the permissions and the free "
            "space of the folder, then run the command again."
        ) from error


def is_damaged(path: Path) -> bool:
    """Whether a version cannot be read, or has not the bytes that it was written with."""
    try:
        return not is_intact(path)
    except FileNotFoundError:
        # Swept or moved meanwhile.
        return False
    except OSError:
        return True
