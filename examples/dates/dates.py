"""The tool Dates: date arithmetic relative to the date of the document."""

import datetime
import re
from collections.abc import Sequence

from dateutil.parser import parse
from dateutil.relativedelta import relativedelta

from toolformer.base.constants import MONTHS, WEEKDAYS
from tools.base import Tool
from tools.errors import CallSyntaxError, ToolCallError
from tools.prompting import draft_prompt
from tools.protocol import Document, Preselection, Proposal

_RELATIVE_DAYS = ("yesterday", "today", "tomorrow")
_NUMBERS = ("a", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_MONTH, _WEEKDAY = "|".join(MONTHS), "|".join(WEEKDAYS)
_YEAR, _NTH = "(?:19|20)[0-9]{2}", "[0-3]?[0-9](?:st|nd|rd|th)?"
_MONTH_AND_DAY = rf"(?:(?:{_MONTH}) {_NTH}|{_NTH}(?: of)? (?:{_MONTH}))(?:,? {_YEAR})?"
_DATE = rf"(?:{_YEAR}-[0-9]{{2}}-[0-9]{{2}}|{_MONTH_AND_DAY})(?!\w)"
_NAMED_DAY = rf"(?:(?:last|next|this)\s)?(?:{_WEEKDAY})"
_DAY = rf"(?:{_DATE}|{_NAMED_DAY}|{'|'.join(_RELATIVE_DAYS)})"
_SPAN = rf"(?:[0-9]{{1,4}}|{'|'.join(_NUMBERS)}) (?:day|week|month|year)s?"
_FORMS = [
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"(?P<weekday>weekday of )?(?P<day>{_DAY})(?: (?P<way>[+-]) (?P<span>{_SPAN}))?",
        rf"(?P<span>{_SPAN}) (?P<way>before|after|from) (?P<day>{_DAY})",
        rf"(?P<span>{_SPAN}) (?P<way>ago|from now)",
        rf"(?P<way>in) (?P<span>{_SPAN})",
        rf"days(?= )(?: (?:from|since) (?P<start>{_DAY}))?(?: (?:to|until) (?P<end>{_DAY}))?",
    )
]
_PHRASE = rf"{_SPAN} (?:ago|from (?:now|today))|in {_SPAN}|{'|'.join(_RELATIVE_DAYS)}"
# The words before the call are known when the call is made, and they determine the date after it.
_PLACES = [
    re.compile(place, re.IGNORECASE)
    for place in (
        rf"\b(?P<call>{_NAMED_DAY}),? (?:the )?\(?(?P<place>{_DATE})",
        rf"\b(?P<call>{_PHRASE})[\s,(]{{1,3}}(?:(?:on|by|in|a) )?"
        rf"(?P<place>{_DATE}|(?:{_WEEKDAY}|{_YEAR})\b)",
    )
]
_EXAMPLES = [
    "The next meeting is on Thursday, [Dates(Thursday)] May 30.",
    "She left two weeks ago, on [Dates(two weeks ago)] May 10, 2024.",
    "May 1, 2024 + 30 days is [Dates(May 1, 2024 + 30 days)] May 31, 2024.",
    "May 31, 2024 was a [Dates(weekday of May 31, 2024)] Friday.",
    "May 3 to May 31 is [Dates(days from May 3 to May 31)] 28 days.",
]


class Dates(Tool):
    """Adds to dates, counts the days between them, and resolves phrases such as "last Friday"."""

    name = "Dates"
    version = "1"
    description = "Reckons with dates: which day, which weekday, how many days between."
    prompt = draft_prompt(name, description, _EXAMPLES)

    def parse_arguments(self, text: str) -> str:
        arguments = super().parse_arguments(text)
        if not any(form.fullmatch(arguments) for form in _FORMS):
            expected = "'May 1, 2024 + 30 days', 'two weeks ago' or 'days until May 31, 2024'"
            raise CallSyntaxError("not_a_form", f"Expected e.g. {expected}, not {arguments!r}.")
        return arguments

    def call(self, arguments: str, document: Document) -> str:
        """Return a day such as `Friday, May 31, 2024`, a weekday or a number of days."""
        matches = (form.fullmatch(arguments) for form in _FORMS)
        parts = next(match for match in matches if match).groupdict()
        try:
            if "end" in parts:
                start, end = (_day_of(parts[key] or "today", document) for key in ("start", "end"))
                count = abs((end - start).days)
                return f"{count} {'day' if count == 1 else 'days'}"
            day = _day_of(parts.get("day") or "today", document)
            if parts["span"]:
                number, unit = parts["span"].lower().split()
                count = int(number) if number.isdecimal() else max(1, _NUMBERS.index(number))
                sign = -1 if parts["way"].lower() in ("-", "before", "ago") else 1
                day += relativedelta(**{f"{unit.removesuffix('s')}s": sign * count})
        except (ValueError, OverflowError) as error:
            raise ToolCallError("no_such_day", str(error)) from error
        weekday = WEEKDAYS[day.weekday()]
        if parts.get("weekday"):
            return weekday
        return f"{weekday}, {MONTHS[day.month - 1]} {day.day}, {day.year}"

    def preselect(self, document: Document) -> Preselection:
        has_any = bool(self.proposals(document))
        return Preselection(has_any, "phrase_and_date" if has_any else "no_phrase_and_date")

    def proposals(self, document: Document) -> Sequence[Proposal]:
        """Propose dates that directly follow a weekday or a phrase such as "two weeks ago"."""
        if document.published_on is None:
            return ()
        matches = (match for place in _PLACES for match in place.finditer(document.text))
        calls = {match.start("place"): match["call"] for match in matches}
        return [Proposal(offset, " ".join(calls[offset].split())) for offset in sorted(calls)]


def _day_of(text: str, document: Document) -> datetime.date:
    """Return the day that a text means, relative to the document's date if necessary."""
    if re.search(_YEAR, text):
        return parse(text).date()
    today = document.published_on
    if today is None:
        raise ToolCallError("no_date", f"{text!r} needs the date of its text, which has none.")
    first, last = (text.lower().split()[index] for index in (0, -1))
    if first in _RELATIVE_DAYS:
        return today + datetime.timedelta(days=_RELATIVE_DAYS.index(first) - 1)
    if last.capitalize() in WEEKDAYS:
        ahead = (WEEKDAYS.index(last.capitalize()) - today.weekday()) % 7
        ahead += {"last": -7, "next": 7 * (ahead == 0)}.get(first, 0)
        return today + datetime.timedelta(days=ahead)
    return parse(f"{text} {today.year}").date()
