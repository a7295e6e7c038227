"""How much of a result a text holds already, before and after the place of the call.

A result that repeats what follows makes it easy to predict without being of any use: the filter of
the paper would keep such calls for the wrong reason. Does not decide what is dropped.
"""

from dataclasses import dataclass

from tools.running.word_grams import GRAM_WORDS, WORD, Gram, grams_of, words_of


@dataclass(frozen=True, slots=True)
class RepeatedShares:
    """Shares of a result's 8-word sequences, 0 to 1, that stand in a text.

    Attributes:
        before: In front of the place of the call.
        after: Behind it.
    """

    before: float
    after: float


class LeakCheck:
    """One text, prepared for the results of many calls.

    Args:
        text: The call's own text.
    """

    def __init__(self, text: str) -> None:
        # For each sequence where its first occurrence ends and its last one begins.
        self._places: dict[Gram, tuple[int, int]] = {}
        words = list(WORD.finditer(text.casefold()))
        for number in range(len(words) - GRAM_WORDS + 1):
            of_gram = words[number : number + GRAM_WORDS]
            gram = tuple(word.group() for word in of_gram)
            first_end, _ = self._places.get(gram, (of_gram[-1].end(), 0))
            self._places[gram] = (first_end, of_gram[0].start())

    def shares(self, result: str, character_offset: int) -> RepeatedShares | None:
        """How much of a result stands before and after a place.

        Args:
            result: What the tool answered.
            character_offset: Of the call, in the text.

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
        there = [self._places[gram] for gram in grams if gram in self._places]
        return RepeatedShares(
            before=sum(first_end <= character_offset for first_end, _ in there) / len(grams),
            after=sum(last_start >= character_offset for _, last_start in there) / len(grams),
        )
