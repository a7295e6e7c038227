"""Words that texts share: with held-out texts, and with each other.

A model that was trained on a benchmark's own sentences shows a gain that is none. Shared runs of
words tell held-out texts, also where apostrophes or hyphens are left out or are blanks. Of nearly
equal texts MinHash finds the candidates, and each pair is compared word for word, so the threshold
is exact. Paraphrases and translations are not found.
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
# Words of a sequence, as in Lee et al. 2021 (arXiv 2107.06499).
_SHINGLE_WORDS = 5
_PERMUTATIONS = 128
# Chance that a pair that is just similar enough is not looked at; of a pair more alike it is less.
_MISSED = 1e-4
# Not a setting: which texts go must not depend on the seed, and neither must the development side.
_SEED = 1
# Odd, so that no word's bits are lost in the product.
_MULTIPLIER = 0x9E3779B97F4A7C15
_number = lru_cache(maxsize=2**18)(number_digest)
# Chinese and Japanese are written without spaces: each character counts as a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}"
# A vowel sign of an Indic script is a mark, and part of its word.
_WORD = regex.compile(rf"[{_UNSPACED}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+", regex.VERSION1)
# Marks within a word, which copies of a text leave out, or write a blank for.
_MARKS = str.maketrans({**dict.fromkeys("’‘ʼʻ", "'"), **dict.fromkeys("‐‑\u00ad", "-")})
_APOSTROPHES = regex.compile(r"(?<=[\w-])'+(?=[\w-])")
_HYPHENS = regex.compile(r"(?<=\w)-+(?=\w)")
# Tokenised texts have `do n't` and `Lyon 's`.
_BLANK_BEFORE_ENDING = regex.compile(r"(?<=\w) (?=(?:n't|'(?:s|re|ve|ll|d|m))\b)")


def words_of(text: str) -> list[str]:
    """The words of a text in order, in lower case.

    Example:
        >>> words_of("“What has KEYS?” — 1,024 doors…")
        ['what', 'has', 'keys', '1', '024', 'doors']
        >>> words_of("谁写了 दिल्ली?")
        ['谁', '写', '了', 'दिल्ली']
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())


def readings_of(text: str) -> list[list[str]]:
    """The words of a text, with apostrophes and hyphens read as blanks, and as nothing.

    Returns:
        One list for each reading that differs, that with blanks first.

    Example:
        >>> readings_of("It's well-known.")
        [['it', 's', 'well', 'known'], ['it', 's', 'wellknown'], ['its', 'well', 'known'], \
['its', 'wellknown']]
    """
    text = _BLANK_BEFORE_ENDING.sub("", text.translate(_MARKS))
    texts = (
        _HYPHENS.sub(hyphen, _APOSTROPHES.sub(apostrophe, text))
        for apostrophe, hyphen in product((" ", ""), repeat=2)
    )
    readings = (tuple(words_of(each)) for each in dict.fromkeys(texts))
    return [list(words) for words in dict.fromkeys(readings)]


class NgramIndex:
    """Word n-grams of held-out texts, each with the name of the set that it comes from.

    Kept are 8-byte digests, not words: two of a hundred million n-grams share one by chance with
    a probability below 0.1 %, and then at worst a text too many is dropped. A shared run of 13
    words is hardly ever chance.

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
        """Add the n-grams of one held-out text.

        A text of fewer than `n` words counts as a whole: it overlaps only with a text of exactly
        these words. A held-out page "Contact us" would otherwise throw out every text with these
        two words.

        Args:
            name: the held-out set, for example a benchmark.
            text: without words it adds nothing.
        """
        for words in readings_of(text):
            if 0 < len(words) < self._n:
                self._name_of_short_text.setdefault(_digest(words), name)
            for start in range(len(words) - self._n + 1):
                self._name_of_run.setdefault(_digest(words[start : start + self._n]), name)

    def add_question(self, name: str, text: str) -> None:
        """Add the bare question or statement of a benchmark's item, without its task prompt.

        As `add`; besides, a question of 2 to `n` - 1 words overlaps with every text in which these
        words follow each other, if one of them at least is not among the commonest English words.
        "Who is it?" alone says nothing of the benchmark.
        """
        self.add(name, text)
        for words in readings_of(text):
            if 1 < len(words) < self._n and not _COMMON_WORDS.issuperset(words):
                self._lengths[words[0]].add(len(words))
                self._name_of_run.setdefault(_digest(words), name)

    def first_overlap(self, text: str) -> tuple[str, str] | None:
        """Return the first words of the text that a held-out text has too, after its set's name.

        Words that stand in several sets belong to the one that was added first.

        Returns:
            The name, and the words in lower case without punctuation; None if nothing is shared.
        """
        overlaps = (self._first_overlap_of(words) for words in readings_of(text))
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
    """Texts of which no two have a Jaccard similarity of at least `similarity`, in (0, 1].

    Two texts are compared by their sets of sequences of five words; of a text with fewer words the
    whole is its only sequence. Memory grows with the texts: about 20 KB for one of 700 words.

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
        """Return the text that this one is most like; add this one if none is like it.

        A text without words is like no other.

        Returns:
            The key of the other text, and the similarity: shared word sequences of both, divided by
            all that either has.
        """
        shingles = _shingles(text)
        if not shingles.size:
            return None
        sketch = self._empty.copy()
        sketch.update_batch((shingles & 0xFFFFFFFF).tolist())
        places = cast("list[int]", self._candidates.query(sketch))
        # In the order in which they were added: of texts equally alike `max` takes the first.
        alike = [(_jaccard(shingles, self._shingles[index]), index) for index in sorted(places)]
        similarity, index = max(alike, key=lambda pair: pair[0], default=(0.0, -1))
        if similarity >= self._similarity:
            return self._keys[index], similarity
        self._candidates.insert(len(self._keys), sketch, check_duplication=False)
        self._keys.append(key)
        self._shingles.append(shingles)
        return None


def _bands(similarity: float) -> tuple[int, int]:
    """Bands of the sketch and values of each: the longest bands that miss hardly a pair.

    Two texts are compared where all values of a band agree, each with the chance `similarity`.
    Longer bands leave fewer pairs to compare, shorter ones miss fewer.
    """
    return next(
        (_PERMUTATIONS // rows, rows)
        for rows in range(_PERMUTATIONS // 2, 0, -1)
        if rows == 1 or (1 - similarity**rows) ** (_PERMUTATIONS // rows) <= _MISSED
    )


def _shingles(text: str) -> np.ndarray:
    """Distinct word sequences of a text as sorted numbers of 64 bits."""
    words = np.array([_number(word) for word in words_of(text)], dtype=np.uint64)
    sequences = max(len(words) - _SHINGLE_WORDS, 0) + 1
    numbers = np.zeros(sequences if len(words) else 0, dtype=np.uint64)
    for start in range(min(_SHINGLE_WORDS, len(words))):
        # Wraps around, as meant.
        numbers = numbers * np.uint64(_MULTIPLIER) + words[start : start + sequences]
    return np.unique(numbers)


def _jaccard(left: np.ndarray, right: np.ndarray) -> float:
    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared)
