"""What machines share without a shared folder: the home's files, by way of an object store.

Where `TOOLFORMER_STORE` names none, the home is the shared folder itself and nothing is done here.
Slices are the warehouse's own business.
"""

import functools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dagster_project.home import Home
from dagster_project.settings.sections import SourceSettings
from dagster_project.settings.source_file import (
    read_sources,
    sources_file,
    write_added_sources,
)
from toolformer.ground.digests import hex_digest
from toolformer.ground.whole_files import write_whole
from warehouse.errors import StoreConflictError, StoreError
from warehouse.layout import EMPTY_SHARD

if TYPE_CHECKING:
    from warehouse.store.files import MirroredFiles
    from warehouse.store.objects import ObjectStore
    from warehouse.store.slice_store import MirroredStore

SEED_COMMAND = "toolformer cluster seed"
# In the folder of a warehouse that is a copy of an object store: its URL.
_COPY_FILE = "copy-of"


@functools.cache
def object_store(url: str) -> "ObjectStore":
    """The store of a URL; tried out once a process.

    Raises:
        StoreError: it cannot be reached, or cannot be trusted.
    """
    from warehouse.store.objects import ObjectStore

    store = ObjectStore(url)
    store.check()
    return store


@functools.cache
def mirrored_files(root: Path, machine: Path, url: str) -> "MirroredFiles":
    """The files of a store and their copies in a home.

    Args:
        root: `$TOOLFORMER_HOME`.
        machine: `$TOOLFORMER_CACHE`.
        url: of the store.

    Raises:
        StoreError: see `object_store`.
    """
    from warehouse.store.files import MirroredFiles

    return MirroredFiles(object_store(url), root, _copies_folder(machine, url))


def _copies_folder(machine: Path, url: str) -> Path:
    """Where a machine records its copies of what is in a store."""
    return machine / "copies" / hex_digest(url, size=4)


def slice_store(home: Home) -> "MirroredStore | None":
    """Where the slices of a home are published; None where that is its folder.

    Raises:
        StoreError: the store cannot be used, or the home holds rows that are not the store's.
    """
    if home.store is None:
        if copied := _bytes(home.warehouse / _COPY_FILE):
            raise StoreError(
                f"The home '{home.root}' is a copy of {copied.decode()!r}, and TOOLFORMER_STORE is "
                f"not set. Set it; or read the rows that are there with DuckDB: {home.database}."
            )
        return None
    from warehouse.store.slice_store import MirroredStore

    return MirroredStore(object_store(home.store), home.warehouse, _files(home))


def bring(home: Home, path: Path) -> None:
    """Bring this machine's copy of a file or folder up to date.

    Raises:
        StoreError: the store cannot be used, or does not answer.
    """
    if home.store is not None and path.is_relative_to(home.root):
        _files(home).bring(path)


def bring_below(home: Home, folder: Path) -> None:
    """Bring this machine's copies of all that is published below a folder up to date."""
    if home.store is not None:
        _files(home).bring_below(folder)


def publish(home: Home, path: Path) -> None:
    """Publish a file or a folder of the home as it is now.

    Raises:
        StoreConflictError: another machine has published it since this process looked.
        StoreError: the store cannot be used, or does not answer.
    """
    if home.store is not None:
        _files(home).publish(path)


def bring_small(home: Home) -> None:
    """Bring what every command and run reads first: settings, manifest, precision.

    Settings that were edited here by hand are published.

    Raises:
        StoreError: settings were edited here and elsewhere; or see `bring`.
    """
    from toolformer.sources.manifest import manifest_path

    if home.store is None:
        return
    share_settings(home)
    bring(home, manifest_path(home.sources))
    bring_below(home, home.precisions)


def share_settings(home: Home) -> None:
    """Publish `toolformer.yaml` and `sources.yaml` where they were edited here, else bring them.

    Raises:
        StoreError: `toolformer.yaml` was edited elsewhere too since this machine looked.
    """
    if home.store is not None:
        for file in (home.settings_file, sources_file(home.settings_file)):
            _share(home, file)


