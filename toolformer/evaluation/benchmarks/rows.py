"""One row of a question file: its columns, or why it cannot be used."""

import datetime
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from toolformer.sources.columns import MISSING, column_names, value_at
from tools.numbers import NUMBER, NumberError, digits_of, plain

_LONGEST_EXCERPT = 60
# What stands behind a number in brackets is its unit: "9 (apples)".
_NUMBER_AND_UNIT = re.compile(rf"(?:(?P<sign>-)|\+)?(?P<digits>{NUMBER})\.?\s*(?:\([^()]*\))?")
# Columns with the answers to choose from, such as choices, option1, mc1_targets, or A, B, C and D.
_CHOICES = re.compile(
    r"(answer_?)?(choice|option|candidate|alternative|ending)s?[ _-]?[a-e\d]?|answer[ _-]?[a-e]"
    r"|multiple_choice_targets|mc\d_targets|(op|sol)[_-]?[a-e\d]|(?-i:[A-E])"
    r"|(?P<wrong>(distractor|(incorrect|wrong)[ _-]?answer)s?[ _-]?\d?)",
    re.IGNORECASE,
)
# What names a choice instead of saying it: B, (b), 3.
_CHOICE_NAME = re.compile(r"\(?(?:[A-Za-z]|(?P<number>\d{1,2}))[).]?")

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
        self._has_exact_names = has_exact_names
        self._names = {fold(name): name for name in columns}
        if len(self._names) < len(columns):
            raise InvalidRowError(f"two columns of {excerpt(', '.join(columns))} have one name")
        self._columns = columns
        self._default_id = default_id
        self._read: set[str] = set()
        self.has_marked_answers = False

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

    def choices(self) -> dict[str, list[str]]:
        """Return the choices that an answer may name, by the column that holds them.

        Columns of wrong answers alone are among them, without their texts: nothing names these.
        """
        found: dict[str, list[str]] = {}
        for name in column_names(self._columns):
            parts = name.split(".")
            if parts[-1] in ("label", "labels"):
                continue
            for number, part in enumerate(parts, 1):
                column = ".".join(parts[:number])
                kind = _CHOICES.fullmatch(part)
                if kind and column not in self._read:
                    value = None if kind["wrong"] else value_at(self._columns, name)
                    found.setdefault(column, []).extend(_texts_in(value))
                    break
        return found

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

        Of a solution that ends like GSM8K's (`… #### 72`) the text after the marks counts. Lists
        of SQuAD's form (objects with a `text`) and TempLAMA's (with a `name`) count too, and
        objects with such lists, as copies in columns have them.
        """
        value = self._get(column)
        if isinstance(value, dict):
            value = value.get("text", value.get("name"))
        values = value if isinstance(value, list) else [value]
        texts = dict.fromkeys(
            self._answer_in(
                value.get("text", value.get("name")) if isinstance(value, dict) else value
            )
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

    def _answer_in(self, value: object) -> str | None:
        text = _as_text(value)
        answer = text.rpartition("####")[2].strip() if text and "####" in text else ""
        if not answer or "\n" in answer:
            return text
        self.has_marked_answers = True
        return answer

    def _get(self, column: str) -> object:
        value = self._value(column)
        return None if value is MISSING else value

    def _value(self, column: str) -> object:
        self._read.add(column)
        if self._has_exact_names:
            return value_at(self._columns, column)
        name = self._names.get(column)
        return MISSING if name is None else self._columns[name]

    def _not(self, column: str, expected: str) -> InvalidRowError:
        if (value := self._value(column)) is not MISSING:
            message = f"is {excerpt(value)}"
        else:
            message = f"is missing among {excerpt(', '.join(column_names(self._columns)))}"
        name = self._names.get(column, column)
        return InvalidRowError(f"column {name!r} {message}; expected {expected}")


def names_choice(answer: str, choices: Sequence[str]) -> bool:
    """Return whether an answer is the letter or the number of a choice, and none of the choices.

    Example:
        >>> [names_choice(answer, ["41", "42"]) for answer in ("B", "1", "42", "forty-two")]
        [True, True, False, False]
    """
    found = _CHOICE_NAME.fullmatch(answer)
    if not choices or answer in choices or found is None:
        return False
    return found["number"] is None or int(found["number"]) <= len(choices)


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


def _texts_in(value: object) -> list[str]:
    """Return the texts of a list, of objects with a `text`, or of objects by letter."""
    if isinstance(value, Mapping):
        value = value.get("text", [*value.values()])
    if isinstance(value, list):
        return [text for each in value for text in _texts_in(each)]
    text = _as_text(value)
    return [text] if text else []


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
