"""Places in a text where a value of a table is about to follow a subject that the text has named."""

import re
from collections.abc import Iterator

from tools.errors import CallSyntaxError
from tools.plugins.table_index import TableIndex
from tools.plugins.table_names import words_of
from tools.protocol import Proposal
from tools.syntax import check_arguments

_LONGEST_NAME = 10
# An end of a sentence is in no name, but behind a short word: it may be an initial.
_ENDS_SENTENCE = re.compile(r"\w{3,}[.!?;:]['\"”’)]*\s+\Z|\n")


def propose_lookups(text: str, index: TableIndex) -> list[Proposal]:
    """Propose calls in front of values that stand for the first time, behind their subject.

    Returns:
        Places by offset; the arguments are the subject as the text writes it, and the relation.
    """
    proposals = {}
    for start, end in _mentions(text, index):
        name = " ".join(text[start:end].split())
        key = " ".join(word.folded for word in words_of(name))
        facts = index.facts(key)
        subjects = {fact.subject for fact in facts}
        subject = name if name in subjects else min(subjects)
        if len(subjects) > 1 and subject != name or subject[0].isupper() > name[0].isupper():
            continue
        for fact in facts:
            arguments = f"{name}, {fact.relation}" if fact.relation else name
            offset = _first_offset(text, fact.value)
            if fact.subject == subject and offset is not None and offset >= end:
                proposals.setdefault((offset, arguments), Proposal(offset, arguments))
    return [proposals[place] for place in sorted(proposals, key=lambda place: place[0])]


def _mentions(text: str, index: TableIndex) -> Iterator[tuple[int, int]]:
    """Yield start and end of the first mention of each subject, the longest where several begin."""
    words = list(words_of(text))
    longest = min(int(str(index.about["longest"])), _LONGEST_NAME)
    names: dict[str, tuple[int, int]] = {}
    spans = {}
    for first in range(len(words)):
        for last in range(first, min(first + longest, len(words))):
            start, end = words[first].start, words[last].end
            if last > first and _ENDS_SENTENCE.search(
                text, words[last - 1].start, words[last].start
            ):
                break
            name = " ".join(word.folded for word in words[first : last + 1])
            spans[first, last] = name, start, end
    known = index.known({name for name, _, _ in spans.values()})
    behind = 0
    for (first, last), (name, start, end) in sorted(
        spans.items(), key=lambda span: (span[0][0], -span[0][1])
    ):
        if first < behind or name not in known:
            continue
        behind = last + 1
        try:
            check_arguments(text[start:end])
        except CallSyntaxError:
            continue
        names.setdefault(name, (start, end))
    yield from names.values()


def _first_offset(text: str, value: str) -> int | None:
    """Where a text first writes a value, as words of its own."""
    written = r"\s+".join(map(re.escape, value.split()))
    match = re.search(rf"(?<!\w)(?<!\d[.,]){written}(?!\w)(?![.,]\d)", text, re.IGNORECASE)
    return match and match.start()
