"""Proposes calls for words that a search may find: names, years and numbers.

Only the first occurrence of a word counts, since afterwards the text itself contains it. The first
word of a sentence does not count, since its capital letter does not make it a name.
"""

import re

from tools.numbers import NUMBER
from tools.protocol import Proposal
from tools.syntax import clean_result

_TOKEN = re.compile(rf"(?P<word>[^\W\d_][\w'’-]*)|(?P<number>(?<![\w$€£¥.,/-]){NUMBER}(?![\w/-]))")
# A name after an abbreviation such as "Dr." is also left out, although no sentence begins there.
_ENDS_SENTENCE = re.compile(r"[.!?…:;•|\n\"“”„«]")
_PRONOUN = re.compile(r"I(?:['’]\w+)?")


def propose_facts(text: str) -> list[Proposal]:
    """Propose queries before names and numbers that are new in the text.

    Example:
        >>> text = "The canal of Suez opened in 1869. Ships from Port Said use Suez since 1869."
        >>> [text[each.offset :].split()[0] for each in propose_facts(text)]
        ['Suez', '1869.', 'Port']
    """
    proposals: list[Proposal] = []
    seen: set[str] = set()
    end, follows_name = 0, False
    for match in _TOKEN.finditer(text):
        token, between = match.group(), text[end : match.start()]
        begins_sentence = end == 0 or _ENDS_SENTENCE.search(between) is not None
        is_name = token[0].isupper() and len(token) > 1 and not _PRONOUN.fullmatch(token)
        if is_name or match.lastgroup == "number":
            # "Port Said" is one name. "In Paris" at the beginning of a sentence may also be one.
            continues_name = follows_name and between == " "
            if not begins_sentence and not continues_name and token not in seen:
                proposals.append(Proposal(match.start()))
            seen.add(token)
        end, follows_name = match.end(), is_name
    return proposals


def query_before(text: str, offset: int, *, title: str | None, words: int, characters: int) -> str:
    """Return title and last words before an offset as a search term of limited length.

    Example:
        >>> query_before(
        ...     "The canal opened in 1869.", 20, title="Suez Canal", words=3, characters=300
        ... )
        'Suez Canal canal opened in'
    """
    # Characters farther away never fit into the search term.
    known = clean_result(text[max(0, offset - 2 * characters) : offset]).split()[-words:]
    heading = clean_result(title or "")[:characters].rstrip()
    while known and len(" ".join((heading, *known))) > characters:
        known = known[1:]
    return " ".join((heading, *known)).strip()
