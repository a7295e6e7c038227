"""Files and folders below a root, each published as a whole.

A place is the path below the root; its files are the one file, or all those of the folder.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

from toolformer.ground.whole_files import beside, flush
from warehouse.store.mirror import ONLY_FILE, Mirror
from warehouse.store.objects import ObjectStore

_FILES = "files/"


class MirroredFiles:
    """Files of an object store, and this machine's copies of them.

    Args:
        store: where they are published.
        root: the copies lie below it.
        cache: folder of this machine, for the record of the copies.
    """

    def __init__(self, store: ObjectStore, root: Path, cache: Path):
        self._root = root
        self._mirror = Mirror(store, cache, _FileLayout(root))

    def bring(self, path: Path) -> bool:
        """Brings the copy of a file or folder up to date; returns whether there is one.

        Raises:
            StoreError: the store does not answer, or what it has is damaged.
            OSError: the disk refused.
        """
        return self._mirror.look(self._place(path)) is not None

    def bring_below(self, folder: Path) -> None:
        """Brings the copies of all places below a folder up to date."""
        self._mirror.refresh(f"{self._place(folder)}/")

    def publish(self, path: Path) -> None:
        """Publishes a file or a folder as it is now, unless it is published so.

        Raises:
            StoreConflictError: another machine has published since this process looked.
            StoreError: the store does not answer.
        """
        with self._mirror.publishing(self._place(path), dict(_contents(path))):
            pass

    def copies(self) -> list[str]:
        """The places of which this machine has a copy."""
        return self._mirror.copies(_FILES)

    def is_newer(self, path: Path) -> bool:
        """Whether another machine has published a place since this one did or fetched it."""
        place = self._place(path)
        pointer = self._mirror.store.pointer(place)
        return pointer is not None and pointer.tag != self._mirror.tag(place)

    def _place(self, path: Path) -> str:
        return _FILES + path.relative_to(self._root).as_posix()


def _contents(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file() and file.suffix != ".tmp":
                yield file.relative_to(path).as_posix(), file
    else:
        yield "", path


class _FileLayout:
    def __init__(self, root: Path):
        self._root = root

    def holds(self, place: str) -> bool:
        return self.near(place).exists()

    def near(self, place: str) -> Path:
        return self._root / place.removeprefix(_FILES)

    def settle(self, place: str, fetched: Path) -> None:
        target = self.near(place)
        only = fetched / ONLY_FILE
        if only.exists():
            only.replace(target)
        else:
            outgoing = beside(target)
            if target.exists():
                target.rename(outgoing)
            fetched.rename(target)
            shutil.rmtree(outgoing, ignore_errors=True)
        flush(target.parent)

    def drop(self, place: str) -> None:
        path = self.near(place)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
