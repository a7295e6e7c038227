"""Reads the columns of one row of a question file."""

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

_MAX_EXCERPT = 60
# A unit in brackets may follow a number: "9 (apples)".
_NUMBER_AND_UNIT = re.compile(rf"(?:(?P<sign>-)|\+)?(?P<digits>{NUMBER})\.?\s*(?:\([^()]*\))?")
# Columns of choices, such as choices, option1, mc1_targets, or A, B, C and D.
_CHOICES = re.compile(
    r"(answer_?)?(choice|option|candidate|alternative|ending)s?[ _-]?[a-e\d]?|answer[ _-]?[a-e]"
    r"|multiple_choice_targets|mc\d_targets|(op|sol)[_-]?[a-e\d]|(?-i:[A-E])"
    r"|(?P<wrong>(distractor|(incorrect|wrong)[ _-]?answer)s?[ _-]?\d?)",
    re.IGNORECASE,
)
# Label of a choice: B, (b), 3.
_CHOICE_NAME = re.compile(r"\(?(?:[A-Za-z]|(?P<number>\d{1,2}))[).]?")
# List or object in Python's notation: "['Rome', 'Roma']".
_WRITTEN_LIST = re.compile(r"\[(?:\s*['\"].*)?\]|\{\s*['\"].*\}", re.DOTALL)
# List in WebQuestions' notation: (list (description "Jazmyn Bieber") (description Abduction))
_DESCRIPTIONS = "(list"
_DESCRIPTION = re.compile(r'\((?:description|number) (?:"((?:[^"\\]|\\.)*)"|([^()"]+))\)')


class InvalidRowError(ValueError):
    """Error for an unusable row; the message names the column and the expected value."""


