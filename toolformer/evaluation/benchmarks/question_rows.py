"""One row of a question file: its columns, or why it cannot be used."""

import datetime
import json
import re
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import chain
from typing import Any

from toolformer.sources.columns import MISSING, column_names, value_at
from tools.numbers import NUMBER, NumberError, digits_of, plain

_LONGEST_EXCERPT = 60
# A unit may follow a number in brackets: "9 (apples)".
_NUMBER_AND_UNIT = re.compile(rf"(?:(?P<sign>-)|\+)?(?P<digits>{NUMBER})\.?\s*(?:\([^()]*\))?")
# Columns with the answers to choose from, such as choices, option1, mc1_targets, or A, B, C and D.
_CHOICES = re.compile(
    r"(answer_?)?(choice|option|candidate|alternative|ending)s?[ _-]?[a-e\d]?|answer[ _-]?[a-e]"
    r"|multiple_choice_targets|mc\d_targets|(op|sol)[_-]?[a-e\d]|(?-i:[A-E])"
    r"|(?P<wrong>(distractor|(incorrect|wrong)[ _-]?answer)s?[ _-]?\d?)",
    re.IGNORECASE,
)
# A name of a choice: B, (b), 3.
_CHOICE_NAME = re.compile(r"\(?(?:[A-Za-z]|(?P<number>\d{1,2}))[).]?")
# A list or object as Python prints it: "['Rome', 'Roma']".
_WRITTEN_LIST = re.compile(r"\[(?:\s*['\"].*)?\]|\{\s*['\"].*\}", re.DOTALL)
# WebQuestions writes lists so: (list (description "Jazmyn Bieber") (description Abduction))
_DESCRIPTIONS = "(list"
_DESCRIPTION = re.compile(r'\((?:description|number) (?:"((?:[^"\\]|\\.)*)"|([^()"]+))\)')


class InvalidRowError(ValueError):
    """A row cannot be used; the message names the column and what was expected."""


