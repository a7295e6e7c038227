"""Which texts are left out of training for what they share with others, and the record of it.

Three reasons, looked for in this order: the text is there already but for white space, it shares
words with a held-out one, it is nearly the same as one that stayed. Its context is a part of it.
"""

from dataclasses import dataclass

from toolformer.base.digests import digest
from toolformer.forward.windows import WindowKey
from toolformer.training.augmented_text import AugmentedText
from toolformer.training.contexts import text_in_context
from toolformer.training.decontamination import NgramIndex
from toolformer.training.near_duplicates import NearDuplicateIndex

DUPLICATE_TEXT = "duplicate_text"
SHARES_NGRAM = "shares_ngram"
NEAR_DUPLICATE = "near_duplicate"
OVER_CAP = "over_cap"


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A text that is not trained on, and why.

    Attributes:
        reason: one of the four above.
        held_out_set: name of the benchmark or other set whose words it shares.
        shared_ngram: these words.
        similar_to: the text that it was left out for, of `DUPLICATE_TEXT` and `NEAR_DUPLICATE`;
            that one was let through, and may be over the cap afterwards.
        similarity: similarity of the two, at most 1; of `NEAR_DUPLICATE`.
    """

    text: AugmentedText
    reason: str
    held_out_set: str | None = None
    shared_ngram: str | None = None
    similar_to: WindowKey | None = None
    similarity: float | None = None

    @property
    def counted_as(self) -> str:
        """The reason, with the name of the held-out set where there is one."""
        return f"{self.reason}_with_{self.held_out_set}" if self.held_out_set else self.reason


class TrainingTextFilter:
    """Lets through what is neither there already nor held out; remembers what it let through.

    Args:
        held_out: what no text may share words with.
        near_duplicate_similarity: see `NearDuplicateIndex`; None lets near duplicates through.
    """

    def __init__(self, held_out: NgramIndex, *, near_duplicate_similarity: float | None):
        similarity = near_duplicate_similarity
        self._held_out = held_out
        self._seen: dict[bytes, WindowKey] = {}
        self._alike = None if similarity is None else NearDuplicateIndex(similarity)

    def exclusion_of(self, text: AugmentedText) -> Exclusion | None:
        """Why the text is left out; None where it stays, and later ones are compared with it."""
        # All that is learnt but the calls.
        whole = text_in_context(text.context, text.text)
        without_layout = digest(" ".join(whole.split()))
        if without_layout in self._seen:
            return Exclusion(text, DUPLICATE_TEXT, similar_to=self._seen[without_layout])
        # A question of few words is held out as a whole, and so is compared as a whole too.
        parts = [whole] if text.context is None else [whole, text.context]
        overlap = next(filter(None, map(self._held_out.first_overlap, parts)), None)
        if overlap is not None:
            return Exclusion(
                text, SHARES_NGRAM, held_out_set=overlap.name, shared_ngram=overlap.ngram
            )
        similar = self._alike and self._alike.find_or_add(text.key, whole)
        if similar:
            return Exclusion(
                text, NEAR_DUPLICATE, similar_to=similar.key, similarity=similar.similarity
            )
        self._seen[without_layout] = text.key
        return None
