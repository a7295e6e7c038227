"""The calendar: says what day it is for a text (paper, section 3 and appendix A).

For building data the current day is the document's own: the date in its URL, or the date its source
gives. The wall clock is never read.
"""

import datetime
import re
from collections.abc import Container, Sequence
from typing import Annotated, Literal

from pydantic import Field

from toolformer.base.constants import EARLIEST_DATE, LATEST_DATE, MONTHS, WEEKDAYS
from tools.base import Tool, with_checked_settings
from tools.errors import CallSyntaxError, ToolCallError
from tools.protocol import Document, Preselection, Proposal

# Behind hyphens a part may go on, otherwise it ends with the day.
_DATE_IN_PATH = re.compile(
    r"(?<=/)([0-9]{4})([/-]?)([0-9]{2})\2([0-9]{2})(?:(?<=-[0-9]{2})(?![0-9])|(?=/|\Z))"
)
_ANY_WEEKDAY = "|".join(WEEKDAYS)
# May and March are words of their own, so they need a day or a year beside them.
_ANY_MONTH = "|".join(month for month in MONTHS if month not in ("March", "May"))
_DAY = r"[0-3]?[0-9](?:st|nd|rd|th)?"
_SAYS_DAY = re.compile(
    rf"\b(?:(?:{_ANY_WEEKDAY})s?|{_ANY_MONTH}"
    rf"|(?:May|March)(?=,? {_DAY}\b|,? (?:19|20)[0-9]{{2}}\b)|(?<=[0-9] )(?:May|March)"
    r"|[Tt]oday|[Yy]esterday|[Tt]omorrow)\b"
    r"|(?<![\w$€£¥#.,/-])(?:19|20)[0-9]{2}(?![\w%/-]|[.,][0-9])"
)


class Calendar(Tool):
    """Says what day it is.

    Args:
        date_source: What the current day is. `url`: the date in the document's URL, which is
            when the text was written as far as the paper can tell. `published_on`: the date that
            comes with the document; while decoding this is the presumed day.
        latest_date: Latest day that a URL can name, usually that of the crawl, as a date or as
            text such as `2024-05-03`. Without it the document's `published_on` is the limit, and
            without that the year 2099.
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
        """Accept nothing but white space.

        Raises:
            CallSyntaxError: With reason `arguments_given`.
        """
        if text.strip():
            raise CallSyntaxError(
                "arguments_given",
                f"A call of Calendar has the arguments {text!r}. Expected none: 'Calendar()'.",
            )
        return ""

    def call(self, arguments: str, document: Document) -> str:  # noqa: ARG002
        """Say what day it is for a document.

        Raises:
            ToolCallError: With reason `no_date` when the document has no date.
        """
        date = self._date_of(document)
        if date is None:
            raise ToolCallError(
                "no_date",
                f"The {self.date_source} of the document {document.document_id!r} is "
                f"{getattr(document, self.date_source)!s:.200}. Expected a date from "
                f"{EARLIEST_DATE.year} to {LATEST_DATE.year}, and in a URL none after latest_date "
                "or published_on.",
            )
        return render_date(date)

    def cache_key(self, document: Document) -> tuple[str, ...] | None:  # noqa: ARG002
        """Keep nothing: looking an answer up costs more than giving it."""
        return None

    def preselect(self, document: Document) -> Preselection:
        """Take the texts that have a date, about 18 % in the paper."""
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
        """Propose the places where the text says the document's own weekday, month or year.

        The Calculator's heuristics look for a result in the text in the same way (paper, appendix
        A). A document without a date gets all words of date and time.
        """
        date = self._date_of(document)
        return propose_dates(document.text, None if date is None else _parts(date))

    def _date_of(self, document: Document) -> datetime.date | None:
        """Return the document's own date."""
        given = document.published_on
        if given and not EARLIEST_DATE <= given <= LATEST_DATE:
            given = None
        if self.date_source == "published_on":
            return given
        if document.url is None:
            return None
        return date_in_url(document.url, self.latest_date or given or LATEST_DATE)


def date_in_url(url: str, latest: datetime.date) -> datetime.date | None:
    """Find the date of a page in its URL.

    Recognised in the path alone: `/YYYY/MM/DD` as three whole parts, a part that begins with
    `YYYY-MM-DD`, and `YYYYMMDD` as a whole part. Year and month alone are no date.

    Example:
        >>> date_in_url("https://example.org/2024/05/03/fair.html", datetime.date(2024, 12, 31))
        datetime.date(2024, 5, 3)
    """
    # Not `urlsplit`, which refuses some real URLs.
    path = re.split(r"[?#]", url, maxsplit=1)[0]
    path = (path.partition("://")[2] or path).strip()
    for year, _, month, day in _DATE_IN_PATH.findall(path):
        try:
            date = datetime.date(int(year), int(month), int(day))
        except ValueError:  # no such day, for example 31 February
            continue
        if EARLIEST_DATE <= date <= latest:
            return date
    return None


def render_date(date: datetime.date) -> str:
    """Write a date as the calendar answers, whatever the machine's language.

    Example:
        >>> render_date(datetime.date(2024, 5, 3))
        'Today is Friday, May 3, 2024.'
    """
    weekday, month, year = _parts(date)
    return f"Today is {weekday}, {month} {date.day}, {year}."


def propose_dates(text: str, words: Container[str] | None = None) -> list[Proposal]:
    """Propose calls without arguments in front of words that say a day.

    Args:
        words: Only in front of these, such as "Friday", "May" and "2024"; None for all.

    Example:
        >>> text = "It may rain on Sunday, 4 May 2025, or tomorrow; 1,999 tickets are sold."
        >>> [text[each.offset :].split()[0] for each in propose_dates(text)]
        ['Sunday,', 'May', '2025,', 'tomorrow;']
    """
    return [
        Proposal(match.start(), "")
        for match in _SAYS_DAY.finditer(text)
        if words is None or match.group() in words
    ]


def _parts(date: datetime.date) -> tuple[str, str, str]:
    return WEEKDAYS[date.weekday()], MONTHS[date.month - 1], str(date.year)
