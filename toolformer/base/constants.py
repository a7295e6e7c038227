"""Constants that several packages share."""

import datetime

# Command that installs an extra of pyproject.toml without changing any other package.
INSTALL_EXTRA = "pip install -c requirements.lock -e '.[{}]'"

# A value that equals a threshold reaches it. Rounding in float64 can put such a value slightly
# below, so the filter and the SQL queries both allow this difference.
THRESHOLD_TOLERANCE = 1e-9
# Thresholds that the statistics always show (paper, table 2), in nats, ascending.
SWEEP_THRESHOLDS = (0.5, 1.0, 2.0)

# A date outside these years is a placeholder (0001-01-01, 1970-01-01, 9999-12-31) or belongs to
# another calendar: 2567 is Thai, 1403 Persian, 1445 Islamic.
EARLIEST_DATE, LATEST_DATE = datetime.date(1995, 1, 1), datetime.date(2099, 12, 31)

# `strftime` would return names in the machine's language.
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

# English words that say nothing about a text's topic.
_WORDS = (
    "a an and are as at be been being but by did do does for from had has have he her his if in "
    "into is it its no nor not of on or over she so some such than that the their them then there "
    "these they this those to was were when where which while who whom whose will with would"
)
FUNCTION_WORDS = frozenset(_WORDS.split())
