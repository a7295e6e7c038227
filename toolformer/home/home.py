"""Where things are: shared data below `$TOOLFORMER_HOME`, one machine's below `$TOOLFORMER_CACHE`.

Locks are files: those of one machine (device, living process) in its cache, those of shared data in
the home, those of the manifest and of an index beside them. They are taken in this order, so that
no two processes wait for each other: a device, the corpus, the shards, the manifest, a partition or
another output. Who holds one may wait for a later one only: a command that changes the sources
loads no model while it does.
"""

import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from toolformer.base.digests import hex_digest
from toolformer.base.file_digest import keep_file_digests_in
from toolformer.base.whole_files import remove_abandoned, write_whole
from toolformer.home.locks import RemovedLock, check_locks, file_lock
from toolformer.home.settings.errors import SettingsError
from toolformer.training.variants import CALLS
from warehouse.errors import StoreError
from warehouse.published import shards_in

if TYPE_CHECKING:
    from warehouse.store.files import MirroredFiles
    from warehouse.store.mirrored_store import MirroredStore

# SQLite's addresses end at `?` and decode `%20`. DuckDB has `?`, `*` and `[` for patterns, a
# backslash for a slash, and takes the value of a column from a folder `title=x`.
_NOT_IN_A_PATH = re.compile(r"[?*\[\\=\n]|%[0-9A-Fa-f]{2}")

# SQLite takes 512 bytes, and Dagster keeps files with long names far below.
_LONGEST_PATH = 400
# Where an address may have one.
_SECRET = re.compile(r"//.*(?::.*@|\?)")


def home_folder() -> Path:
    """`$TOOLFORMER_HOME`, or `data/` in the repository: everything made at run time."""
    named = os.environ.get("TOOLFORMER_HOME")
    repository = Path(__file__).resolve().parents[2]
    return resolved(named) if named else repository / "data"


def resolved(named: str) -> Path:
    """A folder as the system finds it: `missing/../home` is `home`, whether or not it is there."""
    # Not by `Path`, which raises for the home of an unknown user and for links in a circle.
    return Path(os.path.realpath(os.path.expanduser(named)))  # noqa: PTH111


def check_path(variable: str, path: Path) -> None:
    """Refuse a folder with a name that databases cannot open.

    Raises:
        SettingsError: it has one.
    """
    shown = str(path).encode(errors="backslashreplace").decode()
    if shown != str(path):
        raise SettingsError(
            f"{variable} is '{shown}', which is no UTF-8, and databases take no other name: choose "
            "another folder."
        )
    if len(shown.encode()) > _LONGEST_PATH:
        raise SettingsError(
            f"{variable} is a path of {len(shown.encode())} bytes, '{shown[:60]}…'. Expected at "
            f"most {_LONGEST_PATH}, since SQLite takes no file with a longer one: choose a folder "
            "nearer to the root."
        )
    if special := _NOT_IN_A_PATH.search(str(path)):
        raise SettingsError(
            f"{variable} is '{path}', and SQLite or DuckDB would not take the '{special[0]}' in it "
            "as part of a name: choose a folder without it."
        )


class _Place:
    """Where something lies below the folder that all machines share, or below that of one."""

    def __init__(self, path: str, *, of_machine: bool = False):
        self._path, self._of_machine = path, of_machine

    def __get__(self, home: "Home", _owner: object = None) -> Path:
        return (home.machine if self._of_machine else home.root) / self._path


