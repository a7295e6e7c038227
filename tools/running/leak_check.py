"""How much of a result a text holds already, before and after the place of the call.

A result that repeats what follows makes it easy to predict without being of any use: the filter of
the paper would keep such calls for the wrong reason.
"""

from dataclasses import dataclass

from tools.running.word_grams import GRAM_WORDS, WORD, Gram, grams_of, words_of


@dataclass(frozen=True, slots=True)
class RepeatedShares:
    """Shares of a result's 8-word sequences, 0 to 1, that stand in a text.

    Attributes:
        before: That end in front of the place of the call.
        after: That end behind it.
    """

    before: float
    after: float


class LeakCheck:
    """One text, prepared for the results of many calls."""

    def __init__(self, text: str) -> None:
        # For each sequence where its first and its last occurrence end.
        self._ends: dict[Gram, tuple[int, int]] = {}
        # Places are those of the text itself: folding its case can change its length.
        words = [(word.group().casefold(), word.end()) for word in WORD.finditer(text)]
        for number in range(len(words) - GRAM_WORDS + 1):
            gram, ends = zip(*words[number : number + GRAM_WORDS], strict=True)
            first_end, _ = self._ends.get(gram, (ends[-1], 0))
            self._ends[gram] = (first_end, ends[-1])

    def shares(self, result: str, character_offset: int) -> RepeatedShares | None:
        """How much of a result the text repeats before and behind a place.

        Returns:
            The shares; None for a result of fewer than 8 words, which repeats nothing for certain:
            that a number or a name occurs again is what a call is for.

        Example:
            >>> check = LeakCheck("It is said: one two three four five six seven eight.")
            >>> check.shares("One two three four five six seven eight nine", 0)
            RepeatedShares(before=0.0, after=0.5)
        """
        grams = grams_of(words_of(result))
        if not grams:
            return None
        ends = [self._ends[gram] for gram in grams if gram in self._ends]
        return RepeatedShares(
            before=sum(first <= character_offset for first, _ in ends) / len(grams),
            after=sum(last > character_offset for _, last in ends) / len(grams),
        )
