"""Places in a text where a value of a table is about to follow a subject that was named."""

from collections.abc import Iterator, Sequence

import regex

from tools.numbers import UNSPACED
from tools.plugins.table_index import TableIndex
from tools.plugins.table_names import Word, folded, words_of
from tools.protocol import Proposal
from tools.syntax import clean_result

# Words of the longest name that is found in a text; where each letter counts as a word, letters.
_LONGEST_NAME, _LONGEST_UNSPACED = 10, 20
# Of a long text.
_WORDS_AT_ONCE = 2000
# No name goes on behind the end of a sentence; behind a short word it may be that of an initial.
_ENDS_SENTENCE = regex.compile(r"\w{3,}[.!?;:]['\"”’)]*\s|.*[\n。！？，、；]")
# Vowels and tones of Thai and Lao that belong to the letter in front of them.
_MARK = regex.compile(r"[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece]")
_IS_UNSPACED = regex.compile(f"[{UNSPACED}]")


def propose_lookups(text: str, index: TableIndex) -> list[Proposal]:
    """Propose calls in front of values that stand for the first time, behind their subject.

    Returns:
        Places by offset; the arguments are the subject as the text writes it, and the relation.
        Several relations with the value have a place each.
    """
    proposals = set()
    for start, end in _mentions(text, index):
        name = " ".join(text[start:end].split())
        subject = _subject(name, index)
        if subject is None or name != clean_result(name):
            continue
        for fact in index.facts_of(subject):
            offset = _first_offset(text, fact.value)
            if offset is not None and offset >= end:
                arguments = f"{name}, {fact.relation}" if fact.relation else name
                proposals.add((offset, arguments))
    return [Proposal(offset, arguments) for offset, arguments in sorted(proposals)]


def _subject(name: str, index: TableIndex) -> str | None:
    """The one subject that a text names; none where its capital letter is missing: will, Will."""
    subjects = index.subjects(folded(name))
    if name in subjects:
        return name
    is_named = len(subjects) == 1 and name[0].isupper() >= subjects[0][:1].isupper()
    return subjects[0] if is_named else None


def _mentions(text: str, index: TableIndex) -> Iterator[tuple[int, int]]:
    """Yield start and end of the first mention of each subject; of nested ones the outer counts."""
    words = list(words_of(text))
    names: dict[tuple[int, int], str] = {}
    for start in range(0, len(words), _WORDS_AT_ONCE):
        block = {
            (first, last): " ".join(word.folded for word in words[first:last])
            for first in range(start, min(start + _WORDS_AT_ONCE, len(words)))
            for last in range(first + 1, _end_of_names(text, words, first) + 1)
        }
        known = index.known(set(block.values()))
        names.update((place, name) for place, name in block.items() if name in known)
    seen: set[str] = set()
    behind = 0
    for (first, last), name in sorted(names.items(), key=lambda each: (each[0][0], -each[0][1])):
        end = words[last - 1].end
        # One letter may be part of any word, and a letter goes on with its marks.
        is_part = len(name) == 1 and _IS_UNSPACED.match(name)
        if first >= behind and not is_part and not _MARK.match(text, end):
            behind = last
            if name not in seen:
                seen.add(name)
                yield words[first].start, end


def _end_of_names(text: str, words: Sequence[Word], first: int) -> int:
    """Behind which word the longest name ends that begins with a word."""
    is_unspaced = _IS_UNSPACED.match(words[first].folded)
    longest = first + (_LONGEST_UNSPACED if is_unspaced else _LONGEST_NAME)
    for last in range(first + 1, min(longest, len(words))):
        end, start = words[last - 1].end, words[last].start
        if end < start and _ENDS_SENTENCE.match(text, words[last - 1].start, start):
            return last
    return min(longest, len(words))


def _first_offset(text: str, value: str) -> int | None:
    """Where a text first writes a value, as words of its own."""
    # To `regex`, unlike `re`, vowel signs and accents are part of a word.
    words = r"\s+".join(map(regex.escape, value.split()))
    first, last = (_IS_UNSPACED.match(letter) for letter in (value[0], value[-1]))
    if first and len(value) == 1:
        return None
    before = "" if first else rf"(?<![^\W{UNSPACED}])(?<!\d[.,])"
    behind = rf"(?!{_MARK.pattern})" if last else rf"(?![^\W{UNSPACED}])(?![.,]\d)"
    match = regex.search(rf"{before}{words}{behind}", text, regex.IGNORECASE)
    return match and match.start()
