"""The training set: C* of all shards deduplicated, decontaminated, split and capped per tool.

Paper §4.1. Windows of C without any call may stand beside C*, since texts that all hold calls may
teach a model to call everywhere.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from toolformer.augmentation import KeptCall
from toolformer.base.digests import digest
from toolformer.forward.windows import WindowKey
from toolformer.training.shared_words import NearDuplicateIndex, NgramIndex

# Why a text is not trained on, in the order in which it is looked for: the text is there already
# but for white space, it shares words with a held-out one, it is nearly the same as one that
# stayed, all of its tools are at the cap.
DUPLICATE_TEXT = "duplicate_text"
SHARES_NGRAM = "shares_ngram"
NEAR_DUPLICATE = "near_duplicate"
OVER_CAP = "over_cap"
_DIGEST_BITS = 64
# The first share of the documents whose windows are looked at, and what it grows by: cutting a
# whole corpus into windows for a few of them would take hours.
_FIRST_SHARE, _GROWTH = 1 / 64, 8
# So many windows to choose from for each that is wanted; else more documents are looked at.
_CHOICE = 4


def text_in_context(context: str | None, text: str) -> str:
    r"""Return the text with its context, as training sees them.

    Example:
        >>> text_in_context("What is two and two?", "Two and two is 4.")
        'What is two and two?\nTwo and two is 4.'
        >>> text_in_context(None, "Two and two is 4.")
        'Two and two is 4.'
    """
    return text if context is None else f"{context}\n{text}"


@dataclass(frozen=True, slots=True)
class AugmentedText:
    """One window of C, or of C* with its calls beside it.

    Attributes:
        window_index: number of the window within its text, from 0.
        text: the characters of the window, without calls.
        calls: its kept calls, at most one per position, from left to right; none in a plain window.
        context: what stands in front of the document in training; None where it has none, and for
            all but its first window.
    """

    document_id: str
    window_index: int
    shard: str
    text: str
    calls: tuple[KeptCall, ...]
    round: int
    context: str | None

    @property
    def key(self) -> WindowKey:
        """Which window it is, whatever the round."""
        return self.document_id, self.window_index

    @property
    def tools(self) -> frozenset[str]:
        """Names of the tools with a call in this text."""
        return frozenset(call.tool for call in self.calls)


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

    def keeps(self, text: AugmentedText, exclusions: list[Exclusion]) -> bool:
        """Return whether a text stays; if not, add the reason to `exclusions`."""
        exclusion = self.exclusion_of(text)
        if exclusion is not None:
            exclusions.append(exclusion)
        return exclusion is None

    def exclusion_of(self, text: AugmentedText) -> Exclusion | None:
        """Return why the text is left out; None if it stays, to compare later ones with it."""
        # All that is learnt but the calls.
        whole = text_in_context(text.context, text.text)
        without_layout = digest(" ".join(whole.split()))
        if without_layout in self._seen:
            return Exclusion(text, DUPLICATE_TEXT, similar_to=self._seen[without_layout])
        # A question of few words is held out as a whole, and so is compared as a whole too.
        parts = [whole] if text.context is None else [whole, text.context]
        overlap = next(filter(None, map(self._held_out.first_overlap, parts)), None)
        if overlap is not None:
            name, ngram = overlap
            return Exclusion(text, SHARES_NGRAM, held_out_set=name, shared_ngram=ngram)
        if similar := self._alike and self._alike.find_or_add(text.key, whole):
            other, similarity = similar
            return Exclusion(text, NEAR_DUPLICATE, similar_to=other, similarity=similarity)
        self._seen[without_layout] = text.key
        return None


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What a model is finetuned and measured on.

    Attributes:
        train: texts to train on, ordered by document and window.
        development: texts for the development perplexity, in the same order; no document has
            windows on both sides.
        exclusions: texts that were left out, in the order in which they were.
        without_call: number of texts that hold no call; they are no part of C*.
    """

    train: tuple[AugmentedText, ...]
    development: tuple[AugmentedText, ...]
    exclusions: tuple[Exclusion, ...]
    without_call: int


