"""The folders below `$TOOLFORMER_HOME`, and the locks that keep processes out of each other's way.

Locks are taken in this order, so that no two processes wait for each other: a device, the corpus,
the shards, the manifest's own (`sources/manifest.lock`), a slice or another output. Who holds one
may wait for a later one only: a command that changes the sources loads no model while it does.

Does not know what is in the files.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from toolformer.ground.whole_files import remove_abandoned
from toolformer.training.variants import CALLS


def home_folder() -> Path:
    """`$TOOLFORMER_HOME`, or `data/` in the repository: everything made at run time."""
    named = os.environ.get("TOOLFORMER_HOME")
    repository = Path(__file__).resolve().parents[1]
    return Path(named).expanduser().absolute() if named else repository / "data"


@dataclass(frozen=True, slots=True)
class Home:
    """Everything that is made at run time lies below `root`."""

    root: Path

    @classmethod
    def find(cls) -> "Home":
        """The home that the environment names."""
        return cls(home_folder())

    @property
    def settings_file(self) -> Path:
        """`toolformer.yaml`."""
        return self.root / "toolformer.yaml"

    @property
    def warehouse(self) -> Path:
        """Folder of the Parquet slices."""
        return self.root / "warehouse"

    @property
    def database(self) -> Path:
        """The DuckDB file for people."""
        return self.root / "warehouse.duckdb"

    @property
    def sources(self) -> Path:
        """Manifest and raw slices of the corpus."""
        return self.root / "sources"

    @property
    def inbox(self) -> Path:
        """Where texts are put that the sensor `inbox` takes into the corpus."""
        return self.root / "inbox"

    @property
    def wikipedia_index(self) -> Path:
        """The Lucene index."""
        return self.root / "indexes" / "wikipedia"

    @property
    def passage_index(self) -> Path:
        """The FAISS index of dense passage vectors."""
        return self.root / "indexes" / "passages"

    @property
    def models(self) -> Path:
        """Converted and finetuned models."""
        return self.root / "models"

    def finetuned_model(self, round_number: int, variant: str = CALLS) -> Path:
        """The model that C* of a round taught (or of several rounds, this being the newest)."""
        suffix = "" if variant == CALLS else f"-{variant}"
        suffix += "" if round_number == 1 else f"-round-{round_number}"
        return self.models / f"toolformer{suffix}"

    @property
    def checkpoints(self) -> Path:
        """Intermediate results of unfinished stages."""
        return self.root / "cache" / "checkpoints"

    @property
    def calibration(self) -> Path:
        """How far bfloat16 lies from float32, one file per model and kind of device."""
        return self.root / "calibration"

    @property
    def tool_results(self) -> Path:
        """Answers of earlier calls, shared by all runs."""
        return self.root / "cache" / "tool_results"

    @property
    def report(self) -> Path:
        """The report that the UI opens."""
        return self.root / "report.html"

    @property
    def plots(self) -> Path:
        """The plots that the UI links to."""
        return self.root / "plots"

    @property
    def dagster(self) -> Path:
        """DAGSTER_HOME."""
        return self.root / "dagster"

    def corpus_lock(self) -> FileLock:
        """Held by a command that changes which sources are listed, from its first look to its end.

        Then no command writes an older state of the settings file over another's.
        """
        return self._lock("corpus")

    def shards_lock(self) -> FileLock:
        """Held while manifest, warehouse and registered partitions are brought in line."""
        return self._lock("shards")

    def remove_abandoned_files(self) -> None:
        """Remove what killed processes left half written outside of the warehouse."""
        for folder in (self.root, self.sources, self.calibration, self.root / "digests"):
            remove_abandoned(folder.glob("*.tmp"))
        remove_abandoned(self.plots.rglob("*.tmp"))

    def slice_lock(self, table: str, shard: str, slice_name: str) -> FileLock:
        """Held while a slice is made: a second run over it waits, then finds the work done."""
        return self._lock(f"{table}.{shard}.{slice_name}")

    def device_lock(self, device: str) -> FileLock:
        """Held while a model is loaded: one model at a time per device.

        A file lock and no pool slot: the kernel releases it when the process is killed.
        """
        return self._lock(f"device-{device.replace(':', '-')}")

    def output_lock(self, name: str) -> FileLock:
        """Held while an output that is no slice is made, such as a model."""
        return self._lock(name)

    def process_lock(self, name: str) -> FileLock:
        """Held by a command while it lives: whoever gets it knows that the command has ended."""
        return self._lock(name)

    def _lock(self, name: str) -> FileLock:
        folder = self.root / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock", thread_local=False)
