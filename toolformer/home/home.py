"""Paths and locks of a home, in the folders `$TOOLFORMER_HOME` and `$TOOLFORMER_CACHE`.

Lock files of devices and processes are in the cache, and lock files of shared data in the home. The
manifest and each index have their lock file next to the file it protects. To rule out deadlocks,
processes take locks in this order: device, corpus, shards, manifest, partition or other output. A
process that holds a lock may only wait for locks later in this order, so a command that changes the
sources must not load a model.
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

# An SQLite URI ends at `?` and decodes `%20`. DuckDB reads `?`, `*` and `[` as patterns, `\` as a
# slash, and a folder `title=x` as the value of a column.
_NOT_IN_A_PATH = re.compile(r"[?*\[\\=\n]|%[0-9A-Fa-f]{2}")
# SQLite's limit is 512 bytes, and Dagster adds long file names below the home.
_MAX_PATH_BYTES = 400


def home_folder() -> Path:
    path = os.environ.get("TOOLFORMER_HOME")
    repository = Path(__file__).resolve().parents[2]
    return resolved(path) if path else repository / "data"


def resolved(named: str) -> Path:
    """Return an absolute path without symbolic links; `missing/../home` becomes `home`."""
    # `Path` raises for `~unknown_user` and for circular links.
    return Path(os.path.realpath(os.path.expanduser(named)))  # noqa: PTH111


def check_path(variable: str, path: Path) -> None:
    """Raise `SettingsError` if SQLite or DuckDB cannot open files in a folder."""
    shown = str(path).encode(errors="backslashreplace").decode()
    if shown != str(path):
        raise SettingsError(
            f"{variable} is '{shown}', which is not UTF-8. SQLite and DuckDB cannot open such a "
            "path. Choose another folder."
        )
    if len(shown.encode()) > _MAX_PATH_BYTES:
        raise SettingsError(
            f"{variable} is a path of {len(shown.encode())} bytes, '{shown[:60]}…'. Expected at "
            f"most {_MAX_PATH_BYTES} bytes, the limit for SQLite. Choose a folder nearer to the "
            "root."
        )
    if special := _NOT_IN_A_PATH.search(str(path)):
        raise SettingsError(
            f"{variable} is '{path}'. SQLite or DuckDB would not read the '{special[0]}' in it as "
            "part of a name. Choose a folder whose path does not contain it."
        )


class _HomePath:
    """Path below the shared folder or below the folder of this machine."""

    def __init__(self, path: str, *, of_machine: bool = False):
        self._path, self._of_machine = path, of_machine

    def __get__(self, home: "Home", _owner: object = None) -> Path:
        return (home.machine if self._of_machine else home.root) / self._path


@dataclass(frozen=True, slots=True)
class Home:
    """Folder of all files that commands and runs write; several machines may share it.

    `cache` (`$TOOLFORMER_CACHE`) holds the files of one machine; if it is None, `root` does.
    """

    root: Path
    cache: Path | None = None

    settings_file = _HomePath("toolformer.yaml")
    warehouse = _HomePath("warehouse")
    database = _HomePath("warehouse.duckdb", of_machine=True)
    """DuckDB file for people. It contains absolute paths, so each machine has its own."""
    sources = _HomePath("sources")
    """Folder of the corpus manifest."""
    inbox = _HomePath("inbox")
    """Folder whose files the sensor `inbox` adds to the corpus."""
    wikipedia_index = _HomePath("indexes/wikipedia")
    passage_index = _HomePath("indexes/passages")
    models = _HomePath("models")
    converted_models = _HomePath("models", of_machine=True)
    """The embedded model, which each machine converts for itself."""
    checkpoints = _HomePath("cache/checkpoints")
    """Results of unfinished stages; shared, so that another machine can resume."""
    tool_results = _HomePath("cache/tool_results", of_machine=True)
    file_digests = _HomePath("cache/file_digests", of_machine=True)
    """Digests of files that the machine has read; see `toolformer.base.digests`."""
    table_indexes = _HomePath("cache/tables", of_machine=True)
    report = _HomePath("report.html")
    dagster = _HomePath("dagster", of_machine=True)
    """DAGSTER_HOME: logs of processes and, by default, SQLite databases."""

    @classmethod
    def find(cls) -> "Home":
        """Return the home that the environment names, checked by `check_path`."""
        cache = os.environ.get("TOOLFORMER_CACHE")
        home = cls(home_folder(), resolved(cache) if cache else None)
        check_path("TOOLFORMER_HOME", home.root)
        check_path("TOOLFORMER_CACHE", home.machine)
        cache_file_digests_in(home.file_digests)
        return home

    def check_exists(self) -> None:
        """Raise `SettingsError` if the folder is not a home: its name may be mistyped."""
        if not (self.settings_file.exists() or self.warehouse.exists()):
            raise SettingsError(
                f"There is no home in '{self.root}'. Expected a folder with a toolformer.yaml or a "
                "warehouse. Correct TOOLFORMER_HOME, or run `toolformer ingest` or `toolformer "
                "build` first."
            )

    @property
    def machine(self) -> Path:
        """Folder of the files that only this machine uses."""
        return self.cache or self.root

    def check_locks(self) -> None:
        """Raise `LockError` if machines share the home and its locks do not exclude each other."""
        if self.cache is not None:
            check_locks(self.machine, self.root)

    def finetuned_model(self, round_number: int, variant: str = CALLS) -> Path:
        """Return the directory of the model finetuned on C* of the rounds up to this one."""
        suffix = "" if variant == CALLS else f"-{variant}"
        suffix += "" if round_number == 1 else f"-round-{round_number}"
        return self.models / f"toolformer{suffix}"

    def shards_lock(self) -> FileLock:
        """Return the lock on the list of sources, the manifest and the set of stored shards."""
        return self.output_lock("shards")

    def remove_abandoned_files(self) -> None:
        """Remove temporary files of killed processes, except those of the warehouse's tables."""
        folders = [self.root, self.warehouse, self.sources, self.table_indexes]
        folders += [self.models, self.converted_models, self.wikipedia_index.parent]
        for folder in folders:
            remove_abandoned(folder.glob("*.tmp"))
        # The model card and the calibration are written into an existing model.
        remove_abandoned(self.models.glob("*/*.tmp"))

    def partition_lock(self, table: str, shard: str, partition_name: str) -> FileLock:
        return self.output_lock(f"{table}.{shard}.{partition_name}")

    def device_lock(self, device: str) -> FileLock:
        """Return the lock that a process holds while its model is loaded on a device."""
        # A slot of a Dagster pool would stay taken if its process were killed; the kernel releases
        # a file lock.
        return self.process_lock(f"device-{device.replace(':', '-')}")

    def output_lock(self, name: str) -> FileLock:
        self.check_locks()
        return file_lock(self.root / "locks", name, RemovedLock)

    def process_lock(self, name: str) -> FileLock:
        """Return a lock that a process holds until it ends."""
        return file_lock(self.machine / "locks", name)

    def run_lock(self, run_id: str) -> FileLock:
        return self.process_lock(f"process-{run_id}")

    def records_lock(self) -> FileLock:
        """Return the lock for opening Dagster's databases: only one process may create tables."""
        return self.process_lock("records")
