"""Sentences of a passage: where they end, and which share most words with a query.

Rules for English and for scripts that put a space behind a sentence. In doubt two sentences stay
one.
"""

import re

from toolformer.base.constants import FUNCTION_WORDS

# Quotes and brackets after the full stop belong to the sentence that they close. Passages are cut
# there too, so another pattern is another index.
SENTENCE_END = re.compile(r"(?:(?<=[.!?…])|(?<=[.!?…][\"'”’)\]]))\s+")

# In front of names and numbers, and at the end of names.
_ABBREVIATIONS = (
    "adm al approx brig bros ca capt cf ch co col corp dept dr ed eds est etc fig figs fl fr ft "
    "gen gov hon inc jr lt ltd maj mr mrs ms mt no nos op pp pres prof rep rev sen sgt sr st ste "
    "univ vol vols vs jan feb mar apr jun jul aug sep sept oct nov dec"
)
# A letter alone is an initial, or the last of several such as those of U.S. and e.g.
_SHORTENED = re.compile(rf"\b(?:[^\W\d_]|{'|'.join(_ABBREVIATIONS.split())})\.$", re.IGNORECASE)
_NEXT_WORD = re.compile(r"\W*(\w+)(\.?)")
_WORD = re.compile(r"\w+")
# Also what an apostrophe cuts off.
_NOT_COUNTED = FUNCTION_WORDS | {"s", "t"}


def split_sentences(text: str) -> list[str]:
    """Cut a text into its sentences.

    No sentence begins with a small letter. Behind an abbreviation or an initial one begins only
    with a function word, as "In" or "The".

    Returns:
        The sentences in order, with single spaces between their words; none of a text without
        words. Joined by spaces they have all words of the text.

    Example:
        >>> split_sentences("Dr. J. Hall left the U.S. in May. He paid $3.50 for No. 7 … of 9.")
        ['Dr. J. Hall left the U.S. in May.', 'He paid $3.50 for No. 7 … of 9.']
        >>> split_sentences('It is in the U.S. The river is not. "Why?" Nobody knows.')
        ['It is in the U.S.', 'The river is not.', '"Why?"', 'Nobody knows.']
    """
    text = " ".join(text.split())
    sentences: list[str] = []
    start = 0
    for end in SENTENCE_END.finditer(text):
        if _begins_a_sentence(text[start : end.start()], text[end.end() :]):
            sentences.append(text[start : end.start()])
            start = end.end()
    return [*sentences, text[start:]] if text else []


def best_sentences(text: str, query: str, max_sentences: int) -> str:
    """Keep the sentences of a text that share most words with a query.

    Distinct words count, whatever their case, without function words. Of sentences that share
    equally many the earlier are kept.

    Example:
        >>> best_sentences("Otters swim. They eat fish. They sleep.", "What fish do they eat?", 1)
        'They eat fish.'
    """
    sentences = split_sentences(text)
    wanted = _content_words(query)
    shared = [len(wanted & _content_words(sentence)) for sentence in sentences]
    # Sorting keeps the order of what is equal.
    ranked = sorted(range(len(sentences)), key=lambda index: -shared[index])
    return " ".join(sentences[index] for index in sorted(ranked[:max_sentences]))


def _begins_a_sentence(before: str, after: str) -> bool:
    """Whether a sentence begins with `after`, which stands behind an end mark and a space."""
    is_shortened = _SHORTENED.search(before) is not None
    following = _NEXT_WORD.match(after)
    if following is None:
        return not is_shortened
    word, stop = following.groups()
    # The A. of a name is an initial, no article.
    is_opening = word.casefold() in FUNCTION_WORDS and not stop
    return not word[0].islower() and (is_opening or not is_shortened)


def _content_words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold())) - _NOT_COUNTED
