"""Builds the training set: deduplicates, decontaminates, splits and caps C* (paper §4.1).

Windows of C without calls ("plain windows") can be added. A model that is trained only on texts
with calls may learn to call everywhere.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from toolformer.augmentation import KeptCall
from toolformer.base.digests import digest
from toolformer.forward.windows import WindowKey
from toolformer.training.shared_words import NearDuplicateIndex, NgramIndex

# Reasons to exclude a text, in the order in which they are checked: it equals an earlier text
# except for white space, it shares an n-gram with a held-out text, it is a near duplicate of an
# accepted text, or all of its tools are at the cap.
DUPLICATE_TEXT = "duplicate_text"
SHARES_NGRAM = "shares_ngram"
NEAR_DUPLICATE = "near_duplicate"
OVER_CAP = "over_cap"
_DIGEST_BITS = 64
# To draw plain windows, cut only this share of the documents at first, and multiply it if there are
# too few windows. Cutting a whole corpus to draw a few windows would take hours.
_FIRST_SHARE, _GROWTH = 1 / 64, 8
# Minimum number of candidate windows per wanted window. If there are fewer, the share grows.
_CANDIDATES_PER_WINDOW = 4


def text_in_context(context: str | None, text: str) -> str:
    r"""Return the text after its context and a line break, or only the text if it has none.

    Example:
        >>> text_in_context("What is two and two?", "Two and two is 4.")
        'What is two and two?\nTwo and two is 4.'
        >>> text_in_context(None, "Two and two is 4.")
        'Two and two is 4.'
    """
    return text if context is None else f"{context}\n{text}"


@dataclass(frozen=True, slots=True)
class AugmentedText:
    """Window of C, or of C* with its kept calls from left to right, at most one per position.

    Only the first window of a document has a `context`, which training prepends.
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
        return self.document_id, self.window_index

    @property
    def tools(self) -> frozenset[str]:
        return frozenset(call.tool for call in self.calls)


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Text that is excluded from training, and the reason (one of the four constants above).

    The text in `similar_to` passed the filter but may itself be over the cap.
    """

    text: AugmentedText
    reason: str
    held_out_set: str | None = None
    shared_ngram: str | None = None
    similar_to: WindowKey | None = None
    similarity: float | None = None

    @property
    def reason_with_set(self) -> str:
        """The reason and, if there is one, the name of the held-out set."""
        return f"{self.reason}_with_{self.held_out_set}" if self.held_out_set else self.reason


class TrainingTextFilter:
    """Excludes texts that overlap with held-out texts or duplicate an accepted text.

    If `near_duplicate_similarity` is None, near duplicates are accepted.
    """

    def __init__(self, held_out: NgramIndex, *, near_duplicate_similarity: float | None):
        similarity = near_duplicate_similarity
        self._held_out = held_out
        self._seen: dict[bytes, WindowKey] = {}
        self._near_duplicates = None if similarity is None else NearDuplicateIndex(similarity)

    def keeps(self, text: AugmentedText, exclusions: list[Exclusion]) -> bool:
        """Return whether a text is accepted; if not, append the reason to `exclusions`."""
        exclusion = self.exclusion_of(text)
        if exclusion is not None:
            exclusions.append(exclusion)
        return exclusion is None

    def exclusion_of(self, text: AugmentedText) -> Exclusion | None:
        """Return why a text is excluded, or remember the text and return None."""
        whole = text_in_context(text.context, text.text)
        normalized = digest(" ".join(whole.split()))
        if normalized in self._seen:
            return Exclusion(text, DUPLICATE_TEXT, similar_to=self._seen[normalized])
        # A short held-out text only matches as a whole, so the context is also checked separately.
        checked = [whole] if text.context is None else [whole, text.context]
        overlap = next(filter(None, map(self._held_out.first_overlap, checked)), None)
        if overlap is not None:
            name, ngram = overlap
            return Exclusion(text, SHARES_NGRAM, held_out_set=name, shared_ngram=ngram)
        if similar := self._near_duplicates and self._near_duplicates.find_or_add(text.key, whole):
            other, similarity = similar
            return Exclusion(text, NEAR_DUPLICATE, similar_to=other, similarity=similarity)
        self._seen[normalized] = text.key
        return None


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Training and development texts, ordered by document and window. The two share no document."""

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
    """Select the training and development texts from C* of all shards.

    Texts without a call, duplicates, overlaps with held-out texts and near duplicates are removed
    first. Then whole documents are split off for development, and the rest is capped per tool. The
    development set therefore depends on neither cap nor seed, so perplexities of different runs are
    comparable. If possible, both sets get at least one document.

    The cap counts texts with a kept call of the tool, in a random order given by the seed. A text
    is removed only if all of its tools are at the cap, so rare tools lose nothing to common ones,
    and a common tool can exceed the cap. The paper caps at 25,000 texts per tool (§4.1); the order
    and the split are our choice.
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
    """Draw plain windows uniformly at random; return the windows and the exclusions.

    Returns fewer than `wanted` windows only if the corpus has fewer. `windows` is called with a
    predicate that accepts a share of the documents, and called again if that share was too small.
    Windows of development documents are never drawn.
    """
    texts: list[AugmentedText] = []
    exclusions: list[Exclusion] = []
    seen: set[WindowKey] = set()
    share = _FIRST_SHARE

    def is_candidate(document_id: str) -> bool:
        return (
            random_rank(seed, "plain", document_id) < share * 2**64
            and document_id not in development_documents
            and not is_development_document(document_id, development_share)
        )

    while len(texts) < wanted:
        max_drawn = _CANDIDATES_PER_WINDOW * (wanted - len(texts))
        drawn = heapq.nsmallest(
            max_drawn,
            (text for text in windows(is_candidate) if text.key not in seen),
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


def is_development_document(document_id: str, development_share: float) -> bool:
    """Return whether a document belongs to the development set of a large corpus.

    The digest of its id decides, so adding documents never moves existing ones between the sets.
    """
    return random_rank("development", document_id) < development_share * 2**_DIGEST_BITS


def random_rank(*parts: object) -> int:
    """Return a pseudo-random 64-bit number that depends only on the arguments."""
    return int.from_bytes(digest(*parts, size=_DIGEST_BITS // 8), "little")


def _development_documents(documents: set[str], share: float) -> set[str]:
    ranked = sorted(
        documents, key=lambda document: (random_rank("development", document), document)
    )
    chosen = [document for document in ranked if is_development_document(document, share)]
    # A handful of documents can all fall into one set. That would leave nothing to train on, or
    # nothing to select the best checkpoint by.
    if share > 0 and len(ranked) > 1:
        chosen = ranked[: min(max(len(chosen), 1), len(ranked) - 1)]
    elif len(chosen) == len(ranked):
        chosen = []
    return set(chosen)


def _capped(
    texts: Sequence[AugmentedText], cap: int, seed: int
) -> tuple[list[AugmentedText], list[AugmentedText]]:
    counts: Counter[str] = Counter()
    kept: list[AugmentedText] = []
    over_cap: list[AugmentedText] = []
    shuffled = sorted(texts, key=lambda text: (random_rank(seed, *text.key), _key(text)))
    for text in shuffled:
        if all(counts[tool] >= cap for tool in text.tools):
            over_cap.append(text)
            continue
        counts.update(text.tools)
        kept.append(text)
    return kept, over_cap


def _key(text: AugmentedText) -> tuple[str, int, str]:
    return *text.key, text.shard
