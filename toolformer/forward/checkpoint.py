"""Intermediate results of a long stage, so that a killed one goes on where it was.

Each step of a stage is one small JSON file that appears whole, by rename. Floats survive JSON
exactly, so a resumed stage gives the rows of an undisturbed one. A step whose file cannot be read
is computed again.
"""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolformer.base.atomic_files import write_atomically

# What the steps cost so far (`toolformer.stage_cost`) is stored like a step, and is none.
COST = "cost"

_LOGGER = logging.getLogger(__name__)
_FINGERPRINT_FILE = "fingerprint"
# Raised when the format of a step's file changes: steps of another format are computed again.
_FORM = "3"


class Checkpoint:
    """The finished steps of one stage over one partition.

    Steps left by other settings are of no use: a folder with another fingerprint is emptied first.

    Attributes:
        resumed_steps: that were there when it was opened.
        before_storing: called once a step was computed; what it raises keeps the step from being
            stored.
        after_step: called once a step was computed and stored.
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
        """The stored result of a step, or the computed one, stored.

        Args:
            name: unique within the stage, usable as a file name.
            compute: gives something that JSON can hold.
        """
        for result in self._read(name):
            return result
        computed = compute()
        self.before_storing()
        result = self.store(name, computed)
        self.after_step()
        return result

    def store(self, name: str, result: Any) -> Any:
        """Keep the result of a step, replacing an earlier one; returns it as it will be read."""
        # The braces tell a whole file from a torn one, whatever the result is.
        text = json.dumps({"result": result})
        self._write(self._file(name), text)
        return json.loads(text)["result"]

    def stored(self, pattern: str) -> list[Any]:
        """The stored results of the steps whose names match a glob pattern."""
        names = sorted(file.stem for file in self._folder.glob(f"{pattern}.json"))
        return [result for name in names for result in self._read(name)]

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _read(self, name: str) -> list[Any]:
        """Return the result of a step in a list, or an empty list if there is none."""
        file = self._file(name)
        try:
            return [json.loads(file.read_bytes())["result"]]
        except FileNotFoundError:
            return []
        except (LookupError, TypeError, ValueError) as error:
            _LOGGER.debug("%s cannot be read (%s); the step is computed again.", file, error)
            return []

    def _write(self, file: Path, text: str) -> None:
        # A crash of the machine costs these steps; forcing each to the disk would cost more.
        write_atomically(file, text, is_durable=False)
