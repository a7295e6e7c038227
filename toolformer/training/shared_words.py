"""Finds training texts that overlap with held-out texts, and near duplicates among training texts.

Two texts overlap if they share a word n-gram (decontamination); spelling variants of apostrophes
and hyphens count as equal. Near duplicates are found by MinHash, then compared by exact
Jaccard similarity. Neither method finds paraphrases or translations.
"""

import unicodedata
from collections import defaultdict
from functools import lru_cache
from itertools import product
from typing import Any, cast

import numpy as np
import regex

from toolformer.base.constants import FUNCTION_WORDS
from toolformer.base.digests import digest_of_bytes, number_digest

_FURTHER_COMMON_WORDS = """
about after again all also always any around back because become before best big both call came can
come could day each end even every everything find first get give go goes going good got great had
happen happened happens help here home how i just keep kind know last let life like little live long
look made make makes man many may me mean means might more most much must my name need never new
next now old once one only other our out own part people person place please put really right said
same say says see shall should show something still take tell thing things think through time too
two up us use used very want way we well went what why woman word work world yes yet you your
"""
_COMMON_WORDS = FUNCTION_WORDS | frozenset(_FURTHER_COMMON_WORDS.split())
# Words per shingle, as in Lee et al. 2021 (arXiv 2107.06499).
_SHINGLE_WORDS = 5
_PERMUTATIONS = 128
# Maximum probability that a pair exactly at the similarity threshold is missed.
_MAX_MISS_PROBABILITY = 1e-4
# Fixed, so that neither the removed texts nor the development set depend on the setting `seed`.
_SEED = 1
# Odd, so that the multiplication modulo 2**64 loses no bits.
_MULTIPLIER = 0x9E3779B97F4A7C15
_number = lru_cache(maxsize=2**18)(number_digest)
# Chinese and Japanese are written without spaces, so each character counts as a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}"
# \p{M} keeps the vowel signs of Indic scripts within their words.
_WORD = regex.compile(rf"[{_UNSPACED}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+", regex.VERSION1)
# Typographic variants of apostrophes and hyphens, and the soft hyphen.
_PUNCTUATION_VARIANTS = str.maketrans(
    {**dict.fromkeys("’‘ʼʻ", "'"), **dict.fromkeys("‐‑\u00ad", "-")}
)
_APOSTROPHES = regex.compile(r"(?<=[\w-])'+(?=[\w-])")
_HYPHENS = regex.compile(r"(?<=\w)-+(?=\w)")
# Pre-tokenised texts write `do n't` and `Lyon 's`.
_BLANK_BEFORE_ENDING = regex.compile(r"(?<=\w) (?=(?:n't|'(?:s|re|ve|ll|d|m))\b)")


