"""Words of a text that say a day: months, weekdays, years, today, yesterday and tomorrow."""

import re
from collections.abc import Container

from toolformer.ground.day_names import MONTHS, WEEKDAYS
from tools.protocol import Proposal

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
