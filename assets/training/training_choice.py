"""The texts that are trained on, chosen from those that were read, as rows and with the counts.

Does not look at what is up to date, and does not store anything.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import polars as pl

from assets.shard_texts import typed_frame
from assets.training.benchmark_texts import held_out_ngrams
from assets.training.dropped_calls import dropped_calls
from assets.training.plain_windows import windows_without_calls
from assets.training.training_inputs import TrainingInputs
from dagster_project.home import Home
from dagster_project.settings.sections import Settings
from dagster_project.wiring.model_holder import base_model_directory
from toolformer.augmentation import KeptCall
from toolformer.forward.tokenization import load_tokenizer
from toolformer.training.augmented_text import AugmentedText, TextKey
from toolformer.training.dropped_calls import DroppedCalls, choose_dropped_calls
from toolformer.training.exclusions import Exclusion, TextSieve
from toolformer.training.plain_windows import (
    PlainWindows,
    draw_plain_windows,
    plain_windows_wanted,
)
from toolformer.training.training_set import TrainingSet, build_training_set
from warehouse.layout import name_in_round
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

LEFT_OUT = "left out: "
RANDOM_CONTROL = "random control: "
PLAIN_TEXTS = "plain texts"


@dataclass(frozen=True, slots=True)
class ChosenTexts:
    """A training set as it is stored.

    Attributes:
        rows: of `training_texts`.
        exclusions: rows of `training_exclusions`.
        metadata: counts, stored with the rows.
    """

    rows: pl.DataFrame
    exclusions: pl.DataFrame
    metadata: Mapping[str, str]


def choose_texts(
    store: Warehouse, home: Home, settings: Settings, inputs: TrainingInputs
) -> ChosenTexts:
    """Choose what is trained on.

    Args:
        store, home, settings: of the run.
        inputs: what it is made of.

    Raises:
        ToolformerError: what is read does not belong together.
    """
    training, texts = settings.training, list(_augmented_texts(store, inputs))
    held_out = held_out_ngrams(store, sorted(inputs.held_out), inputs.benchmarks)
    sieve = TextSieve(held_out, near_duplicate_similarity=training.near_duplicate_similarity)
    chosen = build_training_set(
        texts,
        max_texts_per_tool=training.max_texts_per_tool,
        development_share=training.development_share,
        seed=training.seed,
        sieve=sieve,
    )
    wanted = plain_windows_wanted(len(chosen.train), training.plain_share)
    plain = PlainWindows((), ())
    if wanted:
        plain = draw_plain_windows(
            partial(
                _without_calls,
                store,
                home,
                settings,
                sorted(inputs.documents),
                {text.key: text.text for text in texts},
            ),
            wanted=wanted,
            development_share=training.development_share,
            development_documents={text.document_id for text in chosen.development},
            seed=training.seed,
            sieve=sieve,
        )
    train = sorted([*chosen.train, *plain.texts], key=lambda text: text.key)
    control = choose_dropped_calls(
        train, dropped_calls(store, inputs.calls, train), seed=training.seed
    )
    exclusions = [*chosen.exclusions, *plain.exclusions]
    rows = [
        *(_row(text, "train", control.calls.get(text.key, ())) for text in train),
        *(_row(text, "development", ()) for text in chosen.development),
    ]
    return ChosenTexts(
        rows=typed_frame("training_texts", rows),
        exclusions=typed_frame("training_exclusions", list(map(_exclusion_row, exclusions))),
        metadata={
            **_left_out(chosen, exclusions),
            **_plain_counts(len(plain.texts), wanted),
            **_control_counts(control),
        },
    )


def _augmented_texts(store: Warehouse, inputs: TrainingInputs) -> Iterator[AugmentedText]:
    """C*, the newest round first: of texts that are equal the first stays."""
    for number, of_round in inputs.built.items():
        for shard in sorted(of_round):
            rows = store.read_slice("augmented_texts", shard, name_in_round(number, ALL))
            for row in rows.iter_rows(named=True):
                calls = tuple(KeptCall(**call) for call in row["calls"])
                yield AugmentedText(**{**row, "calls": calls})


def _without_calls(
    store: Warehouse,
    home: Home,
    settings: Settings,
    shards: Sequence[str],
    with_calls: Mapping[TextKey, str],
    is_wanted: Callable[[str], bool],
) -> Iterator[AugmentedText]:
    tokenizer = load_tokenizer(base_model_directory(settings, home))
    for _, text in windows_without_calls(
        store, shards, tokenizer, settings, with_calls=with_calls, is_wanted=is_wanted
    ):
        yield text


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
