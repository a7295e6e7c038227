"""Intermediate results of a long stage, so that a killed one goes on where it was.

Each step of a stage is one small JSON file that appears whole, by rename. Floats survive JSON
exactly, so a resumed stage gives the rows of an undisturbed one. Does not know what the steps hold.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolformer.ground.whole_files import write_whole

_FINGERPRINT_FILE = "fingerprint"


class Checkpoint:
    """The finished steps of one stage over one slice.

    Steps left by other settings are of no use: a folder with another fingerprint is emptied first.
    """

    def __init__(self, folder: Path, *, fingerprint: str):
        self._folder = folder
        marker = folder / _FINGERPRINT_FILE
        if folder.exists() and (not marker.exists() or marker.read_text() != fingerprint):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if not marker.exists():
            self._write(marker, fingerprint)
        self.resumed_steps = sum(1 for _ in folder.glob("*.json"))

    def step(self, name: str, compute: Callable[[], Any]) -> Any:
        """The stored result of a step, or the computed one, stored.

        Args:
            name: unique within the stage, usable as a file name.
            compute: gives something that JSON can hold.
        """
        file = self._folder / f"{name}.json"
        try:
            return json.loads(file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            # An empty or torn file can only come from a crash of the machine; it is redone.
            result = compute()
        return self.store(name, result)

    def has(self, name: str) -> bool:
        """Whether a step is stored."""
        return (self._folder / f"{name}.json").exists()

    def store(self, name: str, result: Any) -> Any:
        """Keep the result of a step, replacing an earlier one; returns it as it will be read."""
        text = json.dumps(result)
        self._write(self._folder / f"{name}.json", text)
        return json.loads(text)

    def stored(self, pattern: str) -> list[Any]:
        """The stored results of the steps whose names match a glob pattern."""
        return [
            json.loads(file.read_text()) for file in sorted(self._folder.glob(f"{pattern}.json"))
        ]

    def clear(self) -> None:
        """Remove everything, once the stage's slice is published."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, file: Path, text: str) -> None:
        # A crash of the machine costs these steps; forcing each to the disk would cost more.
        write_whole(file, text, is_durable=False)
