"""Digests of all files of a folder, kept in a file `digests` among them.

Its name has no suffix: JSON files are part of what a model is (`tools.model_identity`), and a model
that gets digests later has to stay the same model.
"""

import json
from pathlib import Path

from toolformer.base.beside_models import BESIDE_MODELS
from toolformer.base.digests import hex_digest, hex_digest_of_file
from toolformer.base.whole_files import write_whole

DIGESTS_FILE = "digests"


def keep_digests(folder: Path) -> None:
    """Write down size and digest of all files of a folder.

    Args:
        folder: its hidden files do not count, nor what is no part of a model.

    Raises:
        OSError: something cannot be read, or the file cannot be written.
    """
    files = {
        name: [path.stat().st_size, hex_digest_of_file(path)]
        for path in sorted(folder.rglob("*"))
        if not (name := path.relative_to(folder).as_posix()).startswith(".")
        and "/." not in name
        and name not in (DIGESTS_FILE, *BESIDE_MODELS)
        and path.is_file()
    }
    # With a digest of its own, so that damage to it is not taken for damage to the files.
    content = {"digest": hex_digest(json.dumps(files)), "files": files}
    write_whole(folder / DIGESTS_FILE, json.dumps(content, indent=1) + "\n")


def damaged_files(folder: Path, *, max_bytes: int | None = None) -> dict[str, str] | None:
    """Find the files that are not as they were when their digests were kept.

    Args:
        max_bytes: so much is read, of the smallest files; of the others names and sizes are
            compared. None reads all files, 0 none.

    Returns:
        What is wrong, by name; where the digests themselves are damaged, only that. None where no
        digests are kept.

    Raises:
        OSError: a file cannot be read.
    """
    file = folder / DIGESTS_FILE
    try:
        content = json.loads(file.read_bytes())
        files = {name: (int(size), digest) for name, (size, digest) in content["files"].items()}
        is_whole = content["digest"] == hex_digest(json.dumps(content["files"]))
    except FileNotFoundError:
        return None
    except (AttributeError, LookupError, TypeError, ValueError):
        files, is_whole = {}, False
    if not is_whole:
        return {file.name: "is damaged itself"}
    damaged, read = {}, 0
    for name, (size, digest) in sorted(files.items(), key=lambda file: file[1][0]):
        path = folder / name
        read += size
        if not path.is_file():
            damaged[name] = "is missing"
        elif (bytes_now := path.stat().st_size) != size:
            damaged[name] = f"has {bytes_now:,} bytes instead of {size:,}"
        elif (max_bytes is None or read <= max_bytes) and hex_digest_of_file(path) != digest:
            damaged[name] = "has other content than when it was written"
    return damaged


def described(damaged: dict[str, str], max_names: int = 5) -> str:
    """What is wrong, in one line; of many files the first."""
    parts = [f"{name} {what}" for name, what in damaged.items()]
    more = len(parts) - max_names
    return ", ".join(parts[:max_names]) + (f" and {more} more" if more > 0 else "")
