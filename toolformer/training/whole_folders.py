"""Folders of a training run that appear whole, and what is said when they cannot be written."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from toolformer.errors import TrainingError
from toolformer.ground.kept_digests import keep_digests
from toolformer.ground.whole_files import replacing_folder


@contextmanager
def sealed_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder to fill; with digests of its files it then takes the place of `target`.

    Args:
        target: a folder, or what is not there yet.

    Raises:
        TrainingError: the disk is full or cannot be written.
    """
    # The other processes of a training write into the same folder.
    with writing(target), replacing_folder(target, temporary_of(target)) as folder:
        yield folder
        keep_digests(folder)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn failures to write below `path` into an error that says what to do."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{str(path)!r} cannot be written: {error}. Training needs about six times the size of "
            "the float32 weights on disk. Free space or choose another folder and run again; a "
            "run that has saved its state goes on from there."
        ) from error


def temporary_of(target: Path) -> Path:
    """Where a folder is filled before `sealed_folder` lets it appear."""
    return target.parent / f".{target.name}.tmp"


def remove(paths: Iterable[Path]) -> None:
    """Remove files and folders; those that are not there count as removed."""
    for path in list(paths):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
