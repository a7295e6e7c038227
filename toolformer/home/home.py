"""Where things are: shared data below `$TOOLFORMER_HOME`, one machine's below `$TOOLFORMER_CACHE`.

Locks are files: those of one machine (device, living process) in its cache, those of shared data in
the home, those of the manifest and of an index beside them. They are taken in this order, so that
no two processes wait for each other: a device, the corpus, the shards, the manifest, a partition or
another output. Who holds one may wait for a later one only: a command that changes the sources
loads no model while it does.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from toolformer.base.file_digest import keep_file_digests_in
from toolformer.base.whole_files import remove_abandoned
from toolformer.home.locks import RemovedLock, check_locks, file_lock
from toolformer.home.settings.errors import SettingsError
from toolformer.training.variants import CALLS

# SQLite's addresses end at `?` and decode `%20`. DuckDB has `?`, `*` and `[` for patterns, a
# backslash for a slash, and takes the value of a column from a folder `title=x`.
_NOT_IN_A_PATH = re.compile(r"[?*\[\\=\n]|%[0-9A-Fa-f]{2}")

# SQLite takes 512 bytes, and Dagster keeps files with long names far below.
_LONGEST_PATH = 400


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
        root: `$TOOLFORMER_HOME`.
        cache: `$TOOLFORMER_CACHE`, for what belongs to one machine; None is the root itself.
    """

    root: Path
    cache: Path | None = None

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
        cache = os.environ.get("TOOLFORMER_CACHE")
        root = home_folder()
        folder = resolved(cache) if cache else None
        for name, path in {"HOME": root, "CACHE": folder}.items():
            if path:
                check_path(f"TOOLFORMER_{name}", path)
        home = cls(root, folder)
        keep_file_digests_in(home.file_digests)
        return home

    def check_there(self) -> None:
        """Refuse to read a home that is not there, which may be a mistyped name.

        Raises:
            SettingsError: no command has made the home.
        """
        if not (self.settings_file.exists() or self.warehouse.exists()):
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
        if self.cache is not None:
            check_locks(self.machine, self.root)

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
