"""Overlap of training texts with held-out ones, by shared word n-grams.

A model that was trained on a benchmark's own sentences shows a gain that is none. Does not decide
what is held out, and does not find paraphrases or translations.
"""

from collections.abc import Iterator
from typing import NamedTuple

from toolformer.errors import TrainingError
from toolformer.ground.digests import digest
from toolformer.training.words import words_of


class Overlap(NamedTuple):
    """What a text shares with a held-out one.

    Attributes:
        name: the held-out set.
        ngram: the first shared words, in lower case and without punctuation.
    """

    name: str
    ngram: str


class NgramIndex:
    """Word n-grams of held-out texts, each with the name of the set that it comes from.

    Kept are 8-byte digests, not words: two of a hundred million n-grams share one by chance with
    a probability below 0.1 %, and then at worst a text too many is dropped.

    Args:
        n: words of an n-gram. A shared run of 13 words is hardly ever chance.

    Raises:
        TrainingError: `n` is below 1.

    Example:
        >>> index = NgramIndex(n=3)
        >>> index.add("riddles", "What has keys but opens no door?")
        >>> index.first_overlap('He asked: "What has KEYS, then?"')
        Overlap(name='riddles', ngram='what has keys')
        >>> index.first_overlap("The keys opened no door.")
    """

    def __init__(self, n: int = 13):
        if n < 1:
            raise TrainingError(f"An n-gram of {n} words is not possible; give n as 1 or more.")
        self._n = n
        self._names: list[str] = []
        self._name_of: dict[bytes, int] = {}

    def __len__(self) -> int:
        """Number of distinct n-grams."""
        return len(self._name_of)

    def add(self, name: str, text: str) -> None:
        """Add the n-grams of one held-out text.

        A text of fewer than `n` words counts as a whole: it overlaps only with a text of exactly
        these words. Short questions would otherwise throw out every text with a common phrase.

        Args:
            name: the held-out set, for example a benchmark; becomes part of the drop reason.
            text: any; one without words adds nothing.
        """
        if name not in self._names:
            self._names.append(name)
        number = self._names.index(name)
        for _, of_ngram in self._ngrams(text):
            self._name_of.setdefault(of_ngram, number)

    def first_overlap(self, text: str) -> Overlap | None:
        """The text's first n-gram that a held-out text has too, None where there is none.

        An n-gram that stands in several sets belongs to the one that was added first.
        """
        for words, of_ngram in self._ngrams(text):
            number = self._name_of.get(of_ngram)
            if number is not None:
                return Overlap(self._names[number], " ".join(words))
        return None

    def _ngrams(self, text: str) -> Iterator[tuple[list[str], bytes]]:
        words = words_of(text)
        if not words:
            return
        for start in range(max(len(words) - self._n, 0) + 1):
            ngram = words[start : start + self._n]
            yield ngram, digest(*ngram, size=8, separator=" ")