def words_of(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation.

    Example:
        >>> words_of("“What has KEYS?” 谁写了")
        ['what', 'has', 'keys', '谁', '写', '了']
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def spelling_variants(text: str) -> list[list[str]]:
    """Return the distinct word lists of a text: apostrophes and hyphens become blanks or vanish.

    Example:
        >>> [" ".join(words) for words in spelling_variants("It's well-known.")]
        ['it s well known', 'it s wellknown', 'its well known', 'its wellknown']
    """
    text = _BLANK_BEFORE_ENDING.sub("", text.translate(_PUNCTUATION_VARIANTS))
    texts = (
        _HYPHENS.sub(hyphen, _APOSTROPHES.sub(apostrophe, text))
        for apostrophe, hyphen in product((" ", ""), repeat=2)
    )
    variants = (tuple(words_of(each)) for each in dict.fromkeys(texts))
    return [list(words) for words in dict.fromkeys(variants)]


class NgramIndex:
    """Word n-grams of held-out texts, with the name of the set they come from.

    Stores 8-byte digests. Among a hundred million n-grams, the probability of any collision is
    below 0.1 %, and a collision only excludes one training text unnecessarily.

    Example:
        >>> index = NgramIndex()
        >>> index.add_question("riddles", "What has keys but opens no door?")
        >>> index.first_overlap('He asked: "What has KEYS but opens no door?"')
        ('riddles', 'what has keys but opens no door')
        >>> index.first_overlap("What has keys, then?")
    """

    def __init__(self, n: int = 13):
        self._n = n
        self._name_of_run: dict[bytes, str] = {}
        self._name_of_short_text: dict[bytes, str] = {}
        # Lengths of the questions of fewer than n words, by their first words.
        self._lengths: defaultdict[str, set[int]] = defaultdict(set)

    def add(self, name: str, text: str) -> None:
        """Add the n-grams of a held-out text.

        A text of fewer than `n` words overlaps only with a text of exactly these words. Otherwise a
        held-out page "Contact us" would exclude every text that contains these two words.
        """
        for words in spelling_variants(text):
            if 0 < len(words) < self._n:
                self._name_of_short_text.setdefault(_digest(words), name)
            for start in range(len(words) - self._n + 1):
                self._name_of_run.setdefault(_digest(words[start : start + self._n]), name)

    def add_question(self, name: str, text: str) -> None:
        """Add a benchmark's question, without its task prompt.

        Unlike with `add`, a question of 2 to `n` - 1 words also overlaps with every text that
        contains it, unless all of its words are common, as in "Who is it?".
        """
        self.add(name, text)
        for words in spelling_variants(text):
            if 1 < len(words) < self._n and not _COMMON_WORDS.issuperset(words):
                self._lengths[words[0]].add(len(words))
                self._name_of_run.setdefault(_digest(words), name)

    def first_overlap(self, text: str) -> tuple[str, str] | None:
        """Return the name of a held-out set and the words of the first overlap, if there is one."""
        overlaps = (self._first_overlap_of(words) for words in spelling_variants(text))
        return next(filter(None, overlaps), None)

    def _first_overlap_of(self, words: list[str]) -> tuple[str, str] | None:
        name = self._name_of_short_text.get(_digest(words)) if len(words) < self._n else None
        if name is not None:
            return name, " ".join(words)
        for start, word in enumerate(words):
            for length in (self._n, *self._lengths.get(word, ())):
                run = words[start : start + length]
                name = self._name_of_run.get(_digest(run)) if len(run) == length else None
                if name is not None:
                    return name, " ".join(run)
        return None


def _digest(words: list[str]) -> bytes:
    return digest_of_bytes(" ".join(words).encode(), size=8)


class NearDuplicateIndex:
    """Texts whose pairwise Jaccard similarity of five-word shingles is below `similarity`.

    A text of 700 words takes about 20 KB. The similarity lies in (0, 1].

    Example:
        >>> index = NearDuplicateIndex(similarity=0.5)
        >>> index.find_or_add("a", "One two three four five six seven eight nine.")
        >>> index.find_or_add("b", "One two three four five six seven eight, nine ten")
        ('a', 0.8333333333333334)
        >>> index.find_or_add("c", "One two three. Four five six! Nine?")
    """

    def __init__(self, similarity: float):
        from datasketch import MinHash, MinHashLSH

        self._similarity = similarity
        self._empty = MinHash(_PERMUTATIONS, seed=_SEED, hashfunc=int, scheme="affine32")
        self._candidates = MinHashLSH(num_perm=_PERMUTATIONS, params=_bands(similarity))
        self._keys: list[Any] = []
        self._shingles: list[np.ndarray] = []

    def find_or_add(self, key: Any, text: str) -> tuple[Any, float] | None:
        """Return key and similarity of the most similar text, or add this text and return None."""
        shingles = _shingles(text)
        if not shingles.size:
            return None
        sketch = self._empty.copy()
        sketch.update_batch((shingles & 0xFFFFFFFF).tolist())
        candidates = cast("list[int]", self._candidates.query(sketch))
        # `max` returns the first of several maxima, so after sorting the earliest text wins a tie.
        scored = [
            (_jaccard(shingles, self._shingles[index]), index) for index in sorted(candidates)
        ]
        similarity, index = max(scored, key=lambda pair: pair[0], default=(0.0, -1))
        if similarity >= self._similarity:
            return self._keys[index], similarity
        self._candidates.insert(len(self._keys), sketch, check_duplication=False)
        self._keys.append(key)
        self._shingles.append(shingles)
        return None


def _bands(similarity: float) -> tuple[int, int]:
    """Return number and size of the LSH bands: the largest size that rarely misses a pair."""
    return next(
        (_PERMUTATIONS // rows, rows)
        for rows in range(_PERMUTATIONS // 2, 0, -1)
        if rows == 1 or (1 - similarity**rows) ** (_PERMUTATIONS // rows) <= _MAX_MISS_PROBABILITY
    )


def _shingles(text: str) -> np.ndarray:
    words = np.array([_number(word) for word in words_of(text)], dtype=np.uint64)
    sequences = max(len(words) - _SHINGLE_WORDS, 0) + 1
    numbers = np.zeros(sequences if len(words) else 0, dtype=np.uint64)
    for start in range(min(_SHINGLE_WORDS, len(words))):
        # The arithmetic is meant to wrap around modulo 2**64.
        numbers = numbers * np.uint64(_MULTIPLIER) + words[start : start + sequences]
    return np.unique(numbers)


def _jaccard(left: np.ndarray, right: np.ndarray) -> float:
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared)
