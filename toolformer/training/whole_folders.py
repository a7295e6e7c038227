"""Folders of a training run that appear whole, and what is said when they cannot be written."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from toolformer.errors import TrainingError
from toolformer.ground.whole_files import replacing_folder


def write_folder_whole(target: Path, write: Callable[[Path], object]) -> None:
    """Let a folder appear whole, by rename; one that is there is replaced.

    Args:
        target: the folder.
        write: fills the temporary folder that it is given.

    Raises:
        TrainingError: the disk is full or cannot be written.
    """
    # The other processes of a training write into the same folder.
    with writing(target), replacing_folder(target, temporary_of(target)) as folder:
        write(folder)


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
    """Where a folder is filled before `write_folder_whole` lets it appear."""
    return target.parent / f".{target.name}.tmp"


def remove(paths: Iterable[Path]) -> None:
    """Remove files and folders; those that are not there count as removed."""
    for path in list(paths):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
