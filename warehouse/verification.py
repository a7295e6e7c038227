"""Compares versions of slices with their digests before their rows are read, at most once a day.

Reading a gigabyte to be sure that it is as it was written takes longer than most statements. What
was found intact is remembered beside the slices, with what the file system says of the file.
Does not repair; `damage.py` moves damaged slices away.
"""

import functools
import json
import time
from collections.abc import Iterable
from pathlib import Path

from toolformer.ground.whole_files import write_whole
from warehouse.versions import is_intact

_RECORD = ".intact.json"
_HOLDS_SECONDS = 24 * 3600.0
# Of what is less than this, the next process reads it again as fast as it would find it recorded.
_WORTH_RECORDING = 10_000_000

# Of each version: inode, size, time of change, and when it was read.
_Intact = dict[str, tuple[int, int, int, float]]


def damaged_files(folder: Path, paths: Iterable[Path]) -> list[Path]:
    """Returns the versions among these that are not as they were written.

    Each is read once a day, or when the file system tells of a change. One that is gone is not
    among them.

    Args:
        folder: Folder of the warehouse.
        paths: Versions in it.
    """
    record, now = _record_of(folder), time.time()
    damaged, bytes_read = [], 0
    for path in paths:
        name = str(path.relative_to(folder))
        try:
            status = path.stat()
            state = (status.st_ino, status.st_size, status.st_mtime_ns)
            *known, read_at = record.get(name, (0.0,))
            if tuple(known) == state and 0 <= now - read_at < _HOLDS_SECONDS:
                continue
            if is_intact(path):
                record[name] = (*state, now)
                bytes_read += status.st_size
            else:
                damaged.append(path)
        except FileNotFoundError:
            # Swept or moved meanwhile.
            continue
        except OSError:
            damaged.append(path)
    if bytes_read >= _WORTH_RECORDING:
        _store(folder, record)
    return damaged


@functools.lru_cache(maxsize=8)
def _record_of(folder: Path) -> _Intact:
    """What was found intact, of this process and of those before it."""
    try:
        stored: dict[str, list[float]] = json.loads((folder / _RECORD).read_bytes())
        return {
            name: (int(inode), int(size), int(changed), read_at)
            for name, (inode, size, changed, read_at) in stored.items()
        }
    # Lost or changed by somebody: all are read again.
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _store(folder: Path, record: _Intact) -> None:
    there = {name: of_file for name, of_file in record.items() if (folder / name).exists()}
    try:
        write_whole(folder / _RECORD, json.dumps(there), is_durable=False)
    except OSError:
        # On a full disk, or one that may not be written, statements still read.
        return