@dataclass(frozen=True, slots=True)
class Home:
    """Everything that is made at run time: all machines share what lies below `root`.

    Attributes:
        root: `$TOOLFORMER_HOME`; with an object store, this machine's mirror of it.
        cache: `$TOOLFORMER_CACHE`, for what belongs to one machine; None is the root itself.
        store: `$TOOLFORMER_STORE`, the object store that holds the shared data; None is the root.
    """

    root: Path
    cache: Path | None = None
    store: str | None = None

    settings_file = _Place("toolformer.yaml")
    """`toolformer.yaml`."""
    warehouse = _Place("warehouse")
    """Folder of the Parquet partitions."""
    database = _Place("warehouse.duckdb", of_machine=True)
    """The DuckDB file for people; of the machine, since it names absolute paths."""
    sources = _Place("sources")
    """The manifest of the corpus."""
    inbox = _Place("inbox")
    """Where texts are put that the sensor `inbox` takes into the corpus."""
    wikipedia_index = _Place("indexes/wikipedia")
    """The Lucene index."""
    passage_index = _Place("indexes/passages")
    """The FAISS index of dense passage vectors."""
    models = _Place("models")
    """Finetuned models."""
    converted_models = _Place("models", of_machine=True)
    """Where the embedded model is converted to; of the machine, each converts its own."""
    checkpoints = _Place("cache/checkpoints")
    """Intermediate results of unfinished stages; shared, so that another machine goes on."""
    tool_results = _Place("cache/tool_results", of_machine=True)
    """Answers of earlier calls, shared by all runs of the machine: SQLite."""
    file_digests = _Place("cache/file_digests", of_machine=True)
    """Digests of files that the machine has read; see `toolformer.base.file_digest`."""
    table_indexes = _Place("cache/tables", of_machine=True)
    """Indexes of the tables that tools look facts up in; of the machine, each makes its own."""
    report = _Place("report.html")
    """The report that the UI opens."""
    dagster = _Place("dagster", of_machine=True)
    """DAGSTER_HOME; of the machine: it may hold SQLite, and what one process logged."""

    @classmethod
    def find(cls) -> "Home":
        """The home that the environment names.

        Raises:
            SettingsError: a variable is not valid, or a folder has a name that databases cannot
                open.
        """
        cache, store = (os.environ.get(f"TOOLFORMER_{name}") for name in ("CACHE", "STORE"))
        if store and _SECRET.search(store):
            raise SettingsError(
                "TOOLFORMER_STORE is an address with a password or a query part. Expected one such "
                "as s3://bucket/prefix, and the credentials in AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY."
            )
        root = home_folder()
        folder = resolved(cache) if cache else None
        for name, path in {"HOME": root, "CACHE": folder}.items():
            if path:
                check_path(f"TOOLFORMER_{name}", path)
        home = cls(root, folder, store or None)
        keep_file_digests_in(home.file_digests)
        return home

    def check_there(self) -> None:
        """Refuse to read a home that is not there, which may be a mistyped name.

        Raises:
            SettingsError: no command has made the home; with an object store, anybody may read it.
        """
        if self.store is None and not (self.settings_file.exists() or self.warehouse.exists()):
            raise SettingsError(
                f"There is no home in '{self.root}'. Expected a folder that a build has made: "
                "correct its name (TOOLFORMER_HOME), or run `toolformer ingest` or `build` first."
            )

    @property
    def machine(self) -> Path:
        """What belongs to one machine lies below, under the same names as in a home of one."""
        return self.cache or self.root

    def check_locks(self) -> None:
        """Try the locks, once a process, of a home that several machines share.

        Raises:
            LockError: they exclude nobody.
        """
        if self.cache is not None or self.store is not None:
            check_locks(self.machine, self.root)

    def open(self, path: Path) -> Path:
        """The path of a file or folder; with an object store, its copy here is the newest then.

        Raises:
            StoreError: the store cannot be used, or does not answer.
        """
        if self.store is not None and path.is_relative_to(self.root):
            self.files.fetch(path)
        return path

    def publish(self, path: Path) -> None:
        """Give all machines a file or a folder as it is now.

        Raises:
            StoreConflictError: another machine has published it since this process looked.
            StoreError: the store cannot be used, or does not answer.
        """
        if self.store is not None:
            self.files.publish(path)

    @property
    def files(self) -> "MirroredFiles":
        """What is published in the object store, which the home has.

        Raises:
            StoreError: the home holds rows of its own, or of another store: they would be mixed.
        """
        return _files_of_store(self)

    def partition_store(self) -> "MirroredStore | None":
        """Where the partitions are published; None where that is the folder of the warehouse.

        Raises:
            StoreError: the store cannot be used, or the home holds rows that are not the store's.
        """
        if self.store is None:
            if self.copied_store:
                raise StoreError(
                    f"The home '{self.root}' is a copy of {self.copied_store!r}, and "
                    "TOOLFORMER_STORE is not set. Set it; or read the rows that are there with "
                    f"DuckDB: {self.database}."
                )
            return None
        from warehouse.store.mirrored_store import MirroredStore
        from warehouse.store.objects import open_store

        return MirroredStore(open_store(self.store), self.warehouse, self.files)

    @property
    def copies(self) -> Path:
        """Where this machine records its copies of what is in the object store."""
        return self.machine / "copies" / hex_digest(str(self.store), size=4)

    @property
    def copy_file(self) -> Path:
        """Has the identity of the object store that the warehouse is a copy of."""
        return self.warehouse / "copy-of"

    @property
    def copied_store(self) -> str | None:
        """The URL of the object store that the warehouse is a copy of; None where it is none."""
        # A damaged one names another store, and is no error of its own.
        return self._copied_identity.partition("\n")[0] or None

    @property
    def _copied_identity(self) -> str:
        return self.copy_file.read_text(errors="replace") if self.copy_file.exists() else ""

    def finetuned_model(self, round_number: int, variant: str = CALLS) -> Path:
        """The model that C* of a round taught (or of several rounds, this being the newest)."""
        suffix = "" if variant == CALLS else f"-{variant}"
        suffix += "" if round_number == 1 else f"-round-{round_number}"
        return self.models / f"toolformer{suffix}"

    def shards_lock(self) -> FileLock:
        """Held while the list of sources is changed, or manifest, warehouse and partitions are."""
        return self.output_lock("shards")

    def remove_abandoned_files(self) -> None:
        """Remove what killed processes left half written outside of the warehouse's tables."""
        folders = [self.root, self.warehouse, self.sources, self.table_indexes]
        folders += [self.models, self.converted_models, self.wikipedia_index.parent]
        for folder in folders:
            remove_abandoned(folder.glob("*.tmp"))
        # The model card and the calibration are written into a model that is there.
        remove_abandoned(self.models.glob("*/*.tmp"))

    def partition_lock(self, table: str, shard: str, partition_name: str) -> FileLock:
        """Held while a partition is made: a second run over it waits, then finds the work done."""
        return self.output_lock(f"{table}.{shard}.{partition_name}")

    def device_lock(self, device: str) -> FileLock:
        """Held while a model is loaded: one model at a time per device.

        A file lock and no pool slot: the kernel releases it when the process is killed.
        """
        return self.process_lock(f"device-{device.replace(':', '-')}")

    def output_lock(self, name: str) -> FileLock:
        """Held while an output is made; of one that is no partition, such as a model, by name."""
        self.check_locks()
        return file_lock(self.root / "locks", name, RemovedLock)

    def process_lock(self, name: str) -> FileLock:
        """Held by a command while it lives: whoever gets it knows that the command has ended."""
        return file_lock(self.machine / "locks", name)

    def run_lock(self, run_id: str) -> FileLock:
        """Held by the process that does a run of Dagster's; see `process_lock`."""
        return self.process_lock(f"process-{run_id}")

    def records_lock(self) -> FileLock:
        """Held while Dagster's records are opened: two that come first would both make tables."""
        return self.process_lock("records")


@functools.cache
def _files_of_store(home: Home) -> "MirroredFiles":
    """See `Home.files`; a home that is a copy of its store stays one while the process lives."""
    from warehouse.store.files import MirroredFiles
    from warehouse.store.objects import open_store

    objects = open_store(str(home.store))
    identity = objects.identity()
    if home._copied_identity != identity:
        if home.copied_store == objects.url:
            raise StoreError(
                f"The object store {objects.url!r} was emptied and begun anew since the home "
                f"'{home.root}' became a copy of it, so what the home has is of the store before. "
                "Expected an empty TOOLFORMER_HOME. Name another folder."
            )
        if shards_in(home.warehouse):
            raise StoreError(
                f"The home '{home.root}' holds rows of its own and is no copy of {objects.url!r}. "
                "Expected an empty TOOLFORMER_HOME. Name another folder, or run `toolformer "
                "cluster seed` once to put this home into the store, if that is empty."
            )
        write_whole(home.copy_file, identity)
    return MirroredFiles(objects, home.root, home.copies)
