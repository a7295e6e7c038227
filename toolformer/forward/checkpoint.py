"""Stores intermediate results of a long stage, so that a killed stage resumes where it stopped.

Each step is a JSON file, published by atomic rename. JSON preserves floats exactly, so a resumed
stage yields the same rows as an uninterrupted one.
"""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolformer.base.atomic_files import write_atomically

# Name under which `toolformer.stage_cost` stores the cost so far. It does not count as a step.
COST = "cost"

_LOGGER = logging.getLogger(__name__)
_FINGERPRINT_FILE = "fingerprint"
# Increment this when the format of step files changes; steps of another format are recomputed.
_FORM = "3"


class Checkpoint:
    """Finished steps of one stage for one partition.

    A folder with another fingerprint, left by other settings, is emptied first. `resumed_steps` is
    the number of steps found. `before_storing` is called after a step is computed; if it raises,
    the step is not stored. `after_step` is called after a step is stored.
    """

    def __init__(self, folder: Path, *, fingerprint: str):
        self._folder = folder
        self._identity = f"{_FORM} {fingerprint}"
        marker = folder / _FINGERPRINT_FILE
        if folder.exists() and (
            not marker.exists() or marker.read_bytes() != self._identity.encode()
        ):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if not marker.exists():
            self._write(marker, self._identity)
        self.resumed_steps = sum(file.stem != COST for file in folder.glob("*.json"))
        self.before_storing: Callable[[], object] = lambda: None
        self.after_step: Callable[[], object] = lambda: None

    def step(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return the stored result of a step, or compute and store a JSON-serialisable result."""
        for result in self._read(name):
            return result
        computed = compute()
        self.before_storing()
        result = self.store(name, computed)
        self.after_step()
        return result

    def store(self, name: str, result: Any) -> Any:
        """Store or replace the result of a step; return it as it will be read back."""
        # The enclosing object makes truncated files invalid JSON, also for a bare number.
        text = json.dumps({"result": result})
        self._write(self._file(name), text)
        return json.loads(text)["result"]

    def stored(self, pattern: str) -> list[Any]:
        """Return the results of all steps whose names match a glob pattern, ordered by name."""
        names = sorted(file.stem for file in self._folder.glob(f"{pattern}.json"))
        return [result for name in names for result in self._read(name)]

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _read(self, name: str) -> list[Any]:
        """Return a list with the result of a step, or an empty list if it is missing or damaged."""
        file = self._file(name)
        try:
            return [json.loads(file.read_bytes())["result"]]
        except FileNotFoundError:
            return []
        except (LookupError, TypeError, ValueError) as error:
            _LOGGER.debug("%s cannot be read (%s). Computing the step again.", file, error)
            return []

    def _write(self, file: Path, text: str) -> None:
        # Not synced to disk: recomputing steps after a machine crash costs less than syncing each.
        write_atomically(file, text, is_durable=False)
