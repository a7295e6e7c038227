"""What an output was computed from, as a digest: the same fingerprint means nothing to do.

A fingerprint names its parts, so that an output that is out of date can say which of them changed.
The declaration of a stage says what its outputs depend on (`assets/stage.py`). A stored one names
the rows as well, so that what is made of them knows these from others that were made of the same.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from toolformer.base.digests import hex_digest

FINGERPRINT = "fingerprint"
PARTS = "parts"
# The part that tells rows from others that were made of the same; no reason to make them again.
ROWS = "rows"
# The reason where nothing is stored.
MISSING = "missing"
# Made once: a plan of many shards writes millions of parts.
_as_json = json.JSONEncoder(sort_keys=True, default=str).encode


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A digest and the named parts it was made of.

    Attributes:
        parts: by name, as JSON.
    """

    parts: Mapping[str, str]

    @classmethod
    def of(cls, parts: Mapping[str, object]) -> "Fingerprint":
        """A fingerprint of these parts: anything that JSON or `str` can write."""
        return cls({name: _as_json(part) for name, part in parts.items()})

    @property
    def digest(self) -> str:
        """Hexadecimal, 32 characters."""
        return hex_digest(_as_json(dict(self.parts)))

    def metadata(self) -> dict[str, str]:
        """What is stored with a partition."""
        return {FINGERPRINT: self.digest, PARTS: _as_json(dict(self.parts))}

    def with_parts(self, parts: Mapping[str, object]) -> "Fingerprint":
        """The same with further parts, or others; see `of`."""
        return Fingerprint({**self.parts, **Fingerprint.of(parts).parts})

    def difference(self, stored: Mapping[str, str] | None) -> str | None:
        """Why a partition with the stored metadata is out of date; None when it is not."""
        if stored is None:
            return MISSING
        if stored.get(FINGERPRINT) == self.digest:
            return None
        old = json.loads(stored.get(PARTS, "{}"))
        if ROWS in old:
            with_rows = Fingerprint({**self.parts, ROWS: old[ROWS]})
            if stored.get(FINGERPRINT) == with_rows.digest:
                return None
        changed = sorted(
            name for name in {*old, *self.parts} - {ROWS} if old.get(name) != self.parts.get(name)
        )
        # Paths of settings stay as they are written in toolformer.yaml.
        named = (name if "." in name else name.replace("_", " ") for name in changed)
        return f"changed: {', '.join(named)}"
