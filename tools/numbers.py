"""Numbers as people write them: how to find them in a text, and their values.

A comma only joins groups of three digits, and a point precedes decimals. What can be read in more
than one way, such as `3,5` or `1.234,50`, raises NumberError.
"""

import re
import unicodedata
from fractions import Fraction

# Blanks that do not end a line and may separate groups of digits.
BLANKS = "\u00a0\u2002\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f"
_SUPERSCRIPTS = "⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹"
_VULGAR = "[¼½¾⅐-⅞↉]"
# Full-width forms, and dashes that stand for a minus. One character each, so that offsets stay.
_PLAIN = {0xFEE0 + code: code for code in range(0x21, 0x7F)} | dict.fromkeys(
    map(ord, "−﹣‐‑‒–"), ord("-")
)
# An ordinary blank may also stand between two numbers, hence the strict groups.
_DIGITS = r"(?:[1-9][0-9]{0,2}(?: [0-9]{3}(?![0-9]))+|[0-9]+)"
_JOINED = rf"(?:[.,'’_·{BLANKS}][0-9]+)"
_POWER = rf"(?: ?[x×*·⋅] ?10)? ?(?:\^ ?[-+]?[0-9]*|[{_SUPERSCRIPTS}]+)"
# A number without sign, readable or not; no part of it is another number.
NUMBER = (
    rf"(?>(?:{_DIGITS}|(?<!\.)\.[0-9]+){_JOINED}*(?:[eE][-+]?[0-9]+)?(?: ?{_VULGAR})?"
    rf"(?:{_POWER})?|{_VULGAR})"
)
# For a character class: letters and marks of scripts without blanks between words (Thai, Lao,
# Burmese, Khmer, kana, Chinese) or before endings (Korean).
UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30fa\u30fc-\u30ff\u3400-\u4dbf"
    r"\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
# Digits after a letter start no number ("H2O"), nor does the rest of a number.
START = rf"(?<![^\W{UNSPACED}])(?<![0-9][.,'’_·])"
# A unit may touch the end of a number, and so may a letter of these scripts unless it multiplies
# (3万). Other letters may be a variable (`20x`).
_MULTIPLIERS = "[十百千万萬亿億兆백천만억조]|ร้อย|พัน|หมื่น|แสน|ล้าน"
_UNITS = (
    "kg|mg|km|cm|mm|nm|km/h|ml|mL|cl|dl|hl|lbs?|oz|ft|yd|mph|kmh|kWh?|MWh?|Hz|kHz|MHz|GHz|[KMGT]B|min|"
    "hrs?|secs?|ms|kr|Kč|zł|EUR|USD|GBP"
)
END = rf"(?!(?!(?!{_MULTIPLIERS})[{UNSPACED}]|(?:{_UNITS})(?!\w))\w)"

_READABLE = re.compile(
    rf"(?P<whole>[1-9][0-9]{{0,2}}(?:(?P<mark>[,'’_ {BLANKS}])[0-9]{{3}})(?:(?P=mark)[0-9]{{3}})*"
    r"|[0-9]+)?(?:(?P<rest>(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,2})?)"
    rf"|(?P<fraction> ?{_VULGAR}))"
)
_MOST_CHARACTERS, _MOST_SHOWN = 300, 40


class NumberError(ValueError):
    """A number cannot be read in exactly one way.

    Attributes:
        reason: `syntax_error` for digits and points alone, else `ambiguous_number`.
    """

    def __init__(self, number: str) -> None:
        shown = number if len(number) <= _MOST_SHOWN else f"{number[:_MOST_SHOWN]}…"
        super().__init__(
            f"{shown!r} is no number that can be read in exactly one way. Expected one such as "
            "1,234.5: a point before decimals, and commas, if any, between groups of three digits."
        )
        is_plain = set(number) <= set("0123456789.")
        self.reason = "syntax_error" if is_plain else "ambiguous_number"


def plain(text: str) -> str:
    """Replace full-width characters and minus signs by ASCII; offsets stay.

    Example:
        >>> plain("１２ − 5")
        '12 - 5'
    """
    return text if text.isascii() else text.translate(_PLAIN)


def digits_of(number: str, *, is_alone: bool = True) -> str:
    """Return the value of what `NUMBER` matches, as text that `Fraction` reads.

    Args:
        is_alone: Whether `5 200` must be one number, as in a sum or a cell. In a sentence it may be
            two.

    Raises:
        NumberError: If it has several readings, is a power or is too long.

    Example:
        >>> [digits_of(number) for number in ("1,250.5", "1 200", "1e3", "2½")]
        ['1250.5', '1200', '1e3', '5/2']
        >>> digits_of("3,5")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        tools.numbers.NumberError: '3,5' is no number that can be read in exactly one way. ...
    """
    match = _READABLE.fullmatch(number)
    is_list = match is not None and match["mark"] == " " and not is_alone
    if match is None or is_list or len(number) > _MOST_CHARACTERS:
        raise NumberError(number)
    whole = "".join(filter(str.isdigit, match["whole"] or ""))
    if match["fraction"] is None:
        return f"{whole}{match['rest']}"
    above, _, below = unicodedata.normalize("NFKC", match["fraction"].strip()).partition("⁄")
    return f"{int(whole or 0) * int(below) + int(above)}/{below}"


def rounded(value: Fraction, decimals: int) -> Fraction:
    """Round a value to some decimals, halves away from zero."""
    scale = 10**decimals
    size = (abs(value) * 2 * scale + 1) // 2
    return Fraction(size if value >= 0 else -size, scale)
