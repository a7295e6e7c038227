"""Fingerprints: digests of everything an output was computed from.

An output whose stored fingerprint equals the current one is up to date. A fingerprint names its
parts, so the plan can say which of them changed. Stages declare their parts in `assets/stage.py`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from toolformer.base.digests import hex_digest

FINGERPRINT = "fingerprint"
PARTS = "parts"
# Name of the part that is a digest of the output's own rows. Downstream outputs depend on it, since
# the same inputs can give other rows, but it never makes the rows themselves stale.
ROWS = "rows"
# Returned by `difference` if nothing is stored.
MISSING = "missing"
# Created once, because a plan of many shards encodes millions of parts.
_as_json = json.JSONEncoder(sort_keys=True, default=str).encode


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A digest and the parts it is computed from: JSON texts by name."""

    parts: Mapping[str, str]

    @classmethod
    def of(cls, parts: Mapping[str, object]) -> "Fingerprint":
        """Return the fingerprint of parts; values that JSON cannot encode become `str(value)`."""
        return cls({name: _as_json(part) for name, part in parts.items()})

    @property
    def digest(self) -> str:
        return hex_digest(_as_json(dict(self.parts)))

    def metadata(self) -> dict[str, str]:
        """Return the metadata that is stored with a partition; `difference` reads it."""
        return {FINGERPRINT: self.digest, PARTS: _as_json(dict(self.parts))}

    def with_parts(self, parts: Mapping[str, object]) -> "Fingerprint":
        return Fingerprint({**self.parts, **Fingerprint.of(parts).parts})

    def difference(self, stored: Mapping[str, str] | None) -> str | None:
        """Return why a partition is stale, given its stored metadata; None if it is up to date.

        `stored` is None if there is no partition.
        """
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
        # Paths of settings contain a dot and keep the spelling of toolformer.yaml.
        named = (name if "." in name else name.replace("_", " ") for name in changed)
        return f"changed: {', '.join(named)}"
