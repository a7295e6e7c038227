"""Sentences that lost a template or a formula: where they are in a text, and what they lost.

While markup is being read, a mark stands for what is lost. A template that stands on lines of its
own is a box, a note or a list, and no sentence has lost it, unless one goes on around it.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from toolformer.sources.losses import LossKind

# White space for `\s`, and control characters that no text has.
LOST_TEMPLATE, LOST_BLOCK, LOST_FORMULA = "\x1c", "\x1d", "\x1e"
# A raised link to a place on the page: a footnote or, behind a digit, perhaps an exponent.
RAISED_LINK = "\x1b"
# What stands in a damaged sentence.
MARK = "\x1f"

_ANY = re.compile(f"[{LOST_TEMPLATE}{LOST_BLOCK}{LOST_FORMULA}]")
_AT_DIGIT = re.compile(rf"(?<=\d)(?:'{{2,}})?{RAISED_LINK}")
_ENDS_SENTENCE = re.compile(r"[.!?。！？][\"'”’)\]]*$")
_NEAREST = 5
_GOES_ON = re.compile(r"[\"'“‘(]*[a-z0-9,;]")
# Short words with a capital letter end none (Dr., U.S.): rather two sentences than half a one.
_END = re.compile(
    r"(?:[^\W\d_]{4}|(?<![^\W\d_])[a-z]{2,3}|[\d%°)\]\"'”’²³]|(?<=[!?])|(?=[!?]))[.!?]+[\"'”’)\]]*(?=\s+[^a-z\s])|[。！？]"
)
_ABBREVIATION = re.compile(
    r"\b(?:Prof|Capt|Messrs|approx|dept|govt|al|ca|cf|ed|eds|est|etc|fl|no|pp|vol|vs)\.$"
)


def settled(text: str) -> tuple[str, dict[LossKind, int]]:
    """Decides which losses damage a sentence.

    Args:
        text: with marks of lost templates, blocks and formulas, and of raised links.

    Returns:
        The text with a `MARK` at each damaged place, and what is lost by kind.
    """
    text = _AT_DIGIT.sub(LOST_FORMULA, text).replace(RAISED_LINK, "")
    if not _ANY.search(text):
        return text, {}
    lines, templates, formulas = text.split("\n"), 0, 0
    for number, line in enumerate(lines):
        if not _ANY.search(line):
            continue
        formulas += line.count(LOST_FORMULA)
        if any(map(str.isalnum, line)):
            # A box at the edge of a line stands beside the text.
            line = line.strip(" ").removeprefix(LOST_BLOCK).removesuffix(LOST_BLOCK)
            templates += line.count(LOST_TEMPLATE) + line.count(LOST_BLOCK)
            lines[number] = _ANY.sub(MARK, line)
            continue
        before, after = _around(lines, number)
        goes_on = before is not None and after is not None
        if LOST_FORMULA in line or goes_on:
            templates += len(_ANY.findall(line)) - line.count(LOST_FORMULA)
            if before is not None:
                lines[before] += MARK
            if after is not None:
                lines[after] = MARK + lines[after]
        lines[number] = _ANY.sub("", line)
    losses: dict[LossKind, int] = {"templates": templates, "formulas": formulas}
    return "\n".join(lines), {kind: count for kind, count in losses.items() if count}


def _around(lines: list[str], number: int) -> tuple[int | None, int | None]:
    """The lines before and behind one whose sentence may go on over it."""
    # Not farther, or a page of lost lines would take the square of its length.
    above = range(number - 1, max(number - _NEAREST, 0) - 1, -1)
    below = range(number + 1, min(number + _NEAREST, len(lines)))
    before = next((i for i in above if lines[i].strip()), None)
    after = next((i for i in below if lines[i].strip()), None)
    if before is not None and _ENDS_SENTENCE.search(lines[before].rstrip()):
        before = None
    if after is not None and not _GOES_ON.match(lines[after].lstrip()):
        after = None
    return before, after


def spans_at(text: str, places: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """The sentences around some places, in order, those that touch joined.

    A sentence begins behind the one before it, with the white space in between, and ends with its
    line at the latest.

    Example:
        >>> spans_at("One here. Two there. Three.", [14])
        ((9, 20),)
    """
    edges = _edges(text)
    spans: list[tuple[int, int]] = []
    for place in places:
        is_line_start = place == 0 or text[place - 1] == "\n"
        is_line_end = place == len(text) or text[place] == "\n"
        # What stands directly behind a full stop may belong to the sentence before or behind it.
        start = place if is_line_start else edges[bisect_left(edges, place) - 1]
        stop = place if is_line_end else edges[bisect_right(edges, place)]
        if spans and start <= spans[-1][1]:
            start = spans.pop()[0]
        if start < stop:
            spans.append((start, stop))
    return tuple(spans)


def _edges(text: str) -> list[int]:
    """Where sentences and lines begin and end, in order."""
    ends = {match.end() for match in _END.finditer(text)}
    ends -= {end for end in ends if _ABBREVIATION.search(text, max(0, end - 10), end)}
    lines = {edge for line in re.finditer("\n", text) for edge in (line.start(), line.end())}
    return sorted({0, len(text), *ends, *lines})
