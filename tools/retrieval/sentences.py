"""Splits passages into sentences, and selects those that share most words with a query.

The rules are made for English and scripts with a space after a sentence. In doubt, two sentences
are not separated.
"""

import re

from toolformer.base.constants import FUNCTION_WORDS

# Quotes and brackets after a full stop belong to the sentence that they close. Passages are cut by
# this pattern too, so changing it changes the index.
SENTENCE_END = re.compile(r"(?:(?<=[.!?…])|(?<=[.!?…][\"'”’)\]]))\s+")

# Abbreviations before names and numbers, and at the end of names.
_ABBREVIATIONS = (
    "adm al approx brig bros ca capt cf ch co col corp dept dr ed eds est etc fig figs fl fr ft "
    "gen gov hon inc jr lt ltd maj mr mrs ms mt no nos op pp pres prof rep rev sen sgt sr st ste "
    "univ vol vols vs jan feb mar apr jun jul aug sep sept oct nov dec"
)
# A single letter is an initial, or the end of an abbreviation such as U.S. or e.g.
_SHORTENED = re.compile(rf"\b(?:[^\W\d_]|{'|'.join(_ABBREVIATIONS.split())})\.$", re.IGNORECASE)
_NEXT_WORD = re.compile(r"\W*(\w+)(\.?)")
_WORD = re.compile(r"\w+")
# "s" and "t" are what remains after the apostrophe of words such as "it's" and "don't".
_NOT_COUNTED = FUNCTION_WORDS | {"s", "t"}


def split_sentences(text: str) -> list[str]:
    """Split a text into sentences, with single spaces between their words.

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
    """Return the sentences with most distinct content words of a query; the earlier win ties.

    Example:
        >>> best_sentences("Otters swim. They eat fish. They sleep.", "What fish do they eat?", 1)
        'They eat fish.'
    """
    sentences = split_sentences(text)
    wanted = _content_words(query)
    shared = [len(wanted & _content_words(sentence)) for sentence in sentences]
    # Sorting is stable, so that equal sentences keep their order.
    ranked = sorted(range(len(sentences)), key=lambda index: -shared[index])
    return " ".join(sentences[index] for index in sorted(ranked[:max_sentences]))


def _begins_a_sentence(before: str, after: str) -> bool:
    is_shortened = _SHORTENED.search(before) is not None
    following = _NEXT_WORD.match(after)
    if following is None:
        return not is_shortened
    word, stop = following.groups()
    # The "A." of a name is an initial, not an article.
    is_opening = word.casefold() in FUNCTION_WORDS and not stop
    return not word[0].islower() and (is_opening or not is_shortened)


def _content_words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold())) - _NOT_COUNTED
