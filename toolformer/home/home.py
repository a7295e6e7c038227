"""Paths and locks of a home, in the folders `$TOOLFORMER_HOME` and `$TOOLFORMER_CACHE`.

Locks are files: of devices and processes in the cache, of shared data in the home, of the manifest
and of an index next to them. Processes take locks in this order, so that no two wait for each
other: device, corpus, shards, manifest, partition or other output. A process that holds a lock may
wait for later ones only, so a command that changes the sources loads no model meanwhile.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from toolformer.base.atomic_files import remove_abandoned
from toolformer.base.digests import cache_file_digests_in
from toolformer.home.locks import RemovedLock, check_locks, file_lock
from toolformer.settings.errors import SettingsError
from toolformer.settings.training_sections import CALLS

# An SQLite URI ends at `?` and decodes `%20`. In DuckDB `?`, `*` and `[` are patterns, a backslash
# is a slash, and a folder `title=x` is the value of a column.
_NOT_IN_A_PATH = re.compile(r"[?*\[\\=\n]|%[0-9A-Fa-f]{2}")
# SQLite's limit is 512 bytes. Dagster's own files below the home have long names.
_LONGEST_PATH = 400


def home_folder() -> Path:
    """Return `$TOOLFORMER_HOME`, or `data/` in the repository."""
    named = os.environ.get("TOOLFORMER_HOME")
    repository = Path(__file__).resolve().parents[2]
    return resolved(named) if named else repository / "data"


def resolved(named: str) -> Path:
    """Return an absolute path without links; `missing/../home` is `home`."""
    # `Path` raises for the home of an unknown user and for circular links.
    return Path(os.path.realpath(os.path.expanduser(named)))  # noqa: PTH111


def check_path(variable: str, path: Path) -> None:
    """Raise `SettingsError` if SQLite or DuckDB cannot open files in a folder."""
    shown = str(path).encode(errors="backslashreplace").decode()
    if shown != str(path):
        raise SettingsError(
            f"{variable} is '{shown}', which is not UTF-8. Expected a name that SQLite and DuckDB "
            "can open. Choose another folder."
        )
    if len(shown.encode()) > _LONGEST_PATH:
        raise SettingsError(
            f"{variable} is a path of {len(shown.encode())} bytes, '{shown[:60]}…'. Expected at "
            f"most {_LONGEST_PATH}, for SQLite. Choose a folder nearer to the root."
        )
    if special := _NOT_IN_A_PATH.search(str(path)):
        raise SettingsError(
            f"{variable} is '{path}', and SQLite or DuckDB would not take the '{special[0]}' in it "
            "as part of a name. Choose a folder without it."
        )


class _Place:
    """Path below the shared folder, or below the folder of this machine."""

    def __init__(self, path: str, *, of_machine: bool = False):
        self._path, self._of_machine = path, of_machine

    def __get__(self, home: "Home", _owner: object = None) -> Path:
        return (home.machine if self._of_machine else home.root) / self._path


@dataclass(frozen=True, slots=True)
class Home:
    """Folder of everything that is made at run time, local or on a shared file system.

    Attributes:
        root: `$TOOLFORMER_HOME`, which several machines may share.
        cache: `$TOOLFORMER_CACHE`, for the files of one machine; None if they are in the root.
    """

    root: Path
    cache: Path | None = None

    settings_file = _Place("toolformer.yaml")
    """Settings that differ from the preset."""
    warehouse = _Place("warehouse")
    """Folder of the Parquet partitions."""
    database = _Place("warehouse.duckdb", of_machine=True)
    """DuckDB file for people. It names absolute paths, so each machine has its own."""
    sources = _Place("sources")
    """Folder of the manifest of the corpus."""
    inbox = _Place("inbox")
    """Folder whose files the sensor `inbox` takes into the corpus."""
    wikipedia_index = _Place("indexes/wikipedia")
    """Lucene index."""
    passage_index = _Place("indexes/passages")
    """FAISS index of dense passage vectors."""
    models = _Place("models")
    """Finetuned models."""
    converted_models = _Place("models", of_machine=True)
    """The embedded model, which each machine converts for itself."""
    checkpoints = _Place("cache/checkpoints")
    """Results of unfinished stages; shared, so that another machine can go on."""
    tool_results = _Place("cache/tool_results", of_machine=True)
    """SQLite cache of tool results, shared by all runs of the machine."""
    file_digests = _Place("cache/file_digests", of_machine=True)
    """Digests of files that the machine has read; see `toolformer.base.digests`."""
    table_indexes = _Place("cache/tables", of_machine=True)
    """Indexes of the tables in which tools look up facts."""
    report = _Place("report.html")
    """HTML page of the asset `report`."""
    dagster = _Place("dagster", of_machine=True)
    """DAGSTER_HOME, with the logs of processes and, by default, SQLite databases."""

    @classmethod
    def find(cls) -> "Home":
        """Return the home that the environment names; see `check_path` for errors."""
        cache = os.environ.get("TOOLFORMER_CACHE")
        home = cls(home_folder(), resolved(cache) if cache else None)
        check_path("TOOLFORMER_HOME", home.root)
        check_path("TOOLFORMER_CACHE", home.machine)
        cache_file_digests_in(home.file_digests)
        return home

    def check_exists(self) -> None:
        """Raise `SettingsError` if there is no home in the folder: its name may be mistyped."""
        if not (self.settings_file.exists() or self.warehouse.exists()):
            raise SettingsError(
                f"There is no home in '{self.root}'. Expected a folder that a build has made. "
                "Correct its name (TOOLFORMER_HOME), or run `toolformer ingest` or `build` first."
            )

    @property
    def machine(self) -> Path:
        """Folder of the files of this machine; see `cache`."""
        return self.cache or self.root

    def check_locks(self) -> None:
        """Raise `LockError` if several machines share the home and its locks do not work."""
        if self.cache is not None:
            check_locks(self.machine, self.root)

    def finetuned_model(self, round_number: int, variant: str = CALLS) -> Path:
        """Directory of the model finetuned on C* of the rounds up to this one."""
        suffix = "" if variant == CALLS else f"-{variant}"
        suffix += "" if round_number == 1 else f"-round-{round_number}"
        return self.models / f"toolformer{suffix}"

    def shards_lock(self) -> FileLock:
        """Lock on the list of sources, the manifest and which shards are registered and stored."""
        return self.output_lock("shards")

    def remove_abandoned_files(self) -> None:
        """Remove files that killed processes left half written, except in the tables."""
        folders = [self.root, self.warehouse, self.sources, self.table_indexes]
        folders += [self.models, self.converted_models, self.wikipedia_index.parent]
        for folder in folders:
            remove_abandoned(folder.glob("*.tmp"))
        # The model card and the calibration are written into an existing model.
        remove_abandoned(self.models.glob("*/*.tmp"))

    def partition_lock(self, table: str, shard: str, partition_name: str) -> FileLock:
        """Lock on a partition: a second run that needs it waits, then finds it made."""
        return self.output_lock(f"{table}.{shard}.{partition_name}")

    def device_lock(self, device: str) -> FileLock:
        """Lock held while a model is loaded: one model at a time per device."""
        # No slot of a Dagster pool: the kernel releases a file lock when its process is killed.
        return self.process_lock(f"device-{device.replace(':', '-')}")

    def output_lock(self, name: str) -> FileLock:
        """Lock on an output that is not a partition, such as a model, by its name."""
        self.check_locks()
        return file_lock(self.root / "locks", name, RemovedLock)

    def process_lock(self, name: str) -> FileLock:
        """Lock held by a process for its life; a process that gets it knows the other has ended."""
        return file_lock(self.machine / "locks", name)

    def run_lock(self, run_id: str) -> FileLock:
        """Lock held by the process of a Dagster run; see `process_lock`."""
        return self.process_lock(f"process-{run_id}")

    def records_lock(self) -> FileLock:
        """Lock held while Dagster's databases are opened, so that only one process makes tables."""
        return self.process_lock("records")
