"""Sentences that lost a template or a formula: where they are in a text, and what they lost.

While markup is being read, a mark stands for what is lost. A template that stands on lines of its
own is a box, a note or a list, and no sentence has lost it, unless one goes on around it.
"""

import re
from collections.abc import Iterable

from toolformer.sources.losses import LossKind

# White space for `\s`, and control characters that no text has.
LOST_TEMPLATE, LOST_BLOCK, LOST_FORMULA = "\x1c", "\x1d", "\x1e"
# What stands in a damaged sentence.
MARK = "\x1f"

_ANY = re.compile(f"[{LOST_TEMPLATE}{LOST_BLOCK}{LOST_FORMULA}]")
_ENDS_SENTENCE = re.compile(r"[.!?。！？][\"'”’)\]]*$")
_GOES_ON = re.compile(r"[\"'“‘(]*[a-z0-9,;]")
# Short words before a full stop are taken for abbreviations: rather two sentences than half a one.
_END = re.compile(
    r"(?:[^\W\d_]{4}|[\d%°)\]\"'”’²³]|(?<=[!?])|(?=[!?]))[.!?]+[\"'”’)\]]*(?=\s+[^a-z\s])|[。！？]"
)
_LONG_ABBREVIATION = re.compile(r"\b(?:Prof|Capt|Messrs|approx|dept|govt)\.$")


def settled(text: str) -> tuple[str, dict[LossKind, int]]:
    """Decides which losses damage a sentence.

    Args:
        text: with marks of lost templates, blocks and formulas.

    Returns:
        The text with a `MARK` at each damaged place, and what is lost by kind.
    """
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
    before = next((i for i in range(number - 1, -1, -1) if lines[i].strip()), None)
    after = next((i for i in range(number + 1, len(lines)) if lines[i].strip()), None)
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
    spans: list[tuple[int, int]] = []
    for place in places:
        start, stop = _sentence(text, place)
        if spans and start <= spans[-1][1]:
            start = spans.pop()[0]
        if start < stop:
            spans.append((start, stop))
    return tuple(spans)


def _sentence(text: str, place: int) -> tuple[int, int]:
    line_start = text.rfind("\n", 0, place) + 1
    line_end = text.find("\n", place)
    line_end = len(text) if line_end < 0 else line_end
    ends = [
        match.end()
        for match in _END.finditer(text, line_start, line_end)
        if not _LONG_ABBREVIATION.search(text, line_start, match.end())
    ]
    # What stands directly behind a full stop may belong to the sentence before or behind it.
    start = max((end for end in ends if end < place), default=line_start)
    stop = min((end for end in ends if end > place), default=line_end)
    return start, stop
