"""The stretches of a passage that can be an answer, and the tree of their tokens.

passage:  Warsaw (Polish: Warszawa) is the capital of Poland.
spans:    Warsaw | Polish | Warszawa | the capital | the capital of Poland | capital | …
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import regex

from toolformer.base.constants import FUNCTION_WORDS

_ARTICLES = frozenset(("a", "an", "the"))
_WORD = re.compile(r"\S+")
# A span goes across commas and dots within a name, not across these.
_BREAK_AFTER = re.compile(r"[!?;:)\]}…]|[^\W\d_]{2,}\.$|\d\.$")
_BREAK_BEFORE = re.compile(r"^[(\[{]")


def answer_spans(text: str, question: str, *, max_words: int) -> list[str]:
    """Find what can be an answer: up to a few words that lie within one clause.

    Left out is what begins or ends with a function word, and what only repeats the question.

    Returns:
        The distinct spans in their order, without punctuation at their ends.

    Example:
        >>> answer_spans("It opened in 1869 (in Suez).", "When did it open?", max_words=2)
        ['opened', '1869', 'Suez']
    """
    question_words = set(_words(question))
    words = [(match.start(), match.end()) for match in _WORD.finditer(text)]
    cores = [_core(text, start, end) for start, end in words]
    spans: dict[str, None] = {}
    for first, (start, _) in enumerate(cores):
        for last in range(first, min(first + max_words, len(words))):
            if last > first and _BREAK_BEFORE.match(text[slice(*words[last])]):
                break
            end = cores[last][1]
            if start < end and cores[last][0] < end:
                span = " ".join(text[start:end].split())
                if _is_candidate(span, question_words):
                    spans.setdefault(span)
            if _BREAK_AFTER.search(text[slice(*words[last])]):
                break
    return list(spans)


def answer_key(span: str) -> str:
    """What equal answers have in common: words in lower case, without articles and punctuation.

    Example:
        >>> answer_key("The Beatles'") == answer_key("beatles")
        True
    """
    return " ".join(word for word in _words(span) if word not in _ARTICLES)


@dataclass(slots=True)
class SpanNode:
    """A node of the tree of spans: the tokens on the way to it are how some spans begin.

    Attributes:
        spans: Those that end here; different ones have the same tokens at most by accident.
        children: By next token.
    """

    spans: list[str] = field(default_factory=list)
    children: dict[int, "SpanNode"] = field(default_factory=dict)


def span_tree(spans: Sequence[str], tokens: Iterable[Sequence[int]]) -> SpanNode:
    """Build the tree of spans.

    Args:
        spans: Distinct.
        tokens: Tokens of each span, at least one.
    """
    root = SpanNode()
    for span, span_tokens in zip(spans, tokens, strict=True):
        node = root
        for token in span_tokens:
            node = node.children.setdefault(token, SpanNode())
        node.spans.append(span)
    return root


def _is_candidate(span: str, question_words: set[str]) -> bool:
    # No answer begins or ends with a function word, or is nothing else; it may begin with "the".
    words = _words(span)
    if not words or words[-1] in FUNCTION_WORDS:
        return False
    if words[0] in FUNCTION_WORDS and words[0] != "the":
        return False
    return not question_words.issuperset(word for word in words if word not in FUNCTION_WORDS)


def _core(text: str, start: int, end: int) -> tuple[int, int]:
    """A word without punctuation at its ends; empty where it is nothing else."""
    while start < end and _is_edge(text[start]):
        start += 1
    while end > start and _is_edge(text[end - 1]) and text[end - 1] != "%":
        end -= 1
    return start, end


def _is_edge(character: str) -> bool:
    """Whether it is punctuation; currency and degree signs are symbols and stay."""
    return unicodedata.category(character).startswith("P")


def _words(text: str) -> list[str]:
    # To `regex`, unlike `re`, vowel signs and accents are part of a word, and ² and ½ are none.
    return regex.findall(r"[\w\p{N}]+", text.casefold())
