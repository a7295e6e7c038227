"""What is done to a command from inside: its environment makes `strike.py` run first in it.

Events are operations on files of the home (a file opened for writing, written and about to be
renamed, renamed, removed), counted by area. Production code does not know of it.
"""

import json
import os
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY
from toolformer.base.atomic_files import write_atomically

_STRIKE = Path(__file__).with_name("strike.py")


@dataclass(frozen=True, slots=True)
class Event:
    """The n-th of its kind in a command, such as the third `after rename warehouse/documents`."""

    kind: str
    number: int
    path: str

    def __str__(self) -> str:
        return f"{self.kind} #{self.number}"


def recording(home: Path, file: Path) -> dict[str, str]:
    """The environment of a command whose events are written to a file."""
    return _environment({"action": "record", "home": str(home), "file": str(file)})


def striking(action: str, home: Path, event: Event, struck: Path) -> dict[str, str]:
    """The environment of a command that is struck at an event.

    Args:
        action: `kill`, `interrupt` (as Ctrl-C does) or `terminate` the process group, or `full`:
            from then on no file of the home can be opened for writing.
        home: root of the home.
        event: which.
        struck: a file that appears at the event.
    """
    return _environment(
        {
            "action": action,
            "home": str(home),
            "event": event.kind,
            "number": event.number,
            "file": str(struck),
        }
    )


def _environment(order: dict) -> dict[str, str]:
    # Python imports a module of this name at its start, wherever it is on the path.
    folder = Path(order["file"]).parent / "injected"
    write_atomically(folder / "sitecustomize.py", _STRIKE.read_text(), is_durable=False)
    return {
        "TOOLFORMER_FAULT": json.dumps(order),
        "PYTHONPATH": os.pathsep.join((str(folder), str(REPOSITORY))),
    }


def recorded(file: Path) -> list[Event]:
    """The events of an undisturbed command."""
    return [Event(*json.loads(line)) for line in file.read_text().splitlines()]


def drawn(events: Sequence[Event], pattern: str, count: int, chance: random.Random) -> list[Event]:
    """Events whose kind matches a pattern, spread over kinds, then over numbers.

    Every kind has its turn before one is drawn again: a command opens hundreds of checkpoints, and
    each of the rarer kinds matters as much.
    """
    by_kind: dict[str, list[Event]] = {}
    for event in events:
        if re.fullmatch(pattern, event.kind):
            by_kind.setdefault(event.kind, []).append(event)
    kinds = sorted(by_kind)
    chance.shuffle(kinds)
    chosen: list[Event] = []
    while len(chosen) < count and any(by_kind.values()):
        for kind in kinds:
            if by_kind[kind] and len(chosen) < count:
                chosen.append(by_kind[kind].pop(chance.randrange(len(by_kind[kind]))))
    return chosen