class Row:
    """Columns of a row; raises `InvalidRowError` for a value of the wrong kind.

    A dotted name refers to a field of an object, or of each object in a list. If `is_folded`,
    column names ignore case and hyphens, which differ among copies of a benchmark.
    """

    def __init__(self, columns: Mapping[str, Any], *, is_folded: bool = False) -> None:
        names = {folded_name(name): name for name in columns} if is_folded else {}
        if is_folded and len(names) < len(columns):
            raise InvalidRowError(
                f"two of the columns {excerpt(', '.join(columns))} differ only in case or hyphens"
            )
        if is_folded:
            names = {folded_name(name): name for name in column_names(columns)} | names
        self._names = names
        self._columns = columns
        self._read: set[str] = set()
        self.has_marked_answers = False

    def __contains__(self, column: str) -> bool:
        return self._value(column) not in (None, "", MISSING)

    def has_column(self, column: str) -> bool:
        """Return whether the row has a value for a column, possibly null."""
        return self._value(column) is not MISSING

    def unread(self, columns: Sequence[str]) -> list[str]:
        """Return which of these columns hold texts or lists that have not been read."""
        unread = {column: self._value(column) for column in columns if column not in self._read}
        return [
            self._names.get(column, column)
            for column, value in unread.items()
            if value and isinstance(value, (str, list, dict))
        ]

    def choices(self) -> dict[str, list[str]]:
        """Return the choices that an answer may name, by column.

        Columns of wrong answers are included without texts, since no answer refers to those.
        """
        texts_by_column: dict[str, list[str]] = {}
        for name in column_names(self._columns):
            parts = name.split(".")
            if parts[-1] in ("label", "labels"):
                continue
            for number, part in enumerate(parts, 1):
                column = ".".join(parts[:number])
                kind = _CHOICES.fullmatch(part)
                if kind and column not in self._read:
                    value = None if kind["wrong"] else value_at(self._columns, name)
                    texts_by_column.setdefault(column, []).extend(_texts_in(value))
                    break
        return texts_by_column

    def is_within_list(self, column: str) -> bool:
        outer = column.rpartition(".")[0]
        return bool(outer) and isinstance(self._value(outer), list)

    def text(self, column: str) -> str:
        """Return a non-blank text of valid Unicode, stripped."""
        value = self._value(column)
        if not isinstance(value, str) or not value.strip() or not _is_unicode(value):
            raise self._invalid("a text", column)
        return value.strip()

    def texts(self, *columns: str) -> tuple[str, ...]:
        """Return all distinct texts and numbers of these columns, at least one.

        A list holds several texts; it may be written as a JSON string or in WebQuestions' notation.
        Blank texts are skipped. Of a solution like GSM8K's (`… #### 72`), only the text after the
        marker is returned. An object stands for its `text` (SQuAD) or `name` (TempLAMA), which may
        be a list. Columns with other objects are used only if all present columns have such
        objects.
        """
        present = [column for column in columns if column in self]
        plain_columns = [
            each for each in present if not isinstance(_text_or_name(self._value(each)), dict)
        ]
        if not present:
            raise self._invalid("a text or a non-empty list of texts", *columns)
        answers = chain.from_iterable(self._answers_in(each) for each in plain_columns or present)
        return tuple(dict.fromkeys(answers))

    def numbers(self, *columns: str) -> tuple[str, ...]:
        """Return the columns' numbers in digits; a unit in brackets after a number is dropped."""
        numbers = [_number_in(text) for text in self.texts(*columns)]
        if None in numbers:
            raise self._invalid("a number, such as 1,234.5", *columns)
        return tuple(number for number in numbers if number is not None)

    def year_or_date(self, column: str) -> datetime.date:
        """Return an ISO date, or 1 July of a year such as 2014."""
        text = _as_text(self._value(column)) or ""
        try:
            return datetime.date.fromisoformat(f"{text}-07-01" if len(text) == 4 else text)
        except ValueError as error:
            raise self._invalid("a date YYYY-MM-DD or a year", column) from error

    def group(self, columns: Sequence[str]) -> str | None:
        """Return the first value of these columns; a number is replaced by its power of ten."""
        column = next((column for column in columns if column in self), None)
        if column is None:
            return None
        if (text := _as_text(self._value(column))) is None:
            raise self._invalid("a text or a number", column)
        if (number := _number_in(text)) is None:
            # Groups of Google-RE are paths: /people/person/date_of_birth.
            return text.rpartition("/")[2]
        digits = len(number.partition(".")[0])
        return f"{column} " + ("0-9" if digits == 1 else f"1{'0' * (digits - 1)}-{'9' * digits}")

    def identity(self, columns: Sequence[str]) -> str | None:
        return next(filter(None, (_as_text(self._value(column)) for column in columns)), None)

    def _answers_in(self, column: str) -> list[str]:
        value = _text_or_name(self._value(column))
        if isinstance(value, str) and value.startswith("["):
            value = _parsed_json(value)
        elif isinstance(value, str) and value.startswith(_DESCRIPTIONS):
            parts = (quoted or bare for quoted, bare in _DESCRIPTION.findall(value))
            if "".join(_DESCRIPTION.sub("", value).split()) != "(list)":
                raise self._invalid("(list (description ANSWER))", column)
            value = [re.sub(r"\\(.)", r"\1", part) for part in parts]
        values = value if isinstance(value, list) else [value]
        texts = [self._without_solution(_as_text(_text_or_name(each))) for each in values]
        if None in texts or not any(texts):
            raise self._invalid("a text or a non-empty list of texts", column)
        if any(_WRITTEN_LIST.fullmatch(text) for text in texts if text):
            raise self._invalid("a JSON list, not a list within a text", column)
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
                values = [value_at(each, inner) for each in objects]
                return [each for each in values if each is not MISSING] or MISSING
        return value

    def _invalid(self, expected: str, *columns: str) -> InvalidRowError:
        values = {self._names.get(each, each): self._value(each) for each in columns}
        present = {name: value for name, value in values.items() if value is not MISSING}
        if present:
            name, value = next(iter(present.items()))
            return InvalidRowError(f"column {name!r} is {excerpt(value)}; expected {expected}")
        return InvalidRowError(
            f"column {' or '.join(map(repr, values))} is missing; the row has "
            f"{excerpt(', '.join(column_names(self._columns)))}; expected {expected}"
        )


def names_choice(answer: str, choices: Sequence[str]) -> bool:
    """Return whether an answer is a choice's label, such as B or 3, and not itself a choice.

    Example:
        >>> [names_choice(answer, ["41", "42"]) for answer in ("B", "1", "42", "forty-two")]
        [True, True, False, False]
    """
    match = _CHOICE_NAME.fullmatch(answer)
    if not choices or answer in choices or match is None:
        return False
    return match["number"] is None or int(match["number"]) <= len(choices)


def folded_name(name: str) -> str:
    """Return a column name in the form common to all copies of a benchmark: `solution_type`."""
    # XML converters prefix attributes with an @.
    return name.lower().removeprefix("@").replace("-", "_")


def excerpt(value: object) -> str:
    shown = repr(value).encode("utf-8", "backslashreplace").decode()
    return shown if len(shown) <= _MAX_EXCERPT else f"{shown[:_MAX_EXCERPT]}…"


def _text_or_name(value: object) -> object:
    return value.get("text", value.get("name", value)) if isinstance(value, dict) else value


def _parsed_json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _texts_in(value: object) -> list[str]:
    """Return the texts of a list, of objects with a `text`, or of an object's values."""
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
        # `math.isfinite` would fail for an integer that is too large for a float.
        return _written(value) if abs(value) <= sys.float_info.max else None
    return value.strip() if isinstance(value, str) and _is_unicode(value) else None


def _written(number: float) -> str:
    """Return a number in digits, without exponent or trailing zeros: `51`, `0.0000001`."""
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
    # JSON can contain unpaired surrogates, which neither tokenizers nor Parquet accept.
    return not any("\ud800" <= character <= "\udfff" for character in text)
