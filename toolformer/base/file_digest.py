"""The digest of all bytes of a file, kept while nothing has touched the file.

    kept:  {"state": inode, size, time of change, time of the last touch; "content": digest}

Whoever edits a file and sets its size and time of change back cannot set back the time that its
inode was touched (ctime), and who puts another file in its place gives it another inode.
"""

import hashlib
import json
import logging
import os
import time
from pathlib import Path

from toolformer.base.digests import digest_of_bytes
from toolformer.base.named_files import check_regular
from toolformer.base.sealed import sealed, unsealed
from toolformer.base.whole_files import write_whole

_LOGGER = logging.getLogger(__name__)
# A file that was touched less long ago may be touched again within the same tick of its clock.
_SETTLED_SECONDS = 2
# A smaller one is read again by each process, in a tenth of a second.
_KEPT_BYTES = 2**27
_TOLD_BYTES = 2**30
_kept: dict[Path, dict[str, str]] = {}
_folders: list[Path] = []


def keep_file_digests_in(folder: Path) -> None:
    """Keep digests in a folder of this machine from now on, and not in this process alone."""
    _folders[:] = [folder]


def file_digest(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    check_regular(file)
    path = file.resolve()
    known = {"state": _state(path)}
    kept = _kept.get(path) or _read(path)
    if kept.get("state") == known["state"]:
        return kept["content"]
    if (size := path.stat().st_size) > _TOLD_BYTES:
        _LOGGER.info("reading %s once, to tell it from others: %.1f GB", path, size / 1e9)
    with path.open("rb") as stream:
        known["content"] = hashlib.file_digest(stream, "sha256").hexdigest()
    is_settled = time.time() - path.stat().st_ctime > _SETTLED_SECONDS
    if is_settled and known["state"] == _state(path):
        _kept[path] = known
        for folder in _folders if size >= _KEPT_BYTES else ():
            try:
                write_whole(_place(folder, path), json.dumps(sealed(known)), is_durable=False)
            except OSError as error:
                _LOGGER.debug("the digest of %s is not kept: %s", path, error)
    return known["content"]


def _state(path: Path) -> str:
    status = path.stat()
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _read(path: Path) -> dict[str, str]:
    """What an earlier process kept; nothing where that is damaged."""
    for folder in _folders:
        try:
            return unsealed(json.loads(_place(folder, path).read_bytes()), ("state", "content"))
        except (OSError, ValueError):
            continue
    return {}


def _place(folder: Path, path: Path) -> Path:
    # Names of files need not be text.
    return folder / digest_of_bytes(os.fsencode(path)).hex()
