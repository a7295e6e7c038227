"""Intermediate results of a long stage, so that a killed one goes on where it was.

Each step of a stage is one small JSON file that appears whole, by rename. Floats survive JSON
exactly, so a resumed stage gives the rows of an undisturbed one. A digest in each file binds its
result to stage and step: a file that was altered, torn or moved here counts as none.
"""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolformer.files.digests import hex_digest
from toolformer.files.whole_files import write_whole

# What the steps cost so far (`toolformer.stage_cost`) is stored like a step, and is none.
COST = "cost"

_LOGGER = logging.getLogger(__name__)
_FINGERPRINT_FILE = "fingerprint"
# Raised when the form of a step's file changes: steps of another form are done again.
_FORM = "2"


class Checkpoint:
    """The finished steps of one stage over one partition.

    Steps left by other settings are of no use: a folder with another fingerprint is emptied first.

    Attributes:
        resumed_steps: that were there when it was opened.
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
        self.after_step: Callable[[], object] = lambda: None

    def step(self, name: str, compute: Callable[[], Any]) -> Any:
        """The stored result of a step, or the computed one, stored.

        Args:
            name: unique within the stage, usable as a file name.
            compute: gives something that JSON can hold.
        """
        content = self._content(name)
        if content is not None:
            return json.loads(content)
        result = self.store(name, compute())
        self.after_step()
        return result

    def store(self, name: str, result: Any) -> Any:
        """Keep the result of a step, replacing an earlier one; returns it as it will be read."""
        content = json.dumps(result)
        self._write(self._file(name), self._sealed(name, content))
        return json.loads(content)

    def stored(self, pattern: str) -> list[Any]:
        """The stored results of the steps whose names match a glob pattern."""
        names = sorted(file.stem for file in self._folder.glob(f"{pattern}.json"))
        contents = map(self._content, names)
        return [json.loads(content) for content in contents if content is not None]

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _sealed(self, name: str, content: str) -> str:
        digest = hex_digest(self._identity, name, content)
        return f'{{"digest": "{digest}", "result": {content}}}'

    def _content(self, name: str) -> str | None:
        """The result of a step as JSON; None where there is none, or none that can be trusted."""
        file = self._file(name)
        try:
            text = file.read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return None
        content = text.removesuffix("}")[len(self._sealed(name, "")) - 1 :]
        if text == self._sealed(name, content):
            return content
        _LOGGER.warning("%s was altered or torn; the step is done again.", file)
        return None

    def _write(self, file: Path, text: str) -> None:
        # A crash of the machine costs these steps; forcing each to the disk would cost more.
        write_whole(file, text, is_durable=False)
