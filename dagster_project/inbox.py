"""What came into the inbox: an entry that two looks in a row found the same.

An entry is a file or a folder right below the inbox, and becomes a source of its own: a corpus is
cut source by source, so what comes later changes no shard of what was there before.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sightings:
    """What earlier looks found; kept from look to look as a text.

    Attributes:
        seen: at the last look, by name of the entry, the state of its files.
        taken: the states in which entries were taken.
    """

    seen: Mapping[str, str] = field(default_factory=dict)
    taken: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> "Sightings":
        """From the text of the last look; empty where there was none."""
        return cls(**json.loads(text)) if text else cls()

    def text(self) -> str:
        """As the next look reads it."""
        return json.dumps(asdict(self))

    def arrived(self, now: Mapping[str, str]) -> list[str]:
        """Entries that are whole, as far as can be told, and that were not taken as they are.

        Args:
            now: the entries of this look, with their states.
        """
        return [
            name
            for name, state in now.items()
            if self.seen.get(name) == state and self.taken.get(name) != state
        ]

    def after(self, now: Mapping[str, str], taken: list[str]) -> "Sightings":
        """What the next look goes by. An entry that is gone is forgotten."""
        known = {name: state for name, state in self.taken.items() if name in now}
        return Sightings(dict(now), known | {name: now[name] for name in taken})


def entries_of(inbox: Path) -> dict[str, str]:
    """By name the state of each entry: a digest that a write to any of its files changes.

    Hidden files are left out, as in a source. So is an entry that changes during the look.
    """
    found = {}
    for path in sorted(inbox.iterdir()):
        if not path.name.startswith("."):
            try:
                found[path.name] = _state(path)
            except FileNotFoundError:
                continue
    return found


def _state(entry: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(entry.rglob("*")) if entry.is_dir() else [entry]:
        within = path.relative_to(entry)
        if path.is_file() and not any(part.startswith(".") for part in within.parts):
            status = path.stat()
            digest.update(
                json.dumps([str(within), status.st_size, status.st_mtime_ns]).encode("ascii")
            )
    return digest.hexdigest()
