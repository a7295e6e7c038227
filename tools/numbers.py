"""Numbers as people write them: where they stand in a text, and what each of them is.

A comma joins digits in groups of three and nothing else, a point stands before decimals. What can
be read in more than one way, such as `3,5` or `1.234,50`, has no value but a reason.
"""

import re
import unicodedata
from fractions import Fraction

# Blanks at which no line ends; they stand between groups of digits.
BLANKS = "\u00a0\u2002\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f"
_SUPERSCRIPTS = "⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹"
_VULGAR = "[¼½¾⅐-⅞↉]"
# Full-width forms, and dashes that are written for a minus: one character for each, so that
# offsets stay.
_PLAIN = {0xFEE0 + code: code for code in range(0x21, 0x7F)} | dict.fromkeys(
    map(ord, "−﹣‐‑‒–"), ord("-")
)
# An ordinary blank may also stand between two numbers, hence the strict groups.
_DIGITS = r"(?:[1-9][0-9]{0,2}(?: [0-9]{3}(?![0-9]))+|[0-9]+)"
_JOINED = rf"(?:[.,'’_·{BLANKS}][0-9]+)"
_POWER = rf"(?: ?[x×*·⋅] ?10)? ?(?:\^ ?[-+]?[0-9]*|[{_SUPERSCRIPTS}]+)"
# A number without sign, whether it can be read or not; none of its parts is another number.
NUMBER = (
    rf"(?>(?:{_DIGITS}|(?<!\.)\.[0-9]+){_JOINED}*(?:[eE][-+]?[0-9]+)?(?: ?{_VULGAR})?"
    rf"(?:{_POWER})?|{_VULGAR})"
)
# Within a class: letters and marks of scripts that put no blanks between words (Thai, Lao, Burmese,
# Khmer, kana, Chinese), or endings right behind them (Korean).
UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30fa\u30fc-\u30ff\u3400-\u4dbf"
    r"\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
# Digits behind another letter start no number ("H2O"), nor does the rest of one.
START = rf"(?<![^\W{UNSPACED}])(?<![0-9][.,'’_·])"
# What may touch the end of a number: a letter of these scripts that multiplies nothing (3万), or a
# unit. Other letters may be a variable (`20x`).
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
    """What is written as a number cannot be read as one; the message says why.

    Attributes:
        reason: `ambiguous_number`; of digits and points alone `syntax_error`.
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
    """Write full-width characters and minus signs in ASCII; offsets stay.

    Example:
        >>> plain("１２ − 5")
        '12 - 5'
    """
    return text if text.isascii() else text.translate(_PLAIN)


def digits_of(number: str, *, is_alone: bool = True) -> str:
    """The value of what `NUMBER` matches, as text that `Fraction` reads.

    Args:
        is_alone: Nothing else can stand there. Within a sentence `5 200` may be two numbers, which
            a sum, or a cell of a table, cannot hold side by side.

    Raises:
        NumberError: It cannot be read in exactly one way, is a power, or too long.

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
    """A value rounded to so many decimals, halves away from zero."""
    scale = 10**decimals
    size = (abs(value) * 2 * scale + 1) // 2
    return Fraction(size if value >= 0 else -size, scale)
