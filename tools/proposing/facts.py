"""Words of a text that a search may find: names, years and numbers.

Only where they stand for the first time, since the text itself says them from then on, and not at
the beginning of a sentence, where any word has a capital letter.
"""

import re
from collections.abc import Iterator

from tools.numbers import NUMBER
from tools.protocol import Proposal
from tools.syntax import clean_result

_TOKEN = re.compile(rf"(?P<word>[^\W\d_][\w'’-]*)|(?P<number>(?<![\w$€£¥.,/-]){NUMBER}(?![\w/-]))")
# Titles and abbreviations end no sentence; a name behind one is left out all the same.
_ENDS_SENTENCE = re.compile(r"[.!?…:;•|\n\"“”„«]")
_PRONOUN = re.compile(r"I(?:['’]\w+)?")


def propose_facts(text: str) -> list[Proposal]:
    """Propose places in front of names, years and numbers that are new and begin no sentence.

    Example:
        >>> text = "The canal of Suez opened in 1869. Ships from Port Said use Suez since 1869."
        >>> [text[each.offset :].split()[0] for each in propose_facts(text)]
        ['Suez', '1869.', 'Port']
    """
    return [Proposal(offset) for offset in _offsets(text)]


def query_before(text: str, offset: int, *, title: str | None, words: int, characters: int) -> str:
    """Write what is known at a place as a search term.

    Args:
        words: Most words in front of the place.
        characters: Longest search term; words are left out from the left.

    Returns:
        Title and words on one line without markers of calls; empty where nothing is known.

    Example:
        >>> query_before(
        ...     "The canal opened in 1869.", 20, title="Suez Canal", words=3, characters=300
        ... )
        'Suez Canal canal opened in'
    """
    # More than these characters are never shown.
    known = clean_result(text[max(0, offset - 2 * characters) : offset]).split()[-words:]
    heading = clean_result(title or "")[:characters].rstrip()
    while known and len(" ".join((heading, *known))) > characters:
        known = known[1:]
    return " ".join((heading, *known)).strip()


def _offsets(text: str) -> Iterator[int]:
    seen: set[str] = set()
    end, follows_name = 0, False
    for match in _TOKEN.finditer(text):
        token, between = match.group(), text[end : match.start()]
        begins_sentence = end == 0 or _ENDS_SENTENCE.search(between) is not None
        is_name = token[0].isupper() and len(token) > 1 and not _PRONOUN.fullmatch(token)
        if is_name or match.lastgroup == "number":
            # "Port Said" is one name, and behind "In" at a beginning "Paris" cannot be told apart.
            goes_on = follows_name and between == " "
            if not begins_sentence and not goes_on and token not in seen:
                yield match.start()
            seen.add(token)
        end, follows_name = match.end(), is_name
