"""Reasons for rejecting records, and counts of records by reason."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Reason = Literal[
    "too_long",
    "invalid_utf8",
    "invalid_json",
    "repeated_key",
    "not_an_object",
    "wrong_column_count",
    "empty_text",
    "missing_text",
    "text_not_a_string",
    "missing_context",
    "context_not_a_string",
]


@dataclass(slots=True)
class Tally:
    """Number of records read, and number of rejected records by reason.

    Example:
        >>> str(Tally(6, Counter(too_long=2, empty_text=3)))
        'Records read: 6, usable: 1, rejected: 5 (empty_text 3, too_long 2)'
    """

    records: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def usable(self) -> int:
        return self.records - self.rejected.total()

    def count(self, reason: str | None) -> None:
        """Count one record; `reason` is None if the record is usable."""
        self.records += 1
        if reason is not None:
            self.rejected[reason] += 1

    def __str__(self) -> str:
        rejected = f", rejected: {self.rejected.total()} ({self.reasons})" if self.rejected else ""
        return f"Records read: {self.records}, usable: {self.usable}{rejected}"

    @property
    def reasons(self) -> str:
        """Reasons with counts, the most frequent first, such as `empty_text 3, too_long 2`."""
        ordered = sorted(self.rejected.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{reason} {count}" for reason, count in ordered)
