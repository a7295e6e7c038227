"""Proposes calls where a text is about to state a value of a subject that it has named."""

from collections.abc import Iterator, Sequence

import regex

from tools.numbers import UNSPACED
from tools.plugins.table_index import TableIndex
from tools.plugins.table_names import Word, folded, words_of
from tools.protocol import Proposal
from tools.syntax import clean_result

# Longest name that is found in a text, in words, or in letters for scripts without blanks.
_MAX_NAME_WORDS, _MAX_NAME_LETTERS = 10, 20
_WORDS_PER_QUERY = 2000
# A name does not extend past the end of a sentence. A dot after a short word may mark an initial.
_ENDS_SENTENCE = regex.compile(r"\w{3,}[.!?;:]['\"”’)]*\s|.*[\n。！？，、；]")
# Vowels and tones of Thai and Lao that belong to the letter before them.
_MARK = regex.compile(r"[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece]")
_IS_UNSPACED = regex.compile(f"[{UNSPACED}]")


def propose_lookups(text: str, index: TableIndex) -> list[Proposal]:
    """Propose a call before each value that first occurs after its subject, sorted by offset.

    The arguments are the subject as the text writes it, and the relation. If several relations have
    the value, each gets a proposal.
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
    """Return the only subject with a name; None if the name lacks a capital (`will` for `Will`)."""
    subjects = index.subjects(folded(name))
    if name in subjects:
        return name
    is_named = len(subjects) == 1 and name[0].isupper() >= subjects[0][:1].isupper()
    return subjects[0] if is_named else None


def _mentions(text: str, index: TableIndex) -> Iterator[tuple[int, int]]:
    """Yield start and end of each subject's first mention; nested mentions do not count."""
    words = list(words_of(text))
    names: dict[tuple[int, int], str] = {}
    for start in range(0, len(words), _WORDS_PER_QUERY):
        block = {
            (first, last): " ".join(word.folded for word in words[first:last])
            for first in range(start, min(start + _WORDS_PER_QUERY, len(words)))
            for last in range(first + 1, _end_of_names(text, words, first) + 1)
        }
        known = index.known(set(block.values()))
        names.update((span, name) for span, name in block.items() if name in known)
    seen: set[str] = set()
    covered = 0
    for (first, last), name in sorted(names.items(), key=lambda each: (each[0][0], -each[0][1])):
        end = words[last - 1].end
        # A single letter may be part of any word, and vowel marks continue a letter.
        is_fragment = len(name) == 1 and _IS_UNSPACED.match(name)
        if first >= covered and not is_fragment and not _MARK.match(text, end):
            covered = last
            if name not in seen:
                seen.add(name)
                yield words[first].start, end


def _end_of_names(text: str, words: Sequence[Word], first: int) -> int:
    is_unspaced = _IS_UNSPACED.match(words[first].folded)
    limit = first + (_MAX_NAME_LETTERS if is_unspaced else _MAX_NAME_WORDS)
    for last in range(first + 1, min(limit, len(words))):
        end, start = words[last - 1].end, words[last].start
        if end < start and _ENDS_SENTENCE.match(text, words[last - 1].start, start):
            return last
    return min(limit, len(words))


def _first_offset(text: str, value: str) -> int | None:
    """Return the offset of the first occurrence of a value as separate words."""
    # In `regex`, unlike `re`, vowel signs and accents are part of a word.
    words = r"\s+".join(map(regex.escape, value.split()))
    first, last = (_IS_UNSPACED.match(letter) for letter in (value[0], value[-1]))
    if first and len(value) == 1:
        return None
    before = "" if first else rf"(?<![^\W{UNSPACED}])(?<!\d[.,])"
    after = rf"(?!{_MARK.pattern})" if last else rf"(?![^\W{UNSPACED}])(?![.,]\d)"
    match = regex.search(rf"{before}{words}{after}", text, regex.IGNORECASE)
    return match and match.start()