def build_training_set(
    texts: Sequence[AugmentedText],
    *,
    max_texts_per_tool: int,
    development_share: float,
    seed: int,
    text_filter: TrainingTextFilter,
) -> TrainingSet:
    """Choose the texts to train on.

    In this order: texts without a call are left out; copies, texts that share words with held-out
    ones and near duplicates are left out; whole documents are split off for development; the rest
    is capped per tool. So the development side depends neither on the cap nor on the seed, and runs
    can be compared by their perplexity.

    The cap counts texts with a kept call of the tool, in a random order given by the seed. A text
    is left out if all of its tools are at the cap, so a rare tool loses nothing to a common one,
    and a common tool can end above the cap.

    Args:
        texts: C* of all shards. Of two equal or nearly equal texts the first stays.
        development_share: share of the documents set aside, in [0, 1). Above 0 it is at least
            one document if there are two.
        text_filter: afterwards it knows all texts that stayed.

    Paper:
        §4.1 (25,000 per tool). How they are chosen, and the split, is ours.
    """
    with_calls = [text for text in texts if text.calls]
    exclusions: list[Exclusion] = []
    clean = [text for text in with_calls if text_filter.keeps(text, exclusions)]
    held_out = _development_documents({text.document_id for text in clean}, development_share)
    development = [text for text in clean if text.document_id in held_out]
    train, over_cap = _capped(
        [text for text in clean if text.document_id not in held_out], max_texts_per_tool, seed
    )
    return TrainingSet(
        train=tuple(sorted(train, key=_key)),
        development=tuple(sorted(development, key=_key)),
        exclusions=(*exclusions, *(Exclusion(text, OVER_CAP) for text in over_cap)),
        without_call=len(texts) - len(with_calls),
    )


def draw_plain_windows(
    windows: Callable[[Callable[[str], bool]], Iterable[AugmentedText]],
    *,
    wanted: int,
    development_share: float,
    development_documents: Collection[str],
    seed: int,
    text_filter: TrainingTextFilter,
) -> tuple[list[AugmentedText], list[Exclusion]]:
    """Draw windows at random, with equal chances.

    Of a large corpus only the windows of a random part of its documents are looked at. No window is
    drawn from a document of the development side.

    Args:
        windows: returns the windows without calls of the documents that its argument accepts;
            called again for more documents if those are too few.
        development_documents: documents that `build_training_set` set aside.
        text_filter: knows the texts with calls already.

    Returns:
        `wanted` windows, or all there are, in the order in which they were drawn; and drawn ones
        that may not be trained on.
    """
    texts: list[AugmentedText] = []
    exclusions: list[Exclusion] = []
    seen: set[WindowKey] = set()
    share = _FIRST_SHARE

    def is_looked_at(document_id: str) -> bool:
        return (
            random_rank(seed, "plain", document_id) < share * 2**64
            and document_id not in development_documents
            and not is_for_development(document_id, development_share)
        )

    while len(texts) < wanted:
        max_drawn = _CHOICE * (wanted - len(texts))
        drawn = heapq.nsmallest(
            max_drawn,
            (text for text in windows(is_looked_at) if text.key not in seen),
            key=lambda text: (random_rank(seed, "plain", *text.key), text.key),
        )
        if len(drawn) < max_drawn and share < 1:
            share = min(share * _GROWTH, 1)
            continue
        for text in drawn:
            if len(texts) == wanted:
                break
            seen.add(text.key)
            if text_filter.keeps(text, exclusions):
                texts.append(text)
        if len(drawn) < max_drawn:
            break
    return texts, exclusions


def is_for_development(document_id: str, development_share: float) -> bool:
    """Whether a document belongs to the development side, where there are many documents.

    By its digest and not by rank: more documents do not move those there are to the other side.
    """
    return random_rank("development", document_id) < development_share * 2**_DIGEST_BITS


def random_rank(*parts: object) -> int:
    """A number of 64 bits that looks random, and is the same for the same values."""
    return int.from_bytes(digest(*parts, size=_DIGEST_BITS // 8), "little")


def _development_documents(documents: set[str], share: float) -> set[str]:
    ranked = sorted(
        documents, key=lambda document: (random_rank("development", document), document)
    )
    chosen = [document for document in ranked if is_for_development(document, share)]
    # A handful of documents can all fall on one side, which would leave nothing to train on or
    # no way to tell the best checkpoint.
    if share > 0 and len(ranked) > 1:
        chosen = ranked[: min(max(len(chosen), 1), len(ranked) - 1)]
    elif len(chosen) == len(ranked):
        chosen = []
    return set(chosen)


def _capped(
    texts: Sequence[AugmentedText], cap: int, seed: int
) -> tuple[list[AugmentedText], list[AugmentedText]]:
    """What stays under the cap, and what does not."""
    taken: Counter[str] = Counter()
    kept: list[AugmentedText] = []
    over_cap: list[AugmentedText] = []
    by_chance = sorted(texts, key=lambda text: (random_rank(seed, *text.key), _key(text)))
    for text in by_chance:
        if all(taken[tool] >= cap for tool in text.tools):
            over_cap.append(text)
            continue
        taken.update(text.tools)
        kept.append(text)
    return kept, over_cap


def _key(text: AugmentedText) -> tuple[str, int, str]:
    return *text.key, text.shard
