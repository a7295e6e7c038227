"""Texts that are nearly the same, by the word sequences that they share.

MinHash finds the candidates, and each is compared word for word, so the threshold is exact.
Paraphrases and translations are not found.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from toolformer.base.digests import number_digest
from toolformer.training.words import words_of

if TYPE_CHECKING:
    import numpy as np

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


class Similar(NamedTuple):
    """A text that another one is like.

    Attributes:
        key: key of the text, as it was given to `find_or_add`.
        similarity: shared word sequences of both, divided by all that either has; at most 1.
    """

    key: Any
    similarity: float


class NearDuplicateIndex:
    """Texts of which no two have a Jaccard similarity of at least `similarity`, in (0, 1].

    Two texts are compared by their sets of sequences of five words; of a text with fewer words the
    whole is its only sequence. Memory grows with the texts: about 20 KB for one of 700 words.

    Example:
        >>> index = NearDuplicateIndex(similarity=0.5)
        >>> index.find_or_add("a", "One two three four five six seven eight nine.")
        >>> index.find_or_add("b", "One two three four five six seven eight, nine ten")
        Similar(key='a', similarity=0.8333333333333334)
        >>> index.find_or_add("c", "One two three. Four five six! Nine?")
    """

    def __init__(self, similarity: float):
        from datasketch import MinHash, MinHashLSH

        self._similarity = similarity
        self._empty = MinHash(_PERMUTATIONS, seed=_SEED, hashfunc=int, scheme="affine32")
        self._candidates = MinHashLSH(num_perm=_PERMUTATIONS, params=_bands(similarity))
        self._keys: list[object] = []
        self._shingles: list[np.ndarray] = []

    def find_or_add(self, key: object, text: str) -> Similar | None:
        """The text there that this one is most like; where none is like it, it is added.

        A text without words is like no other.
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
            return Similar(self._keys[index], similarity)
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


def _shingles(text: str) -> "np.ndarray":
    """Distinct word sequences of a text as sorted numbers of 64 bits."""
    import numpy as np

    words = np.array([_number(word) for word in words_of(text)], dtype=np.uint64)
    sequences = max(len(words) - _SHINGLE_WORDS, 0) + 1
    numbers = np.zeros(sequences if len(words) else 0, dtype=np.uint64)
    for start in range(min(_SHINGLE_WORDS, len(words))):
        # Wraps around, as meant.
        numbers = numbers * np.uint64(_MULTIPLIER) + words[start : start + sequences]
    return np.unique(numbers)


def _jaccard(left: "np.ndarray", right: "np.ndarray") -> float:
    import numpy as np

    shared = len(np.intersect1d(left, right, assume_unique=True))
    return shared / (len(left) + len(right) - shared)
