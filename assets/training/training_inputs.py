"""Finds the inputs of the training set: C* of all shards, and the texts to keep out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from assets.identities import base_identity
from assets.inputs import Expected, Input, fingerprints_of, partition_inputs
from assets.stage import FingerprintPart, Stage
from assets.training.benchmark_texts import BenchmarkTexts, benchmark_identities, benchmark_texts
from toolformer.errors import ToolformerError
from toolformer.home.home import Home
from toolformer.home.wiring.models import base_model_directory
from toolformer.home.wiring.workspace import Workspace
from toolformer.sources.manifest import Manifest
from tools.model_identity import model_identity
from warehouse.layout import name_in_round
from warehouse.schema import ALL

# Prefix of metadata keys of the training set that count excluded texts by reason.
LEFT_OUT = "left out: "
_OF_TEXTS = (
    "training.max_texts_per_tool",
    "training.near_duplicate_similarity",
    "training.development_share",
    "training.seed",
)
_OF_PLAIN_WINDOWS = ("training.plain_share", "corpus.window_tokens", "corpus.max_windows_per_text")
# Settings of the benchmarks, whose texts are kept out of training.
_OF_BENCHMARKS = (
    "evaluation.files",
    "evaluation.questions",
    "evaluation.texts",
    "evaluation.benchmarks",
    "evaluation.seed",
)
TRAINING_SET = Stage(
    name="training_set",
    version="4",
    group="train",
    kinds=("polars", "duckdb"),
    reads=("augmented_texts", "documents"),
    table="training_texts",
    settings=(*_OF_TEXTS, *_OF_PLAIN_WINDOWS),
    parts=(
        FingerprintPart("augmented_texts", ("training.rounds", "sampling.round")),
        FingerprintPart("held_out_documents", ("corpus.held_out_every",)),
        FingerprintPart(
            "benchmarks",
            _OF_BENCHMARKS,
            code_version_value=lambda settings, _: benchmark_identities(settings),
        ),
        FingerprintPart("documents"),
        FingerprintPart(
            "tokenizer",
            ("language_model.path",),
            code_version_value=lambda settings, _: (
                settings.training.plain_share and base_identity(settings)
            ),
        ),
    ),
)


@dataclass(frozen=True, slots=True)
class TrainingInputs:
    """Inputs from which a training set would be made now.

    Attributes:
        built: C* by round and shard, the newest round first.
        documents: documents of the shards of C* if plain windows are drawn from them, else none.
        missing: shards without augmented texts, each with its round.
    """

    built: dict[tuple[int, str], Input]
    held_out: dict[str, Input]
    documents: dict[str, Input]
    benchmarks: Mapping[str, BenchmarkTexts]
    missing: list[str]

    @classmethod
    def load(cls, work: Workspace, benchmarks: Mapping[str, BenchmarkTexts]) -> "TrainingInputs":
        store, settings = work.warehouse, work.settings
        trained, held_out = training_and_held_out_shards(work.home)
        built = {
            (number, shard): documents
            for number in settings.training_rounds
            for shard, documents in partition_inputs(
                store, "augmented_texts", sorted(trained), partition_name=name_in_round(number, ALL)
            ).items()
        }
        drawn_from = sorted({shard for _, shard in built}) if settings.training.plain_share else []
        return cls(
            built=built,
            held_out=partition_inputs(store, "documents", held_out),
            documents=partition_inputs(store, "documents", drawn_from),
            benchmarks=benchmarks,
            missing=[
                name_in_round(number, shard)
                for number in settings.training_rounds
                for shard in trained
                if (number, shard) not in built
            ],
        )

    @property
    def augmented_texts(self) -> dict[str, Input]:
        return {name_in_round(*key): stored for key, stored in self.built.items()}

    def check_built(self, rounds: Sequence[int]) -> None:
        """Raise if C* of one of these rounds has not been built."""
        built = {number for number, _ in self.built}
        for number in rounds:
            if number in built:
                continue
            which = f" of round {number}" if number > 1 else ""
            remedy = f"with sampling.round {number}, " if len(rounds) > 1 else ""
            raise ToolformerError(
                f"There are no augmented texts{which} yet. Build the shards first: "
                f"{remedy}`toolformer build`, or materialise the assets of group build_dataset."
            )

    def expected(self, work: Workspace) -> Expected:
        paths = _OF_TEXTS
        parts: dict[str, object] = {
            "augmented_texts": fingerprints_of(self.augmented_texts),
            "held_out_documents": fingerprints_of(self.held_out),
            "benchmarks": {name: texts.identity for name, texts in self.benchmarks.items()},
        }
        # Only plain windows depend on documents and tokenizer; texts with calls are stored.
        if work.settings.training.plain_share:
            paths = (*_OF_TEXTS, *_OF_PLAIN_WINDOWS)
            parts |= {
                "documents": fingerprints_of(self.documents),
                "tokenizer": model_identity(base_model_directory(work)),
            }
        inputs = (*self.augmented_texts.values(), *self.held_out.values(), *self.documents.values())
        return Expected(TRAINING_SET.fingerprint(work.settings, parts, paths=paths), inputs)


def training_and_held_out_shards(home: Home) -> tuple[list[str], list[str]]:
    manifest = Manifest.load(home.sources)
    return (
        [entry.key for entry in manifest.annotated_shards],
        [entry.key for entry in manifest.active_shards if entry.is_held_out],
    )


def training_set_digest(work: Workspace) -> str:
    """Return the fingerprint that a new training set would have, whichever one is stored."""
    inputs = TrainingInputs.load(work, benchmark_texts(work.settings))
    return inputs.expected(work).fingerprint.digest
