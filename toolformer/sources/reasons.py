"""Why records give no document, and how many of them did and did not."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, get_args

Unreadable = Literal["truncated_source", "damaged_source", "decompression_limit"]
Reason = (
    Unreadable
    | Literal["too_long", "invalid_utf8", "invalid_json", "repeated_key"]
    | Literal["not_an_object", "empty_text"]
    | Literal["missing_text", "text_not_a_string", "missing_context", "context_not_a_string"]
    # Of pages of a Wikipedia dump.
    | Literal["redirect", "not_an_article", "unparsable_markup", "no_text_after_markup"]
    # Of records of a web archive.
    | Literal["html_not_extracted", "http_error", "encoded_response", "not_text"]
)
# After it nothing of the file is read.
UNREADABLE: frozenset[Reason | None] = frozenset(get_args(Unreadable))


@dataclass(slots=True)
class Tally:
    """How many records were read, and how many of them were rejected for which reason.

    Example:
        >>> str(Tally(6, Counter(too_long=2, empty_text=3)))
        '6 records read, 1 usable, 5 rejected: empty_text 3, too_long 2'
    """

    records: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def usable(self) -> int:
        """Records that were not rejected."""
        return self.records - self.rejected.total()

    def count(self, reason: str | None) -> None:
        """Counts one record; None stands for one that is usable."""
        self.records += 1
        if reason is not None:
            self.rejected[reason] += 1

    def __str__(self) -> str:
        rejected = f", {self.rejected.total()} rejected: {self.reasons}" if self.rejected else ""
        return f"{self.records} records read, {self.usable} usable{rejected}"

    @property
    def reasons(self) -> str:
        """The reasons with their records, the commonest first."""
        ordered = sorted(self.rejected.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{reason} {count}" for reason, count in ordered)
