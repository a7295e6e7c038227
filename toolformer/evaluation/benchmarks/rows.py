"""One row of a question file: its columns, or why it cannot be used."""

import datetime
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from tools.numbers import NUMBER, NumberError, digits_of, plain

_LONGEST_EXCERPT = 60
# What stands behind a number in brackets is its unit: "9 (apples)".
_NUMBER_AND_UNIT = re.compile(rf"(?:(?P<sign>-)|\+)?(?P<digits>{NUMBER})\.?\s*(?:\([^()]*\))?")

# As tables in text form have lists and objects: "['Rome', 'Roma']".
_WRITTEN_LIST = re.compile(r"\[(?:\s*['\"].*)?\]|\{\s*['\"].*\}", re.DOTALL)


class InvalidRowError(ValueError):
    """A row cannot be read; the message names the column and what was expected."""


class LeftOutRowError(InvalidRowError):
    """A sound row is not asked; the message is the reason of `LeftOutItem`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a row asks, in whatever format it is written; see `BenchmarkItem`.

    Attributes:
        text: Question, statement or problem.
        context: The paragraph that a question is about.
    """

    text: str
    answers: tuple[str, ...]
    context: str = ""
    date: datetime.date | None = None
    group: str | None = None


class Row:
    """Reads columns, whose values are as JSON has them; a wrong one is an `InvalidRowError`.

    Published copies of a benchmark differ in case and hyphens (`Solution-Type`, `solution_type`),
    so a column is found by its name in lower case with underscores, unless names are exact.
    """

    def __init__(
        self, columns: Mapping[str, object], default_id: str, *, has_exact_names: bool = False
    ) -> None:
        fold = str if has_exact_names else folded_name
        self._names = {fold(name): name for name in columns}
        if len(self._names) < len(columns):
            raise InvalidRowError(f"two columns of {excerpt(', '.join(columns))} have one name")
        self._columns = columns
        self._default_id = default_id
        self._read: set[str] = set()

    def __contains__(self, column: str) -> bool:
        return self._get(column) not in (None, "")

    def unread(self, columns: Iterable[str]) -> list[str]:
        """Those of these columns that hold texts or lists of which nothing was read."""
        unread = {column: self._get(column) for column in columns if column not in self._read}
        return [
            self._names[column]
            for column, value in unread.items()
            if value and isinstance(value, (str, list, dict))
        ]

    def holds_object(self, column: str) -> bool:
        """Whether a column has columns within it."""
        return isinstance(self._get(column), dict)

    def part(self, column: str) -> "Row":
        """The columns within a column, which holds an object."""
        value = self._get(column)
        if not isinstance(value, dict):
            raise self._not(column, "an object")
        return Row(value, self._default_id)

    def parts(self, column: str) -> list["Row"]:
        """The objects in the list of a column."""
        values = self._get(column)
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise self._not(column, "a list of objects")
        return [Row(value, self._default_id) for value in values]

    def text(self, column: str) -> str:
        """A text of valid Unicode, not blank, without white space at its ends."""
        value = self._get(column)
        if not isinstance(value, str) or not value.strip() or not _is_unicode(value):
            raise self._not(column, "a text")
        return value.strip()

    def optional_text(self, column: str) -> str | None:
        """The same, or None where there is nothing."""
        return self.text(column) if column in self else None

    def texts(self, column: str) -> tuple[str, ...]:
        """At least one text or number, as different texts; blank ones are passed over.

        Lists of SQuAD's form (objects with a `text`) and TempLAMA's (with a `name`) count too, and
        objects with such lists, as copies in columns have them.
        """
        value = self._get(column)
        if isinstance(value, dict):
            value = value.get("text", value.get("name"))
        values = value if isinstance(value, list) else [value]
        texts = dict.fromkeys(
            _as_text(value.get("text", value.get("name")) if isinstance(value, dict) else value)
            for value in values
        )
        if None in texts or not any(texts):
            raise self._not(column, "a text, or a list of at least one")
        if any(_WRITTEN_LIST.fullmatch(text) for text in texts if text):
            raise self._not(column, "a list as JSON has it, not one within a text")
        return tuple(text for text in texts if text)

    def listed_texts(self, column: str) -> tuple[str, ...]:
        """The same of a column that may hold its list as JSON within a text."""
        value = self._get(column)
        if not isinstance(value, str) or not value.startswith("["):
            return self.texts(column)
        try:
            within: dict[str, object] = {column: json.loads(value)}
        except (ValueError, RecursionError) as error:
            raise self._not(column, "a list as JSON has it") from error
        return Row(within, self._default_id, has_exact_names=True).texts(column)

    def numbers(self, column: str) -> tuple[str, ...]:
        """Numbers in digits, of texts that say one, perhaps with its unit in brackets behind it."""
        numbers = [_number_in(text) for text in self.texts(column)]
        if None in numbers:
            raise self._not(column, "a number, such as 1,234.5")
        return tuple(number for number in numbers if number is not None)

    def year_or_date(self, column: str) -> datetime.date:
        """A date such as 2014-03-30; of a year alone, such as 2014, its middle."""
        text = _as_text(self._get(column)) or ""
        try:
            return datetime.date.fromisoformat(f"{text}-07-01" if len(text) == 4 else text)
        except ValueError as error:
            raise self._not(column, "a date as YYYY-MM-DD, or a year") from error

    def identity(self, *columns: str) -> str:
        """The row's own id from the first of these columns that has one, else a made one."""
        values = (_as_text(self._get(column)) for column in columns)
        return next((value for value in values if value), self._default_id)

    def _get(self, column: str) -> object:
        self._read.add(column)
        name = self._names.get(column)
        return None if name is None else self._columns[name]

    def _not(self, column: str, expected: str) -> InvalidRowError:
        if column in self._names:
            message = f"is {excerpt(self._get(column))}"
        else:
            message = f"is missing among {excerpt(', '.join(self._columns))}"
        name = self._names.get(column, column)
        return InvalidRowError(f"column {name!r} {message}; expected {expected}")


def folded_name(name: str) -> str:
    """The name of a column as all copies of a benchmark have it: `solution_type`."""
    # Converters of XML put an @ before attributes.
    return name.lower().removeprefix("@").replace("-", "_")


def written_number(number: float) -> str:
    """A number in digits, without exponent or empty decimals: `51`, `0.25`, `0.0000001`."""
    if isinstance(number, int):
        return str(number)
    return f"{Decimal(repr(number)).normalize():f}"


def excerpt(value: object) -> str:
    """The beginning of a value, for messages."""
    shown = repr(value).encode("utf-8", "backslashreplace").decode()
    return shown if len(shown) <= _LONGEST_EXCERPT else f"{shown[:_LONGEST_EXCERPT]}…"


def _as_text(value: object) -> str | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        # A whole number may be too large for a float, and so for `math.isfinite`.
        return written_number(value) if abs(value) <= sys.float_info.max else None
    return value.strip() if isinstance(value, str) and _is_unicode(value) else None


def _number_in(text: str) -> str | None:
    match = _NUMBER_AND_UNIT.fullmatch(plain(text))
    if match is None:
        return None
    try:
        digits = digits_of(match["digits"])
    except NumberError:
        return None
    if "/" in digits:
        digits = written_number(float(Fraction(digits)))
    return f"{match['sign'] or ''}{digits}"


def _is_unicode(text: str) -> bool:
    # JSON can hold half a surrogate pair, which neither tokenizers nor Parquet take.
    return not any("\ud800" <= character <= "\udfff" for character in text)