def _share(home: Home, file: Path) -> None:
    files = _files(home)
    # As it was when this machine and the store last agreed.
    agreed = _copies_folder(home.machine, str(home.store)) / f"{file.stem}-agreed.yaml"
    if _bytes(file) == _bytes(agreed):
        files.bring(file)
    elif files.is_newer(file) and file == sources_file(home.settings_file):
        before, mine = read_sources(agreed), read_sources(file)
        files.bring(file)
        write_added_sources(home.settings_file, _merged(before, mine, read_sources(file)))
        files.publish(file)
    elif files.is_newer(file):
        theirs, mine = (file.with_name(f"{file.stem}.{whose}.yaml") for whose in ("theirs", "mine"))
        shutil.copyfile(file, mine)
        files.bring(file)
        shutil.copyfile(file, theirs)
        shutil.copyfile(mine, file)
        mine.unlink()
        raise StoreError(
            f"'{file}' was edited here, and on another machine as well. Expected one edit at a "
            f"time. The other one is in '{theirs}': bring what you want into '{file}', remove "
            f"'{theirs.name}', and run the same again."
        )
    else:
        files.publish(file)
    agreed.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        shutil.copyfile(file, agreed)
    else:
        agreed.unlink(missing_ok=True)


def _merged(
    before: list[SourceSettings], mine: list[SourceSettings], theirs: list[SourceSettings]
) -> list[SourceSettings]:
    """The sources of another machine, with those that this one has added and removed since."""
    old, kept, known = ({source.path for source in part} for part in (before, mine, theirs))
    added = [source for source in mine if source.path not in old | known]
    return [*(source for source in theirs if source.path not in old - kept), *added]


@contextmanager
def changing_corpus(home: Home) -> Iterator[None]:
    """Bring the manifest before it is changed, and publish it afterwards; under `shards_lock`.

    The block publishes the manifest before it stores texts (`assets.corpus.bring_in_line` does): of
    machines that change the corpus at the same time, one gets its keys.

    Raises: See `bring` and `publish`.
    """
    from toolformer.sources.manifest import manifest_path

    if home.store is None:
        yield
        return
    manifest = manifest_path(home.sources)
    bring(home, manifest)
    try:
        yield
    except StoreConflictError:
        # Another machine has changed the corpus meanwhile: its manifest holds.
        bring(home, manifest)
        raise
    share_settings(home)
    if manifest.exists():
        publish(home, manifest)


def shared_store(home: Home) -> "ObjectStore":
    """The object store of a home.

    Raises:
        StoreError: none is named, or it cannot be used.
    """
    if home.store is None:
        raise StoreError(
            "This home has no object store: TOOLFORMER_STORE is not set. Set it, such as "
            "TOOLFORMER_STORE=s3://bucket/prefix, and run the same again."
        )
    return object_store(home.store)


def seed(home: Home) -> tuple[int, int]:
    """Put what a home holds into its object store, which has nothing yet.

    Returns:
        How many slices and how many other files and folders were published.

    Raises:
        StoreError: no store is named, or it has what is not of this home.
    """
    from toolformer.sources.manifest import manifest_path
    from warehouse.store.slice_store import MirroredStore

    objects = shared_store(home)
    files = mirrored_files(home.root, home.machine, objects.url)
    slices = MirroredStore(objects, home.warehouse, files)
    # What an interrupted seed has put there is this home's own.
    if slices.has_foreign() or files.has_foreign():
        raise StoreError(
            f"The object store {home.store!r} has something already. Expected an empty prefix: "
            "two corpora do not become one. Name another prefix, or use this store with an empty "
            "TOOLFORMER_HOME, which becomes a copy of it."
        )
    published = slices.publish_all()
    # Not the converted embedded model: each machine converts its own.
    paths = [
        manifest_path(home.sources),
        *home.precisions.glob("*.json"),
        *home.models.glob(f"{home.finetuned_model(1).name}*"),
    ]
    paths += [home.wikipedia_index, home.passage_index]
    paths = [path for path in paths if path.exists() and path.suffix != ".tmp"]
    for path in paths:
        files.publish(path)
    write_whole(home.warehouse / _COPY_FILE, objects.url)
    share_settings(home)
    return published, len(paths)


def _files(home: Home) -> "MirroredFiles":
    assert home.store is not None
    _check_copy(home)
    return mirrored_files(home.root, home.machine, home.store)


def _check_copy(home: Home) -> None:
    """Refuse a home whose rows are not those of the store: they would be mixed.

    Raises:
        StoreError: it is a home of its own, or a copy of another store.
    """
    file = home.warehouse / _COPY_FILE
    if _bytes(file) == str(home.store).encode():
        return
    if any(home.warehouse.glob(f"*/shard=[!{EMPTY_SHARD[0]}]*/*.parquet")):
        raise StoreError(
            f"The home '{home.root}' holds rows of its own and is no copy of {home.store!r}. "
            "Expected an empty TOOLFORMER_HOME. Name another folder, or run "
            f"`{SEED_COMMAND}` once to put this home into the store, if that is empty."
        )
    write_whole(file, str(home.store))


def _bytes(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
