"""Superscripts and subscripts in plain text: `10⁶`, `H₂O`, `x^(n+1)`, `1st`."""

import re

# Not the marks of `damage`, which are white space, too.
BLANKS = " \t\n\u00a0"
_DIGITS = "0123456789+−-="
_RAISED = str.maketrans(_DIGITS, "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼")
_LOWERED = str.maketrans(_DIGITS, "₀₁₂₃₄₅₆₇₈₉₊₋₋₌")
_ONLY_DIGITS = re.compile(r"[\d+−=-]+", re.ASCII)
# Written in line, these could be read in no other way.
_ONE_THING = re.compile(r"[-−]?(?:\d+(?:[.,]\d+)*|[^\W\d_]+|[^\w\s]*)|\([^()]*\)")
# Endings of ordinals, and what is only written higher: 1st, 2e, M^me, a trademark.
_ENDINGS = frozenset(
    {"st", "nd", "rd", "th", "er", "re", "e", "ère", "eme", "ème", "me", "tm", "sm", "®", "™", "°"}
)
# How fractions were written before there was {{frac}}: 5<sup>1</sup>/<sub>2</sub>. What stands
# behind a letter or a bracket is an exponent.
_FRACTION = re.compile(r"(?:(\d)|(?<![\w)\]]))([⁰¹²³⁴-⁹]+)[/⁄]([₀-₉]+)")
_PLAIN = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉", "0123456789" * 2)
# Marks that lead to a footnote: [1], [note 2], [a].
_FOOTNOTE = re.compile(r"\[.*\]", re.DOTALL)


def superscript(text: str) -> str:
    """Writes a superscript so that it can be told from what stands before it.

    Example:
        >>> [superscript(text) for text in ("6", "−27", "st", "n+1", "0.5", "[1]")]
        ['⁶', '⁻²⁷', 'st', '^(n+1)', '^0.5', '']
    """
    text = text.strip(BLANKS)
    if text.casefold() in _ENDINGS:
        return text
    return "" if _FOOTNOTE.fullmatch(text) else _written(text, _RAISED, "^")


def subscript(text: str) -> str:
    """Writes a subscript likewise.

    Example:
        >>> [subscript(text) for text in ("2", "max", "2n+2")]
        ['₂', '_max', '_(2n+2)']
    """
    return _written(text.strip(BLANKS), _LOWERED, "_")


def plain_fractions(text: str) -> str:
    """Writes fractions of a superscript and a subscript in line.

    Example:
        >>> plain_fractions("5¹/₂ cups")
        '5 1/2 cups'
    """

    def plain(parts: re.Match[str]) -> str:
        whole = f"{parts[1]} " if parts[1] else ""
        return f"{whole}{parts[2]}/{parts[3]}".translate(_PLAIN)

    return _FRACTION.sub(plain, text)


def _written(text: str, table: dict[int, int], mark: str) -> str:
    if _ONLY_DIGITS.fullmatch(text):
        return text.translate(table)
    if not text:
        return ""
    return f"{mark}{text}" if _ONE_THING.fullmatch(text) else f"{mark}({text})"
