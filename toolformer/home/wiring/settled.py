"""What `auto` was measured to be: measured at the first use, then read from a file of the home."""

import functools
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from toolformer.files.sealed import sealed, unsealed
from toolformer.files.whole_files import write_whole
from toolformer.home.home import Home
from warehouse.errors import StoreConflictError

AUTO = "auto"
Measured = TypeVar("Measured")
_LOGGER = logging.getLogger(__name__)
tell_once = functools.cache(_LOGGER.info)
"""Writes a line into the log of a run, whose process is its own."""


def settled(
    file: Path, kind: type[Measured], home: Home, measure: Callable[[], Measured]
) -> Measured:
    """What was measured before, or is now; of several processes one measures, and all agree.

    Args:
        file: where it is written down, below `home.precisions`.
        kind: dataclass of what is measured.
        home: the home.
        measure: measures it; what it raises is raised.
    """
    with home.output_lock(f"{file.parent.name}.{file.stem}"):
        record = read_settled(home.open(file), kind)
        if record is None:
            record = measure()
            file.parent.mkdir(parents=True, exist_ok=True)
            # A dataclass, of which no type says that it is one.
            entries: Any = record
            write_whole(file, json.dumps(sealed(asdict(entries)), indent=2) + "\n")
            try:
                home.publish(file)
            except StoreConflictError:
                # Another machine has measured it meanwhile: all go by one.
                record = read_settled(home.open(file), kind) or record
    return record


def read_settled(file: Path, kind: type[Measured]) -> Measured | None:
    """What a file holds; None too where the file is damaged: it is measured again."""
    of_kind: Any = kind
    names = [each.name for each in fields(of_kind)]
    try:
        content = unsealed(json.loads(file.read_bytes()), names)
        return TypeAdapter(kind).validate_python(content)
    except FileNotFoundError:
        return None
    except (ValueError, LookupError, TypeError) as error:
        tell_once(f"{file} is damaged, and measured again: {error}")
        return None
