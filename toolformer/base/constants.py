"""Shared constants."""

import datetime

# Installs an extra of pyproject.toml without changing any other package.
INSTALL_EXTRA = "pip install -c requirements.lock -e '.[{}]'"

# Filter and SQL agree that a tie reaches a threshold, although float64 can land a hair below it.
THRESHOLD_TOLERANCE = 1e-9
# Thresholds that the statistics always show (paper, table 2), in nats, in rising order.
SWEEP_THRESHOLDS = (0.5, 1.0, 2.0)

# A text's date outside these years is a zero date (0001-01-01, 1970-01-01, 9999-12-31) or follows
# another calendar: 2567 is Thai, 1403 Persian, 1445 Islamic.
EARLIEST_DATE, LATEST_DATE = datetime.date(1995, 1, 1), datetime.date(2099, 12, 31)

# `strftime` would give names in the language of the machine.
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

# English words that do not say what a text is about.
_WORDS = (
    "a an and are as at be been being but by did do does for from had has have he her his if in "
    "into is it its no nor not of on or over she so some such than that the their them then there "
    "these they this those to was were when where which while who whom whose will with would"
)
FUNCTION_WORDS = frozenset(_WORDS.split())
