"""Builds the training set from C* of all shards (paper §2)."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import dagster as dg

from assets.inputs import Expected
from assets.outputs import OutputRows, PartitionOutput
from assets.run import Run
from assets.shard_texts import typed_frame
from assets.stage_asset import asset_of
from assets.training.benchmark_texts import BenchmarkTexts, benchmark_texts, held_out_ngrams
from assets.training.corpus_windows import windows_without_calls
from assets.training.training_inputs import LEFT_OUT, TRAINING_SET, TrainingInputs
from toolformer.augmentation import KeptCall
from toolformer.forward.tokenization import load_tokenizer
from toolformer.forward.windows import WindowKey
from toolformer.home.metadata import table_markdown
from toolformer.home.wiring.models import base_model_directory
from toolformer.home.wiring.workspace import Workspace
from toolformer.training.training_set import (
    AugmentedText,
    Exclusion,
    TrainingTextFilter,
    build_training_set,
    draw_plain_windows,
)
from warehouse.layout import name_in_round
from warehouse.schema import ALL

TEXTS, EXCLUSIONS = "training_texts", "training_exclusions"
PLAIN_TEXTS = "plain texts"


@asset_of(TRAINING_SET)
def training_set(run: Run) -> dg.MaterializeResult:
    """C* of all shards, ready for training; one row = one window, by `document_id` and `window`.

    `training.rounds` names the rounds of annotation, by default the newest. If several of them
    annotated a text, it has the calls of the newest: losses of different annotators cannot be
    compared, so calls of different rounds do not compete for a position. Left out are held-out
    shards, duplicates, and texts that share 13 consecutive words with a held-out text or a
    benchmark; `training_exclusions` lists them. The number of texts per tool is capped.
    `training.plain_share` adds windows without calls.
    """
    texts = TrainingTexts(
        run=run, address=(TEXTS, ALL, ALL), benchmarks=benchmark_texts(run.settings)
    )
    state = texts.ensure()
    return dg.MaterializeResult(
        metadata={"state": state, **_report(texts, texts.inputs())},
        data_version=texts.data_version(),
    )


@dataclass(frozen=True, kw_only=True)
class TrainingTexts(PartitionOutput):
    """The texts to train on, published together with the list of excluded texts."""

    benchmarks: Mapping[str, BenchmarkTexts]
    # The model of any round needs this fingerprint, but the texts of only one round are stored.
    fingerprint_omits_rows = True

    def inputs(self) -> TrainingInputs:
        return TrainingInputs.load(self.run, self.benchmarks)

    @property
    def side_partitions(self) -> Mapping[str, str]:
        return {EXCLUSIONS: self.address[2]}

    def expected(self) -> Expected:
        inputs = self.inputs()
        inputs.check_built(self.run.settings.training_rounds)
        return inputs.expected(self.run)

    def compute(self, expected: Expected) -> OutputRows:  # noqa: ARG002
        # These inputs are compared with `expected` before the rows are published.
        chosen = choose_texts(self.run, self.inputs())
        for name, count in chosen.metadata.items():
            self.run.log.info(f"{name}: {count}")
        return chosen


def choose_texts(work: Workspace, inputs: TrainingInputs) -> OutputRows:
    """Choose the texts to train on; the metadata counts texts by reason of exclusion."""
    training, texts = work.settings.training, list(_with_calls(work, inputs))
    held_out = held_out_ngrams(work.warehouse, sorted(inputs.held_out), inputs.benchmarks)
    text_filter = TrainingTextFilter(
        held_out, near_duplicate_similarity=training.near_duplicate_similarity
    )
    chosen = build_training_set(
        texts,
        max_texts_per_tool=training.max_texts_per_tool,
        development_share=training.development_share,
        seed=training.seed,
        text_filter=text_filter,
    )
    # The number of plain windows that gives them their share of all training texts.
    wanted = round(len(chosen.train) * training.plain_share / (1 - training.plain_share))
    with_calls = {text.key: text.text for text in texts}
    plain, plain_exclusions = draw_plain_windows(
        partial(_without_calls, work, sorted(inputs.documents), with_calls),
        wanted=wanted,
        development_share=training.development_share,
        development_documents={text.document_id for text in chosen.development},
        seed=training.seed,
        text_filter=text_filter,
    )
    train = sorted([*chosen.train, *plain], key=lambda text: text.key)
    exclusions = [*chosen.exclusions, *plain_exclusions]
    left_out = Counter(exclusion.reason_with_set for exclusion in exclusions)
    if chosen.without_call:
        left_out["no_call"] = chosen.without_call
    counts = {f"{LEFT_OUT}{reason}": str(count) for reason, count in sorted(left_out.items())}
    if wanted:
        missing = len(plain) < wanted
        counts[PLAIN_TEXTS] = f"{len(plain)} of {wanted}" if missing else str(wanted)
    rows = [
        *(_row(text, "train") for text in train),
        *(_row(text, "development") for text in chosen.development),
    ]
    return OutputRows(
        typed_frame(TEXTS, rows),
        counts,
        side_tables={EXCLUSIONS: typed_frame(EXCLUSIONS, list(map(_exclusion_row, exclusions)))},
    )


def _with_calls(work: Workspace, inputs: TrainingInputs) -> Iterator[AugmentedText]:
    """Yield C*, the newest round first, because the first of equal texts is kept."""
    for number, shard in inputs.built:
        rows = work.warehouse.read_partition("augmented_texts", shard, name_in_round(number, ALL))
        for row in rows.drop("first_call_id", "window_offset").iter_rows(named=True):
            calls = tuple(KeptCall(**call) for call in row["calls"])
            yield AugmentedText(**{**row, "calls": calls})


def _without_calls(
    work: Workspace,
    shards: Sequence[str],
    with_calls: Mapping[WindowKey, str],
    is_wanted: Callable[[str], bool],
) -> Iterator[AugmentedText]:
    tokenizer = load_tokenizer(base_model_directory(work))
    windows = windows_without_calls(
        work, shards, tokenizer, with_calls=with_calls, is_wanted=is_wanted
    )
    return (text for _, _, text in windows)


def _row(text: AugmentedText, split: str) -> dict[str, object]:
    row = asdict(text)
    del row["round"]
    return {**row, "split": split}


def _exclusion_row(exclusion: Exclusion) -> dict[str, object]:
    text = exclusion.text
    other_document, other_window = exclusion.similar_to or (None, None)
    return {
        "document_id": text.document_id,
        "window_index": text.window_index,
        "shard": text.shard,
        "round": text.round,
        "calls": len(text.calls),
        "reason": exclusion.reason,
        "held_out_set": exclusion.held_out_set,
        "shared_ngram": exclusion.shared_ngram,
        "other_document_id": other_document,
        "other_window_index": other_window,
        "similarity": exclusion.similarity,
    }


def _report(texts: TrainingTexts, inputs: TrainingInputs) -> dict[str, Any]:
    stored = texts.stored() or {}
    rows = texts.run.warehouse.read_partition(TEXTS, ALL, ALL)
    excluded = texts.run.warehouse.view("training_exclusion_summary")
    splits = dict(rows["split"].value_counts().iter_rows())
    return {
        "dagster/row_count": rows.height,
        "train texts": splits.get("train", 0),
        "development texts": splits.get("development", 0),
        "calls": int(rows["calls"].list.len().sum()),
        "rounds": ", ".join(map(str, sorted({number for number, _ in inputs.built}))),
        "shards": ", ".join(sorted(inputs.augmented_texts)),
        "shards without augmented texts": ", ".join(inputs.missing) or "none",
        "held-out shards": ", ".join(inputs.held_out) or "none",
        "benchmarks": ", ".join(inputs.benchmarks) or "none",
        **{name: int(count) for name, count in stored.items() if name.startswith(LEFT_OUT)},
        **{name: count for name, count in stored.items() if name == PLAIN_TEXTS},
        "exclusions": table_markdown(excluded, rows=40),
        "preview": table_markdown(rows.select("split", "text")),
    }
