"""Files and folders below a root, each published as a whole.

A version of one is a list of what it holds, `files/<path>@<number>`; the contents are found by
their digests. The highest number is what is published.
"""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from filelock import FileLock

from toolformer.base.digests import hex_digest_of_file
from toolformer.base.parallel import in_parallel
from toolformer.base.whole_files import replacing, replacing_folder, write_whole
from warehouse.errors import StoreConflictError, StoreError
from warehouse.store.objects import ObjectStore

FILES, OBJECTS = "files/", "objects/"
_LOGGER = logging.getLogger(__name__)
_DIGEST_BYTES = 32


class MirroredFiles:
    """Files of an object store, and this machine's copies of them.

    Args:
        root: the copies lie below it.
        cache: folder of this machine, for the record of which version each copy is.
    """

    def __init__(self, store: ObjectStore, root: Path, cache: Path):
        self._store = store
        self._root = root
        self._cache = cache
        # The version of a path when this process last looked at it: what it decided then is right
        # as long as no other one follows.
        self._seen: dict[Path, int] = {}

    def fetch(self, path: Path) -> bool:
        """Brings the copies of a file or folder, and of what is published below it, up to date.

        Returns:
            Whether there is anything.

        Raises:
            StoreError: the store does not answer, or what it has is damaged.
            OSError: the disk refused.
        """
        name = self._stored_name(path)
        numbers = {
            published: number
            for published, number in newest_files(
                self._store, self._stored_name(path.parent)
            ).items()
            if published == name or published.startswith(f"{name}/")
        }
        for published, number in numbers.items():
            self._fetch_newest(self._path(published), number)
        self._seen[path] = numbers.get(name, 0)
        return bool(numbers)

    def publish(self, path: Path) -> None:
        """Publishes a file or a folder as it is now, unless it is published so.

        Raises:
            StoreConflictError: another machine has published since this process looked.
            StoreError: the store does not answer.
        """
        with self._lock(path):
            newest = self._newest(path)
            path_name = self._stored_name(path)
            if self._seen.get(path, newest) != newest:
                raise self._store.conflict(path_name)
            published = (
                files_of_version(self._store, version_name(path_name, newest)) if newest else {}
            )
            contents = dict(_contents(path))
            digests = {name: _digest(file) for name, file in contents.items()}
            if not newest or published != digests:
                # What the place has already is named by its version, so it stays.
                kept = set(published.values())
                in_parallel(
                    lambda name: self._store.put_file(contents[name], object_name(digests[name])),
                    [name for name, digest in digests.items() if digest not in kept],
                )
                newest += 1
                content = json.dumps({"files": digests}, sort_keys=True).encode()
                try:
                    self._store.put_new(version_name(path_name, newest), content)
                except StoreConflictError as error:
                    raise self._store.conflict(path_name) from error
            self._record(path, newest)
            self._seen[path] = newest

    def is_newer(self, path: Path) -> bool:
        """Whether another machine has published a path since this one did or fetched it."""
        return self._newest(path) != self._copied(path)

    def has_uncopied(self) -> bool:
        """Whether anything is published that this machine has no copy of."""
        return any(not self._copied(self._path(name)) for name in newest_files(self._store, FILES))

    def _newest(self, path: Path) -> int:
        return newest_files(self._store, self._stored_name(path.parent)).get(
            self._stored_name(path), 0
        )

    def _fetch_newest(self, path: Path, newest: int) -> None:
        if self._has_copy(path, newest):
            return
        with self._lock(path):
            # Another process of this machine may have fetched or published it meanwhile.
            newest = self._newest(path)
            if not self._has_copy(path, newest):
                self._fetch(path, newest)
                self._record(path, newest)

    def _has_copy(self, path: Path, number: int) -> bool:
        return self._copied(path) == number and path.exists()

    def _lock(self, path: Path) -> FileLock:
        record = self._record_file(path)
        record.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(record.with_name(f"{record.name}.lock"), thread_local=False)

    def _fetch(self, path: Path, number: int) -> None:
        files = files_of_version(self._store, version_name(self._stored_name(path), number))
        if "" in files:
            with replacing(path) as temporary:
                self._fetch_file(files[""], temporary)
                size = temporary.stat().st_size
        else:
            with replacing_folder(path) as temporary:
                for name, digest in files.items():
                    (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                    # Of a model that got another card the weights stay.
                    if (path / name).is_file() and _digest(path / name) == digest:
                        shutil.copyfile(path / name, temporary / name)
                    else:
                        self._fetch_file(digest, temporary / name)
                size = sum(file.stat().st_size for file in temporary.rglob("*") if file.is_file())
        _LOGGER.info("fetched %s: %s bytes", self._stored_name(path), f"{size:,}")

    def _fetch_file(self, digest: str, target: Path) -> None:
        try:
            self._store.fetch(object_name(digest), target)
        except FileNotFoundError as error:
            raise StoreError(
                f"The object '{object_name(digest)}' is missing in {self._store.url!r}, though "
                f"'{target.name}' is published with it: something else removed it. Put it back "
                "from a copy, or remove that version and build again what it stood for."
            ) from error
        if _digest(target) != digest:
            target.unlink(missing_ok=True)
            raise StoreError(
                f"The object '{object_name(digest)}' in {self._store.url!r} is not what was "
                "stored: its bytes have another digest. Remove it and what names it, then build "
                "that again."
            )

    def _copied(self, path: Path) -> int:
        """The version that this machine's copy is; 0 where there is none."""
        try:
            return int(self._record_file(path).read_text())
        except (FileNotFoundError, ValueError):
            return 0

    def _record(self, path: Path, number: int) -> None:
        write_whole(self._record_file(path), str(number))

    def _record_file(self, path: Path) -> Path:
        return self._cache / self._stored_name(path)

    def _stored_name(self, path: Path) -> str:
        return FILES if path == self._root else FILES + path.relative_to(self._root).as_posix()

    def _path(self, name: str) -> Path:
        return self._root / name.removeprefix(FILES)


def version_name(name: str, number: int) -> str:
    """The name of the object that lists a version of a place."""
    return f"{name}@{number:08d}"


def newest_files(store: ObjectStore, folder: str) -> dict[str, int]:
    """The newest version of each place below a folder of the store, by place."""
    newest: dict[str, int] = {}
    for stored in store.listed(folder.rstrip("/")):
        name, _, number = stored.path.rpartition("@")
        if number.isdecimal():
            newest[name] = max(newest.get(name, 0), int(number))
    return newest


def files_of_version(store: ObjectStore, version: str) -> Mapping[str, str]:
    """The BLAKE2b digests of a version's files, by their names within it; '' is the one file.

    Args:
        version: see `version_name`.

    Raises:
        StoreError: the store does not answer, or the list is none of ours.
    """
    try:
        stored = json.loads(store.read(version) or b"")
        return {str(file): str(digest) for file, digest in stored["files"].items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StoreError(
            f"'{version}' in {store.url!r} is not what this project wrote there: {error}. Remove "
            "that object, then build again what it stood for."
        ) from error


def _contents(path: Path) -> Iterator[tuple[str, Path]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file() and file.suffix != ".tmp":
                yield file.relative_to(path).as_posix(), file
    else:
        yield "", path


def object_name(digest: str) -> str:
    """Returns the name of the object that has the contents of a digest."""
    return f"{OBJECTS}{digest[:2]}/{digest}"


def _digest(file: Path) -> str:
    return hex_digest_of_file(file, size=_DIGEST_BYTES)