class Row:
    """Reads the columns of a row; raises InvalidRowError for a value of another kind.

    A dotted name reaches into objects, and into each object of a list.

    Args:
        is_folded: whether columns are found by their names in lower case with underscores.
            Published copies of a benchmark differ there (`Solution-Type`, `solution_type`).
    """

    def __init__(self, columns: Mapping[str, Any], *, is_folded: bool = False) -> None:
        names = {folded_name(name): name for name in columns} if is_folded else {}
        if is_folded and len(names) < len(columns):
            raise InvalidRowError(f"two columns of {excerpt(', '.join(columns))} have one name")
        if is_folded:
            names = {folded_name(name): name for name in column_names(columns)} | names
        self._names = names
        self._columns = columns
        self._read: set[str] = set()
        self.has_marked_answers = False

    def __contains__(self, column: str) -> bool:
        return self._value(column) not in (None, "", MISSING)

    def has_column(self, column: str) -> bool:
        """Return whether the row has a value for a column, which may be null."""
        return self._value(column) is not MISSING

    def unread(self, columns: Sequence[str]) -> list[str]:
        """Return those of these columns that hold texts or lists, none of which was read."""
        unread = {column: self._value(column) for column in columns if column not in self._read}
        return [
            self._names.get(column, column)
            for column, value in unread.items()
            if value and isinstance(value, (str, list, dict))
        ]

    def choices(self) -> dict[str, list[str]]:
        """Return the choices that an answer may name, by the column that holds them.

        Columns of wrong answers alone are among them, without their texts: no answer names these.
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

    def is_within_list(self, column: str) -> bool:
        """Return whether a dotted name leads through a list of objects."""
        outer = column.rpartition(".")[0]
        return bool(outer) and isinstance(self._value(outer), list)

    def text(self, column: str) -> str:
        """Return a text of valid Unicode, not blank, without white space at its ends."""
        value = self._value(column)
        if not isinstance(value, str) or not value.strip() or not _is_unicode(value):
            raise self._not("a text", column)
        return value.strip()

    def texts(self, *columns: str) -> tuple[str, ...]:
        """Return all different texts and numbers of these columns, at least one.

        A list, also as JSON or as WebQuestions writes it, holds several; blank ones are passed
        over. Of a solution that ends like GSM8K's (`… #### 72`) the text after the marks counts.
        Objects with a `text` (SQuAD's) or a `name` (TempLAMA's) count as these, and objects with
        lists of them, as copies in columns have them; in another object no text is looked for if
        other columns have some.
        """
        given = [column for column in columns if column in self]
        told = [column for column in given if not isinstance(_named(self._value(column)), dict)]
        if not given:
            raise self._not("a text, or a list of at least one", *columns)
        found = chain.from_iterable(self._answers_in(column) for column in told or given)
        return tuple(dict.fromkeys(found))

    def numbers(self, *columns: str) -> tuple[str, ...]:
        """Return numbers in digits, of texts that say one, perhaps with its unit in brackets."""
        numbers = [_number_in(text) for text in self.texts(*columns)]
        if None in numbers:
            raise self._not("a number, such as 1,234.5", *columns)
        return tuple(number for number in numbers if number is not None)

    def year_or_date(self, column: str) -> datetime.date:
        """Return a date such as 2014-03-30; of a year alone, such as 2014, its middle."""
        text = _as_text(self._value(column)) or ""
        try:
            return datetime.date.fromisoformat(f"{text}-07-01" if len(text) == 4 else text)
        except ValueError as error:
            raise self._not("a date as YYYY-MM-DD, or a year", column) from error

    def group(self, columns: Sequence[str]) -> str | None:
        """Return the first value of these columns: of a number its power of ten."""
        column = next((column for column in columns if column in self), None)
        if column is None:
            return None
        if (text := _as_text(self._value(column))) is None:
            raise self._not("a text or a number", column)
        if (number := _number_in(text)) is None:
            # Google-RE writes paths: /people/person/date_of_birth.
            return text.rpartition("/")[2]
        digits = len(number.partition(".")[0])
        return f"{column} " + ("0-9" if digits == 1 else f"1{'0' * (digits - 1)}-{'9' * digits}")

    def identity(self, columns: Sequence[str]) -> str | None:
        """Return the row's own id from the first of these columns that has one."""
        return next(filter(None, (_as_text(self._value(column)) for column in columns)), None)

    def _answers_in(self, column: str) -> list[str]:
        value = _named(self._value(column))
        if isinstance(value, str) and value.startswith("["):
            value = _listed(value)
        elif isinstance(value, str) and value.startswith(_DESCRIPTIONS):
            parts = (quoted or bare for quoted, bare in _DESCRIPTION.findall(value))
            if "".join(_DESCRIPTION.sub("", value).split()) != "(list)":
                raise self._not("(list (description ANSWER))", column)
            value = [re.sub(r"\\(.)", r"\1", part) for part in parts]
        values = value if isinstance(value, list) else [value]
        texts = [self._without_solution(_as_text(_named(each))) for each in values]
        if None in texts or not any(texts):
            raise self._not("a text, or a list of at least one", column)
        if any(_WRITTEN_LIST.fullmatch(text) for text in texts if text):
            raise self._not("a list as JSON has it, not one within a text", column)
        return [text for text in texts if text]

    def _without_solution(self, text: str | None) -> str | None:
        answer = text.rpartition("####")[2].strip() if text and "####" in text else ""
        if not answer or "\n" in answer:
            return text
        self.has_marked_answers = True
        return answer

    def _value(self, column: str) -> Any:
        self._read.add(column)
        value = value_at(self._columns, self._names.get(column, column))
        outer, _, inner = column.rpartition(".")
        if value is MISSING and outer:
            objects = value_at(self._columns, self._names.get(outer, outer))
            if isinstance(objects, list):
                found = [value_at(each, inner) for each in objects]
                return [each for each in found if each is not MISSING] or MISSING
        return value

    def _not(self, expected: str, *columns: str) -> InvalidRowError:
        values = {self._names.get(each, each): self._value(each) for each in columns}
        given = {name: value for name, value in values.items() if value is not MISSING}
        if given:
            name, value = next(iter(given.items()))
            return InvalidRowError(f"column {name!r} is {excerpt(value)}; expected {expected}")
        return InvalidRowError(
            f"column {' or '.join(map(repr, values))} is missing among "
            f"{excerpt(', '.join(column_names(self._columns)))}; expected {expected}"
        )


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
    """Return the name of a column as all copies of a benchmark have it: `solution_type`."""
    # Converters of XML put an @ before attributes.
    return name.lower().removeprefix("@").replace("-", "_")


def excerpt(value: object) -> str:
    """Return the beginning of a value, for messages."""
    shown = repr(value).encode("utf-8", "backslashreplace").decode()
    return shown if len(shown) <= _LONGEST_EXCERPT else f"{shown[:_LONGEST_EXCERPT]}…"


def _named(value: object) -> object:
    """Return the text of an object with a `text` or `name`; another value as it is."""
    return value.get("text", value.get("name", value)) if isinstance(value, dict) else value


def _listed(text: str) -> object:
    """Return the list that a text holds as JSON; the text if it holds none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


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
        return _written(value) if abs(value) <= sys.float_info.max else None
    return value.strip() if isinstance(value, str) and _is_unicode(value) else None


def _written(number: float) -> str:
    """Return a number in digits, without exponent or empty decimals: `51`, `0.0000001`."""
    return str(number) if isinstance(number, int) else f"{Decimal(repr(number)).normalize():f}"


def _number_in(text: str) -> str | None:
    match = _NUMBER_AND_UNIT.fullmatch(plain(text))
    if match is None:
        return None
    try:
        digits = digits_of(match["digits"])
    except NumberError:
        return None
    if "/" in digits:
        digits = _written(float(Fraction(digits)))
    return f"{match['sign'] or ''}{digits}"


def _is_unicode(text: str) -> bool:
    # JSON can hold half a surrogate pair, which neither tokenizers nor Parquet take.
    return not any("\ud800" <= character <= "\udfff" for character in text)
