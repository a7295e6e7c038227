"""Finds numbers in texts and reads their values.

A comma only joins groups of three digits, and a point precedes decimals. A number with several
readings, such as `3,5` or `1.234,50`, raises NumberError.
"""

import re
import unicodedata
from fractions import Fraction

# Blanks other than the ordinary one that may separate groups of digits.
BLANKS = "\u00a0\u2002\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f"
_SUPERSCRIPTS = "⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹"
_VULGAR = "[¼½¾⅐-⅞↉]"
# Full-width characters, and dashes used as a minus. Each maps to one character, so offsets stay
# valid.
_PLAIN = {0xFEE0 + code: code for code in range(0x21, 0x7F)} | dict.fromkeys(
    map(ord, "−﹣‐‑‒–"), ord("-")
)
# An ordinary blank may also separate two numbers, so it must precede exactly three digits.
_DIGITS = r"(?:[1-9][0-9]{0,2}(?: [0-9]{3}(?![0-9]))+|[0-9]+)"
_JOINED = rf"(?:[.,'’_·{BLANKS}][0-9]+)"
_POWER = rf"(?: ?[x×*·⋅] ?10)? ?(?:\^ ?[-+]?[0-9]*|[{_SUPERSCRIPTS}]+)"
# A number without its sign, readable or not. No part of it is matched as another number.
NUMBER = (
    rf"(?>(?:{_DIGITS}|(?<!\.)\.[0-9]+){_JOINED}*(?:[eE][-+]?[0-9]+)?(?: ?{_VULGAR})?"
    rf"(?:{_POWER})?|{_VULGAR})"
)
# Part of a character class: letters and diacritics of scripts without blanks between words (Thai,
# Lao, Burmese, Khmer, kana, Chinese) or before endings (Korean).
UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30fa\u30fc-\u30ff\u3400-\u4dbf"
    r"\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
# A number starts neither after a letter ("H2O") nor inside another number.
START = rf"(?<![^\W{UNSPACED}])(?<![0-9][.,'’_·])"
# A unit may directly follow a number, and so may a letter of these scripts unless it multiplies
# (3万). Any other letter may be a variable (`20x`).
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
_MAX_CHARACTERS, _MAX_SHOWN = 300, 40


class NumberError(ValueError):
    """Error for a number that cannot be read in exactly one way."""

    def __init__(self, number: str) -> None:
        shown = number if len(number) <= _MAX_SHOWN else f"{number[:_MAX_SHOWN]}…"
        super().__init__(
            f"{shown!r} cannot be read as a number in exactly one way. Expected a number such as "
            "1,234.5, with a point before decimals and commas only between groups of three digits."
        )
        is_plain = set(number) <= set("0123456789.")
        self.reason = "syntax_error" if is_plain else "ambiguous_number"


def plain(text: str) -> str:
    """Replace full-width characters and minus signs by ASCII, one for one: offsets stay valid.

    Example:
        >>> plain("１２ − 5")
        '12 - 5'
    """
    return text if text.isascii() else text.translate(_PLAIN)


def digits_of(number: str, *, is_single_number: bool = True) -> str:
    """Return the value of a match of `NUMBER` as text for `Fraction`, or raise NumberError.

    `is_single_number` means that `5 200` must be one number, as in a cell; in a sentence it may be
    two.

    Example:
        >>> [digits_of(number) for number in ("1,250.5", "1 200", "1e3", "2½")]
        ['1250.5', '1200', '1e3', '5/2']
        >>> digits_of("3,5")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        tools.numbers.NumberError: '3,5' cannot be read as a number in exactly one way. ...
    """
    match = _READABLE.fullmatch(number)
    is_list = match is not None and match["mark"] == " " and not is_single_number
    if match is None or is_list or len(number) > _MAX_CHARACTERS:
        raise NumberError(number)
    whole = "".join(filter(str.isdigit, match["whole"] or ""))
    if match["fraction"] is None:
        return f"{whole}{match['rest']}"
    above, _, below = unicodedata.normalize("NFKC", match["fraction"].strip()).partition("⁄")
    return f"{int(whole or 0) * int(below) + int(above)}/{below}"


def rounded(value: Fraction, decimals: int) -> Fraction:
    """Round to a number of decimals, halves away from zero."""
    scale = 10**decimals
    size = (abs(value) * 2 * scale + 1) // 2
    return Fraction(size if value >= 0 else -size, scale)
