"""The training set: C* of all shards deduplicated, decontaminated, split and capped per tool.

Paper §4.1, spec §5 and §1.9 item 22. Does not read the warehouse and does not tokenise.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from toolformer.augmentation import KeptCall
from toolformer.errors import TrainingError
from toolformer.ground.digests import digest

_DIGEST_BITS = 64


@dataclass(frozen=True, slots=True)
class AugmentedText:
    """One window of C* with its calls beside it.

    Attributes:
        document_id: the text that the window is cut from.
        window: number of the window within its text, from 0.
        shard: where the text comes from.
        text: the characters of the window, without calls.
        calls: its kept calls, at most one per position, from left to right.
    """

    document_id: str
    window: int
    shard: str
    text: str
    calls: tuple[KeptCall, ...]

    @property
    def tools(self) -> frozenset[str]:
        """Names of the tools with a call in this text."""
        return frozenset(call.tool for call in self.calls)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What a model is finetuned and measured on.

    Attributes:
        train: texts to train on, ordered by document and window.
        development: texts for the development perplexity, in the same order; no document has
            windows on both sides.
        dropped: number of texts left out, by reason: `no_call`, `duplicate_text`,
            `shares_ngram_with_<name>`, `over_cap`.
    """

    train: tuple[AugmentedText, ...]
    development: tuple[AugmentedText, ...]
    dropped: dict[str, int]


def build_training_set(
    texts: Sequence[AugmentedText],
    *,
    max_texts_per_tool: int,
    development_share: float,
    seed: int,
    excluded: Callable[[str], str | None],
) -> TrainingSet:
    """Choose the texts to train on.

    In this order: texts without a call go; of texts that differ in white space alone the first
    stays; texts that share words with held-out ones go; whole documents are split off for
    development; the rest is capped per tool. So the development side depends neither on the cap
    nor on the seed, and runs can be compared by their perplexity.

    The cap counts texts with a kept call of the tool. Texts are taken in a random order given by
    the seed. A text is left out when all of its tools are at the cap; one that has a call of a
    tool with room stays with all of its calls, so that a rare tool loses nothing to a common one,
    and a common tool can end above the cap by such texts.

    Args:
        texts: C* of all shards. Their order matters only for which of two equal texts stays.
        max_texts_per_tool: cap per tool, at least 1; the paper has 25,000.
        development_share: share of the documents set aside, in [0, 1). Above 0 it is at least
            one document where there are two.
        seed: of the random order of texts under the cap.
        excluded: name of the held-out set that a text overlaps with, or None.

    Raises:
        TrainingError: a number is out of its range.

    Paper:
        §4.1 (25,000 per tool). How they are chosen, and the split, is ours (spec §5 `[D]`).
    """
    if max_texts_per_tool < 1 or not 0 <= development_share < 1:
        raise TrainingError(
            f"max_texts_per_tool is {max_texts_per_tool} and development_share is "
            f"{development_share}; expected at least 1, and at least 0 and below 1. Correct them "
            "in toolformer.yaml."
        )
    dropped: Counter[str] = Counter()
    clean = _distinct_and_clean(texts, excluded, dropped)
    held_out = _development_documents({text.document_id for text in clean}, development_share)
    development = [text for text in clean if text.document_id in held_out]
    train = _capped(
        [text for text in clean if text.document_id not in held_out],
        max_texts_per_tool,
        seed,
        dropped,
    )
    return TrainingSet(
        train=tuple(sorted(train, key=_key)),
        development=tuple(sorted(development, key=_key)),
        dropped=dict(sorted(dropped.items())),
    )


def _distinct_and_clean(
    texts: Sequence[AugmentedText],
    excluded: Callable[[str], str | None],
    dropped: Counter[str],
) -> list[AugmentedText]:
    seen: set[bytes] = set()
    clean: list[AugmentedText] = []
    for text in texts:
        if not text.calls:
            dropped["no_call"] += 1
            continue
        of_text = digest(" ".join(text.text.split()))
        if of_text in seen:
            dropped["duplicate_text"] += 1
            continue
        seen.add(of_text)
        name = excluded(text.text)
        if name is None:
            clean.append(text)
        else:
            dropped[f"shares_ngram_with_{name}"] += 1
    return clean


def _development_documents(documents: set[str], share: float) -> set[str]:
    """Documents whose digest lies in the lowest `share` of all digests.

    By digest and not by rank: more documents do not move those there are to the other side.
    """
    ranked = sorted(documents, key=lambda document: (_rank("development", document), document))
    limit = share * 2**_DIGEST_BITS
    chosen = [document for document in ranked if _rank("development", document) < limit]
    # A handful of documents can all fall on one side, which would leave nothing to train on or
    # no way to tell the best checkpoint.
    if share > 0 and len(ranked) > 1:
        chosen = ranked[: min(max(len(chosen), 1), len(ranked) - 1)]
    elif len(chosen) == len(ranked):
        chosen = []
    return set(chosen)


def _capped(
    texts: Sequence[AugmentedText], cap: int, seed: int, dropped: Counter[str]
) -> list[AugmentedText]:
    taken: Counter[str] = Counter()
    kept: list[AugmentedText] = []
    by_chance = sorted(
        texts, key=lambda text: (_rank(seed, text.document_id, text.window), _key(text))
    )
    for text in by_chance:
        if all(taken[tool] >= cap for tool in text.tools):
            dropped["over_cap"] += 1
            continue
        taken.update(text.tools)
        kept.append(text)
    return kept


def _key(text: AugmentedText) -> tuple[str, int, str]:
    return text.document_id, text.window, text.shard


def _rank(*parts: object) -> int:
    return int.from_bytes(digest(*parts, size=_DIGEST_BITS // 8), "little")
