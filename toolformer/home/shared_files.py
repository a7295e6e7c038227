"""What machines share without a shared folder: the home's files, by way of an object store.

Without `TOOLFORMER_STORE` the home itself is the shared folder and nothing is done here. Files are
fetched when they are opened (`Home.open`); this module is what commands do before and after.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from toolformer.base.whole_files import write_whole
from toolformer.home.home import Home
from toolformer.home.settings.corpus_sections import SourceSettings
from toolformer.home.settings.source_file import read_sources, sources_file, write_added_sources
from warehouse.errors import StoreConflictError, StoreError

if TYPE_CHECKING:
    from warehouse.store.objects import ObjectStore


def fetch_small(home: Home) -> None:
    """Bring what every command and run reads first: settings, manifest.

    Raises:
        StoreError: see `share_settings` and `Home.open`.
    """
    from toolformer.sources.manifest import manifest_path

    if home.store is None:
        return
    share_settings(home)
    home.open(manifest_path(home.sources))


def share_settings(home: Home) -> None:
    """Publish `toolformer.yaml` and `sources.json` where they were edited here, else bring them.

    Raises:
        StoreError: `toolformer.yaml` was edited elsewhere too since this machine looked.
    """
    if home.store is not None:
        for file in (home.settings_file, sources_file(home.settings_file)):
            _share(home, file)


def _share(home: Home, file: Path) -> None:
    files = home.files
    # As it was when this machine and the store last agreed.
    agreed = home.copies / f"agreed-{file.name}"
    if _bytes(file) == _bytes(agreed):
        files.fetch(file)
    elif files.is_newer(file) and file == sources_file(home.settings_file):
        before, mine = read_sources(agreed), read_sources(file)
        files.fetch(file)
        write_added_sources(home.settings_file, _merged(before, mine, read_sources(file)))
        files.publish(file)
    elif files.is_newer(file):
        theirs, mine = (file.with_name(f"{file.stem}.{whose}.yaml") for whose in ("theirs", "mine"))
        shutil.copyfile(file, mine)
        files.fetch(file)
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

    The block publishes the manifest before it stores texts (`assets.corpus.sync_shards` does): of
    machines that change the corpus at the same time, one gets its keys.

    Raises: See `Home.open` and `Home.publish`.
    """
    from toolformer.sources.manifest import manifest_path

    if home.store is None:
        yield
        return
    manifest = manifest_path(home.sources)
    home.open(manifest)
    try:
        yield
    except StoreConflictError:
        # Another machine has changed the corpus meanwhile: its manifest holds.
        home.open(manifest)
        raise
    share_settings(home)
    if manifest.exists():
        home.publish(manifest)


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
    from warehouse.store.objects import open_store

    return open_store(home.store)


def seed(home: Home) -> tuple[int, int]:
    """Put what a home holds into its object store, which has nothing yet.

    Returns:
        How many partitions and how many other files and folders were published.

    Raises:
        StoreError: no store is named, or it has what is not of this home.
    """
    from toolformer.sources.manifest import manifest_path
    from warehouse.store.files import MirroredFiles
    from warehouse.store.mirrored_store import MirroredStore

    objects = shared_store(home)
    files = MirroredFiles(objects, home.root, home.copies)
    partitions = MirroredStore(objects, home.warehouse, files)
    # What an interrupted seed has put there is this home's own.
    if partitions.has_uncopied() or files.has_uncopied():
        raise StoreError(
            f"The object store {home.store!r} is not empty. Expected an empty prefix, since two "
            "corpora cannot be merged. Name another prefix, or use this store with an empty "
            "TOOLFORMER_HOME, which becomes a copy of it."
        )
    published = partitions.publish_all()
    # Not the converted embedded model: each machine converts its own.
    paths = [manifest_path(home.sources), *home.models.glob(f"{home.finetuned_model(1).name}*")]
    paths += [home.wikipedia_index, home.passage_index]
    paths = [path for path in paths if path.exists() and path.suffix != ".tmp"]
    for path in paths:
        files.publish(path)
    write_whole(home.copy_file, objects.identity())
    share_settings(home)
    return published, len(paths)


def _bytes(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
