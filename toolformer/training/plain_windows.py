"""Windows of C without any call, to be trained on beside C*.

Texts that all hold calls may teach a model to call everywhere.
"""

import heapq
from collections.abc import Callable, Collection, Iterable

from toolformer.forward.windows import WindowKey
from toolformer.training.augmented_text import AugmentedText
from toolformer.training.exclusions import Exclusion, TrainingTextFilter
from toolformer.training.training_set import is_for_development, random_rank

# The first share of the documents whose windows are looked at, and what it grows by: cutting a
# whole corpus into windows for a few of them would take hours.
_FIRST_SHARE, _GROWTH = 1 / 64, 8
# So many windows to choose from for each that is wanted; else more documents are looked at.
_CHOICE = 4


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

    Of a large corpus only the windows of a random part of its documents are looked at. Documents
    of the development side have none, so that no document has windows on both sides.

    Args:
        windows: gives the windows without calls of the documents that its argument accepts; asked
            again for more documents where those it gave are too few.
        development_share: share of the documents set aside, in [0, 1).
        development_documents: those that were, by `build_training_set`.
        text_filter: what it holds back is not drawn; it knows the texts with calls already.

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
            exclusion = text_filter.exclusion_of(text)
            if exclusion is None:
                texts.append(text)
            else:
                exclusions.append(exclusion)
        if len(drawn) < max_drawn:
            break
    return texts, exclusions
