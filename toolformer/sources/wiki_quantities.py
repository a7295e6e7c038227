"""Templates of Wikipedia that show numbers and quantities."""

import re
from collections.abc import Mapping, Sequence

from toolformer.sources.scripts import plain_fractions, superscript

_NUMBER = re.compile(r"[-−+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-−+]?\d+)?")
_UNCERTAIN = re.compile(rf"{_NUMBER.pattern}(?:\([\d.]+\)|±(?=[\d.]){_NUMBER.pattern})?")
_FRACTION = re.compile(r"([-−]?\d[\d,]*)?(?:(?<=\d)[+ ]|(?<!\d))(\d+)//?(\d+)")
_BETWEEN = {
    name: shown
    for shown, names in {
        "–": ("-", "–"),
        " to ": ("to", "to(-)"),
        " and ": ("and", "and(-)"),
        " or ": ("or",),
        " by ": ("by",),
        " × ": ("x", "xx", "×", "*"),
        " ± ": ("±", "+/-"),
    }.items()
    for name in names
}
# The codes of units: km2, /sqmi, e6acre, C-change.
_SHAPE = re.compile(r"\b(sq|cu|imp|US)(?=(?:mi|ft|yd|in|nmi|gal|floz|oz|pt|qt|bbl|bsh)\b)")
_EXPONENT = re.compile(r"(?<=[A-Za-z])[-−]?\d(?![\dA-Za-z])")
_SCALE = re.compile(r"^e\d+")
_SCALES = {"e3": "thousand ", "e6": "million ", "e9": "billion ", "e12": "trillion "}
_DEGREES = {"C": "°C", "F": "°F", "C-change": "°C", "F-change": "°F"}
_WITHOUT_BLANK = frozenset({"", "%", "°", "′", "″"})
# How a quantity is written and converted; what it is stays the same.
_OF_CONVERSION = frozenset(
    {"abbr", "sp", "lk", "sigfig", "round", "order", "comma", "sing", "sortable", "frac", "spell"}
)


def shown_formatnum(number: str, positional: Sequence[str], *, is_english: bool) -> str | None:
    """A number as `{{formatnum:…}}` shows it; None if it is none."""
    if not _NUMBER.fullmatch(number):
        return None
    if "R" in positional:
        return number.replace(",", "")
    # Other languages group digits in their own way, some by the mark of the English fraction.
    return _grouped(number) if is_english and "NOSEP" not in positional else number


def _grouped(number: str) -> str:
    """The number with commas, as the English Wikipedia shows it."""
    whole, point, fraction = number.partition(".")
    digits = whole.lstrip("-−+")
    if not digits.isdecimal():
        return number
    return f"{whole[: len(whole) - len(digits)]}{int(digits):,}{point}{fraction}"


def shown_val(positional: Sequence[str], named: Mapping[str, str]) -> str | None:
    """A number with its uncertainty, power of ten and unit: `1.23×10⁶ kg`."""
    known = {"e", "u", "ul", "up", "upl", "fmt"}
    if not known.issuperset(named) or not 1 <= len(positional) <= 2:
        return None
    value = positional[0]
    if positional[1:]:
        uncertainty = positional[1]
        value += uncertainty if uncertainty.startswith("(") else f"±{uncertainty}"
    unit, per = (_unit(named.get(key) or named.get(f"{key}l") or "") for key in ("u", "up"))
    if not _UNCERTAIN.fullmatch(value) or unit is None or per is None:
        return None
    if exponent := named.get("e"):
        value = f"({value})" if "±" in value else value
        value += f"×10{superscript(exponent)}"
    unit += f"/{per}" if per else ""
    return value + ("" if unit in _WITHOUT_BLANK else " ") + unit


def shown_gaps(positional: Sequence[str], named: Mapping[str, str]) -> str | None:
    """A number whose groups of digits are given one by one."""
    # The gaps are space on the screen, and no characters.
    return None if named.keys() - {"u", "e"} else shown_val(["".join(positional)], named)


def shown_height(_: Sequence[str], named: Mapping[str, str]) -> str | None:
    """A height in the units that are given."""
    parts = [f"{named[unit]} {unit}" for unit in ("m", "cm", "ft", "in") if named.get(unit)]
    return " ".join(parts) or None


def shown_quantity(positional: Sequence[str], named: Mapping[str, str]) -> str | None:
    """What {{convert}} is given: `5 to 8 m`, `5 ft 11 in`."""
    is_plain = named.get("disp", "or") in {"or", "sqbr", "comma", "semicolon", "br", "b", "/"}
    is_plain = is_plain and named.get("adj", "on") in {"on", "off"}
    if not is_plain or not (_OF_CONVERSION | {"disp", "adj"}).issuperset(named):
        return None
    rest = list(positional)
    shown = _measure(rest.pop(0)) if rest else None
    while shown is not None and len(rest) > 1 and rest[0] in _BETWEEN:
        between, value = _BETWEEN[rest.pop(0)], _measure(rest.pop(0))
        shown = value and shown + between + value
    parts = [shown]
    while shown and rest:
        code = rest.pop(0)
        parts.append(_DEGREES.get(code) or _unit(code))
        if len(rest) < 2 or _measure(rest[0]) is None or _measure(rest[1]) is not None:
            break
        parts.append(_measure(rest.pop(0)))
    # Behind the unit to convert to there may be one number, its precision.
    if len(parts) < 2 or not all(parts) or any(map(_measure, rest[:-1])):
        return None
    return " ".join(filter(None, parts))


def _measure(value: str) -> str | None:
    """A number as {{convert}} shows it; None for what is none."""
    if _NUMBER.fullmatch(value):
        return _grouped(value)
    if (parts := _FRACTION.fullmatch(plain_fractions(value))) is not None:
        return f"{parts[1] or ''} {parts[2]}/{parts[3]}".strip()
    low, dash, high = value.partition("-" if "-" in value else "–")
    if dash and _NUMBER.fullmatch(low) and _NUMBER.fullmatch(high):
        return f"{_grouped(low)}–{_grouped(high)}"
    return None


def _unit(code: str) -> str | None:
    code = _SCALE.sub(lambda scale: _SCALES.get(scale[0], scale[0]), _SHAPE.sub(r"\1 ", code))
    if _SCALE.match(code):
        return None
    return _EXPONENT.sub(lambda exponent: superscript(exponent[0]), code)
