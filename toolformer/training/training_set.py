"""The training set: C* of all shards deduplicated, decontaminated, split and capped per tool.

Paper §4.1.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from toolformer.base.digests import digest
from toolformer.training.augmented_text import AugmentedText
from toolformer.training.exclusions import OVER_CAP, Exclusion, TrainingTextFilter

_DIGEST_BITS = 64


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

    In this order: texts without a call go; what the filter holds back goes, that is, copies, texts
    that share words with held-out ones, and near duplicates; whole documents are split off for
    development; the rest is capped per tool. So the development side depends neither on the cap
    nor on the seed, and runs can be compared by their perplexity.

    The cap counts texts with a kept call of the tool. Texts are taken in a random order given by
    the seed. A text is left out when all of its tools are at the cap; one that has a call of a
    tool with room stays with all of its calls, so that a rare tool loses nothing to a common one,
    and a common tool can end above the cap by such texts.

    Args:
        texts: C* of all shards. Their order matters only for which of two equal or nearly equal
            texts stays.
        max_texts_per_tool: at least 1; the paper has 25,000.
        development_share: share of the documents set aside, in [0, 1). Above 0 it is at least
            one document where there are two.
        text_filter: decides what goes; it has seen all that stayed afterwards.

    Paper:
        §4.1 (25,000 per tool). How they are chosen, and the split, is ours.
    """
    with_calls = [text for text in texts if text.calls]
    exclusions: list[Exclusion] = []
    clean: list[AugmentedText] = []
    for text in with_calls:
        exclusion = text_filter.exclusion_of(text)
        if exclusion is None:
            clean.append(text)
        else:
            exclusions.append(exclusion)
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
