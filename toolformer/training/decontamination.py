"""Overlap of training texts with held-out ones, by shared word n-grams.

A model that was trained on a benchmark's own sentences shows a gain that is none. Copies whose
apostrophes or hyphens are left out, or are blanks, are found; paraphrases and translations are not.
"""

from collections import defaultdict
from typing import NamedTuple

from toolformer.base.constants import FUNCTION_WORDS
from toolformer.base.digests import digest_of_bytes
from toolformer.training.words import readings_of

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


class Overlap(NamedTuple):
    """What a text shares with a held-out one.

    Attributes:
        ngram: the first shared words, in lower case and without punctuation.
    """

    name: str
    ngram: str


class NgramIndex:
    """Word n-grams of held-out texts, each with the name of the set that it comes from.

    Kept are 8-byte digests, not words: two of a hundred million n-grams share one by chance with
    a probability below 0.1 %, and then at worst a text too many is dropped. A shared run of 13
    words is hardly ever chance.

    Example:
        >>> index = NgramIndex()
        >>> index.add_question("riddles", "What has keys but opens no door?")
        >>> index.first_overlap('He asked: "What has KEYS but opens no door?"')
        Overlap(name='riddles', ngram='what has keys but opens no door')
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

    def first_overlap(self, text: str) -> Overlap | None:
        """The first words of the text that a held-out text has too, None where there are none.

        Words that stand in several sets belong to the one that was added first.
        """
        overlaps = (self._first_overlap_of(words) for words in readings_of(text))
        return next(filter(None, overlaps), None)

    def _first_overlap_of(self, words: list[str]) -> Overlap | None:
        name = self._name_of_short_text.get(_digest(words)) if len(words) < self._n else None
        if name is not None:
            return Overlap(name, " ".join(words))
        for start, word in enumerate(words):
            for length in (self._n, *self._lengths.get(word, ())):
                run = words[start : start + length]
                name = self._name_of_run.get(_digest(run)) if len(run) == length else None
                if name is not None:
                    return Overlap(name, " ".join(run))
        return None


def _digest(words: list[str]) -> bytes:
    return digest_of_bytes(" ".join(words).encode(), size=8)
