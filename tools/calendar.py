"""Implements the Calendar: the current date of a text (paper, §3 and appendix A).

The date comes from the document's URL or from its source, never from the clock.
"""

import datetime
import re
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from toolformer.base.constants import EARLIEST_DATE, LATEST_DATE, MONTHS, WEEKDAYS
from tools.base import Tool, with_checked_settings
from tools.errors import CallSyntaxError, ToolCallError
from tools.protocol import Document, Preselection, Proposal

# A path segment may continue after a day with hyphens (`2024-05-03-fair`).
_DATE_IN_PATH = re.compile(
    r"(?<=/)([0-9]{4})([/-]?)([0-9]{2})\2([0-9]{2})(?:(?<=-[0-9]{2})(?![0-9])|(?=/|\Z))"
)
_ANY_WEEKDAY = "|".join(WEEKDAYS)
# "May" and "March" are also ordinary words, so they only count next to a day or a year.
_ANY_MONTH = "|".join(month for month in MONTHS if month not in ("March", "May"))
_DAY = r"[0-3]?[0-9](?:st|nd|rd|th)?"
_SAYS_DAY = re.compile(
    rf"\b(?:(?:{_ANY_WEEKDAY})s?|{_ANY_MONTH}"
    rf"|(?:May|March)(?=,? {_DAY}\b|,? (?:19|20)[0-9]{{2}}\b)|(?<=[0-9] )(?:May|March)"
    r"|[Tt]oday|[Yy]esterday|[Tt]omorrow)\b"
    r"|(?<![\w$€£¥#.,/-])(?:19|20)[0-9]{2}(?![\w%/-]|[.,][0-9])"
)


class Calendar(Tool):
    """Tool that answers with the current date.

    Args:
        date_source: `url` as in the paper, or `published_on`: the date given by the source or,
            while decoding, the presumed date.
        latest_date: Latest date accepted in a URL; None to use `published_on` or, if it is unknown,
            the end of 2099.
    """

    name = "Calendar"
    description = "Says what day it is."
    takes_arguments = False
    proposals_version = "2"

    @with_checked_settings
    def __init__(
        self,
        *,
        date_source: Literal["url", "published_on"] = "url",
        latest_date: Annotated[datetime.date | None, Field(strict=False)] = None,
    ) -> None:
        self.date_source = date_source
        self.latest_date = latest_date
        self.version = f"2 date_source={self.date_source} latest_date={self.latest_date}"

    def parse_arguments(self, text: str) -> str:
        if text.strip():
            raise CallSyntaxError(
                "arguments_given",
                f"A call of Calendar has the arguments {text!r}. Expected none: 'Calendar()'.",
            )
        return ""

    def call(self, arguments: str, document: Document) -> str:  # noqa: ARG002
        date = self._date_of(document)
        if date is None:
            raise ToolCallError(
                "no_date",
                f"The {self.date_source} of the document {document.document_id!r} is "
                f"{getattr(document, self.date_source)!s:.200}. Expected a date from "
                f"{EARLIEST_DATE.year} to {LATEST_DATE.year}. A date in a URL must not be after "
                "latest_date or published_on.",
            )
        weekday, month, year = _parts(date)
        return f"Today is {weekday}, {month} {date.day}, {year}."

    def cache_key(self, document: Document) -> tuple[str, ...] | None:  # noqa: ARG002
        """Return None: computing an answer is faster than looking it up."""
        return None

    def preselect(self, document: Document) -> Preselection:
        """Select texts that have a date (about 18 % in the paper)."""
        has_date = self._date_of(document) is not None
        if self.date_source == "published_on":
            reason = "date_given" if has_date else "no_date_given"
        elif has_date:
            reason = "date_in_url"
        elif document.url and date_in_url(document.url, LATEST_DATE):
            reason = "date_in_url_after_limit"
        else:
            reason = "no_date_in_url"
        return Preselection(is_selected=has_date, reason=reason)

    def proposals(self, document: Document) -> Sequence[Proposal]:
        """Propose positions before words of the text's date; if unknown, before all date words.

        Example:
            >>> text = "It may rain on Sunday, 4 May 2025, or tomorrow; 1,999 tickets are sold."
            >>> places = Calendar().proposals(Document("example", text))
            >>> [text[each.offset :].split()[0] for each in places]
            ['Sunday,', 'May', '2025,', 'tomorrow;']
        """
        date = self._date_of(document)
        return [
            Proposal(match.start(), "")
            for match in _SAYS_DAY.finditer(document.text)
            if date is None or match.group() in _parts(date)
        ]

    def _date_of(self, document: Document) -> datetime.date | None:
        given = document.published_on
        if given and not EARLIEST_DATE <= given <= LATEST_DATE:
            given = None
        if self.date_source == "published_on":
            return given
        if document.url is None:
            return None
        return date_in_url(document.url, self.latest_date or given or LATEST_DATE)


def date_in_url(url: str, latest: datetime.date) -> datetime.date | None:
    """Return the first valid date in a path: `/YYYY/MM/DD`, `/YYYY-MM-DD…` or `/YYYYMMDD`.

    Example:
        >>> date_in_url("https://example.org/2024/05/03/fair.html", datetime.date(2024, 12, 31))
        datetime.date(2024, 5, 3)
    """
    # `urlsplit` raises an error for some real URLs.
    path = re.split(r"[?#]", url, maxsplit=1)[0]
    path = (path.partition("://")[2] or path).strip()
    for year, _, month, day in _DATE_IN_PATH.findall(path):
        try:
            date = datetime.date(int(year), int(month), int(day))
        except ValueError:  # a day that does not exist, such as 31 February
            continue
        if EARLIEST_DATE <= date <= latest:
            return date
    return None


def _parts(date: datetime.date) -> tuple[str, str, str]:
    return WEEKDAYS[date.weekday()], MONTHS[date.month - 1], str(date.year)
