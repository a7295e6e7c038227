"""The texts that are trained on, chosen from those that were read, as rows and with the counts."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial

from assets.outputs import Made
from assets.run import Workspace
from assets.shard_texts import typed_frame
from assets.training.benchmark_texts import held_out_ngrams
from assets.training.corpus_windows import windows_with_calls, windows_without_calls
from assets.training.dropped_calls import dropped_calls
from assets.training.training_inputs import TrainingInputs
from toolformer.augmentation import KeptCall
from toolformer.forward.tokenization import load_tokenizer
from toolformer.training.augmented_text import AugmentedText, TextKey
from toolformer.training.dropped_calls import DroppedCalls, choose_dropped_calls
from toolformer.training.exclusions import Exclusion, TextSieve
from toolformer.training.plain_windows import draw_plain_windows, plain_windows_wanted
from toolformer.training.training_set import TrainingSet, build_training_set

TEXTS, EXCLUSIONS = "training_texts", "training_exclusions"
LEFT_OUT = "left out: "
RANDOM_CONTROL = "random control: "
PLAIN_TEXTS = "plain texts"


def choose_texts(work: Workspace, inputs: TrainingInputs) -> Made:
    """Choose what is trained on.

    Args:
        work: has the rows and the base model.
        inputs: what it is made of.

    Returns:
        The training set, the list of what is left out beside it, and counts as metadata.

    Raises:
        ToolformerError: what is read does not belong together.
    """
    training, texts = work.settings.training, list(windows_with_calls(work, inputs.built))
    held_out = held_out_ngrams(work.warehouse, sorted(inputs.held_out), inputs.benchmarks)
    sieve = TextSieve(held_out, near_duplicate_similarity=training.near_duplicate_similarity)
    chosen = build_training_set(
        texts,
        max_texts_per_tool=training.max_texts_per_tool,
        development_share=training.development_share,
        seed=training.seed,
        sieve=sieve,
    )
    wanted = plain_windows_wanted(len(chosen.train), training.plain_share)
    plain: list[AugmentedText] = []
    plain_exclusions: list[Exclusion] = []
    if wanted:
        plain, plain_exclusions = draw_plain_windows(
            partial(
                _without_calls,
                work,
                sorted(inputs.documents),
                {text.key: text.text for text in texts},
            ),
            wanted=wanted,
            development_share=training.development_share,
            development_documents={text.document_id for text in chosen.development},
            seed=training.seed,
            sieve=sieve,
        )
    train = sorted([*chosen.train, *plain], key=lambda text: text.key)
    control = choose_dropped_calls(
        train, dropped_calls(work.warehouse, inputs.calls, train), seed=training.seed
    )
    exclusions = [*chosen.exclusions, *plain_exclusions]
    rows = [
        *(_row(text, "train", control.calls.get(text.key, ())) for text in train),
        *(_row(text, "development", ()) for text in chosen.development),
    ]
    return Made(
        typed_frame(TEXTS, rows),
        {
            **_left_out(chosen, exclusions),
            **_plain_counts(len(plain), wanted),
            **_control_counts(control),
        },
        beside={EXCLUSIONS: typed_frame(EXCLUSIONS, list(map(_exclusion_row, exclusions)))},
    )


def _without_calls(
    work: Workspace,
    shards: Sequence[str],
    with_calls: Mapping[TextKey, str],
    is_wanted: Callable[[str], bool],
) -> Iterator[AugmentedText]:
    tokenizer = load_tokenizer(work.base_model)
    windows = windows_without_calls(
        work, shards, tokenizer, with_calls=with_calls, is_wanted=is_wanted
    )
    return (text for _, text in windows)


def _row(text: AugmentedText, split: str, dropped: Sequence[KeptCall]) -> dict[str, object]:
    row = asdict(text)
    del row["window_offset"], row["round"]
    return {**row, "split": split, "dropped_calls": [asdict(call) for call in dropped]}


def _exclusion_row(exclusion: Exclusion) -> dict[str, object]:
    text, other = exclusion.text, exclusion.similar_to
    return {
        "document_id": text.document_id,
        "window": text.window,
        "shard": text.shard,
        "round": text.round,
        "calls": len(text.calls),
        "reason": exclusion.reason,
        "held_out_set": exclusion.held_out_set,
        "shared_ngram": exclusion.shared_ngram,
        "other_document_id": other and other.document_id,
        "other_window": other and other.window,
        "similarity": exclusion.similarity,
    }


def _left_out(chosen: TrainingSet, exclusions: Iterable[Exclusion]) -> dict[str, str]:
    counts = {"no_call": chosen.without_call} if chosen.without_call else {}
    for exclusion in exclusions:
        counts[exclusion.counted_as] = counts.get(exclusion.counted_as, 0) + 1
    return {f"{LEFT_OUT}{reason}": str(count) for reason, count in sorted(counts.items())}


def _plain_counts(found: int, wanted: int) -> dict[str, str]:
    if not wanted:
        return {}
    return {PLAIN_TEXTS: str(found) if found == wanted else f"{found} of {wanted}"}


def _control_counts(control: DroppedCalls) -> dict[str, str]:
    return {
        f"{RANDOM_CONTROL}{tool}": f"{control.found[tool]} of {wanted}"
        for tool, wanted in sorted(control.wanted.items())
    }
