"""The training set: C* of all shards, ready for training (paper §2)."""

from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg

from assets.failures import expected_errors
from assets.inputs import Input, Wanted, look_at
from assets.outputs import Made, replace_slice_if_stale
from assets.stage import Stage
from assets.training.benchmark_texts import BenchmarkTexts, benchmark_texts, held_out_ngrams
from assets.training.dropped_calls import CallSlices, slices_behind
from assets.training.training_choice import (
    LEFT_OUT,
    PLAIN_TEXTS,
    RANDOM_CONTROL,
    ChosenTexts,
    choose_texts,
)
from dagster_project.home import Home
from dagster_project.metadata import table_markdown, table_metadata
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.settings.sections import Settings
from dagster_project.wiring.model_holder import base_model_directory
from toolformer.augmentation import KeptCall
from toolformer.errors import ToolformerError
from toolformer.sources.manifest import Manifest
from toolformer.training.augmented_text import AugmentedText
from tools.model_identity import model_identity
from warehouse.layout import name_in_round
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

_OF_TEXTS = (
    "training.max_texts_per_tool",
    "training.near_duplicate_similarity",
    "training.development_share",
    "training.seed",
)
_OF_PLAIN_WINDOWS = (
    "training.plain_share",
    "corpus.window_tokens",
    "corpus.max_windows_per_text",
)
TRAINING_SET = Stage(
    name="training_set",
    version="3",
    settings=(*_OF_TEXTS, *_OF_PLAIN_WINDOWS),
    settings_of_parts=(
        "training.rounds",
        "sampling.round",
        "corpus.held_out_every",
        "evaluation.files",
        "evaluation.questions",
        "evaluation.texts",
        "evaluation.benchmarks",
        "evaluation.seed",
    ),
)
EXCLUSIONS = "training_exclusions"
# The shards of C* of each round, the newest round first.
_Built = dict[int, dict[str, Input]]


@dataclass(frozen=True, slots=True)
class _Sources:
    """What the training set is made of.

    Attributes:
        built: C*.
        held_out: documents of the held-out shards.
        documents: of the shards of C*, where plain windows are drawn from them; else none.
        calls: what C* was merged from.
    """

    built: _Built
    held_out: dict[str, Input]
    documents: dict[str, Input]
    calls: list[CallSlices]

    @property
    def inputs(self) -> tuple[Input, ...]:
        """All slices that are read."""
        of_calls = [each for slices in self.calls for each in slices.inputs]
        return (
            *_by_round(self.built).values(),
            *self.held_out.values(),
            *self.documents.values(),
            *of_calls,
        )


def slice_inputs(
    warehouse: Warehouse, table: str, shards: list[str], *, slice_name: str = ALL
) -> dict[str, Input]:
    """The slices of this name of these shards, where there are any."""
    found = {shard: look_at(warehouse, table, shard, slice_name) for shard in shards}
    return {shard: each for shard, each in found.items() if each is not None}


def fingerprints_of(inputs: Mapping[str, Input]) -> dict[str, str]:
    """Their fingerprints, named as they are."""
    return {name: each.fingerprint for name, each in inputs.items()}


def training_and_held_out_shards(home: Home) -> tuple[list[str], list[str]]:
    """Keys of the active shards that are trained on, and of those that never are."""
    active = Manifest.load(home.sources).active_shards
    return (
        [entry.key for entry in active if not entry.is_held_out],
        [entry.key for entry in active if entry.is_held_out],
    )


@dg.asset(
    group_name="train",
    kinds={"polars", "duckdb"},
    deps=["augmented_texts", "filtered_calls", "documents"],
    code_version=TRAINING_SET.version,
    metadata=table_metadata("training_texts"),
)
def training_set(
    context: dg.AssetExecutionContext, settings: SettingsResource, warehouse: WarehouseResource
) -> dg.MaterializeResult:
    """C* of all shards, ready for training; one row = one window, by `document_id` and `window`.

    Of the rounds of annotation those that `training.rounds` names, by default the newest. A text
    that several of them annotated counts once, with the calls of the newest: losses of different
    annotators cannot be compared, so calls of different rounds do not compete for a position.
    Held-out shards stay out, and so do duplicates and texts that share 13 words in a row with a
    held-out text or a benchmark; the table `training_exclusions` names each. The texts of each
    tool are capped. `training.plain_share` puts windows without calls beside them.
    """
    with expected_errors():
        loaded, home, store = settings.load(), settings.home(), warehouse.open()
        trained, held_out = training_and_held_out_shards(home)
        benchmarks = benchmark_texts(loaded)

        def look() -> _Sources:
            return _look(store, loaded, trained, held_out)

        def wanted() -> Wanted:
            return _wanted(look(), loaded, home, benchmarks)

        def choose() -> ChosenTexts:
            return _choose(context, store, home, loaded, look(), benchmarks)

        def make(looked_at: Wanted) -> Made:
            chosen = choose()
            # Before the texts: once these are up to date, nobody makes either again.
            store.replace_slice(
                EXCLUSIONS, ALL, ALL, chosen.exclusions, metadata=looked_at.metadata()
            )
            return Made(chosen.rows, chosen.metadata)

        built = look().built
        _check_built(built)
        state = replace_slice_if_stale(
            store, home, ("training_texts", ALL, ALL), wanted, make, force=settings.force
        )
        # Found up to date, unless the slice was lost.
        replace_slice_if_stale(
            store,
            home,
            (EXCLUSIONS, ALL, ALL),
            wanted,
            lambda _: Made(choose().exclusions),
            force=False,
        )
        stored = store.slice_metadata("training_texts", ALL, ALL) or {}
        rows = store.read_slice("training_texts", ALL, ALL)
        excluded = store.view("training_exclusion_summary")
    splits = dict(rows["split"].value_counts().iter_rows())
    missing = [
        name_in_round(number, shard)
        for number, of_round in built.items()
        for shard in trained
        if shard not in of_round
    ]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows.height,
            "state": state,
            "train texts": splits.get("train", 0),
            "development texts": splits.get("development", 0),
            "calls": int(rows["calls"].list.len().sum()),
            "rounds": ", ".join(map(str, sorted(built))),
            "shards": ", ".join(sorted(_by_round(built))),
            "shards without augmented texts": ", ".join(missing) or "none",
            "held-out shards": ", ".join(held_out) or "none",
            "benchmarks": ", ".join(benchmarks) or "none",
            **{name: int(count) for name, count in stored.items() if name.startswith(LEFT_OUT)},
            **{
                name: said
                for name, said in stored.items()
                if name.startswith((PLAIN_TEXTS, RANDOM_CONTROL))
            },
            "exclusions": dg.MetadataValue.md(table_markdown(excluded, rows=40)),
            "preview": dg.MetadataValue.md(table_markdown(rows.select("split", "text"))),
        }
    )


def training_set_digest(settings: Settings, home: Home, store: Warehouse) -> str:
    """The fingerprint of the training set as it would be made now, whichever is stored.

    Raises:
        ToolformerError: a file of a benchmark is missing.
    """
    trained, held_out = training_and_held_out_shards(home)
    sources = _look(store, settings, trained, held_out)
    return _wanted(sources, settings, home, benchmark_texts(settings)).fingerprint.digest


def _look(
    store: Warehouse, settings: Settings, trained: list[str], held_out: list[str]
) -> _Sources:
    built = {
        number: slice_inputs(
            store, "augmented_texts", trained, slice_name=name_in_round(number, ALL)
        )
        for number in settings.training_rounds
    }
    of_any_round = [shard for shard in trained if any(shard in each for each in built.values())]
    return _Sources(
        built=built,
        held_out=slice_inputs(store, "documents", held_out),
        documents=(
            slice_inputs(store, "documents", of_any_round) if settings.training.plain_share else {}
        ),
        calls=[
            slices
            for number, of_round in built.items()
            for shard, augmented in of_round.items()
            for slices in slices_behind(store, augmented, shard, number)
        ],
    )


def _wanted(
    sources: _Sources, settings: Settings, home: Home, benchmarks: Mapping[str, BenchmarkTexts]
) -> Wanted:
    paths = _OF_TEXTS
    parts: dict[str, object] = {
        "augmented_texts": fingerprints_of(_by_round(sources.built)),
        "held_out_documents": fingerprints_of(sources.held_out),
        "benchmarks": {name: each.made_of for name, each in benchmarks.items()},
    }
    # Only plain windows are cut here; the others come as they are stored.
    if settings.training.plain_share:
        paths = (*_OF_TEXTS, *_OF_PLAIN_WINDOWS)
        parts |= {
            "documents": fingerprints_of(sources.documents),
            "tokenizer": model_identity(base_model_directory(settings, home)),
        }
    return Wanted(TRAINING_SET.fingerprint(settings, parts, paths=paths), sources.inputs)


def _by_round(built: _Built) -> dict[str, Input]:
    return {
        name_in_round(number, shard): each
        for number, of_round in built.items()
        for shard, each in of_round.items()
    }


def _check_built(built: _Built) -> None:
    for number, of_round in built.items():
        if not of_round:
            which = f" of round {number}" if number > 1 else ""
            remedy = f"with sampling.round {number}, " if len(built) > 1 else ""
            raise ToolformerError(
                f"There are no augmented texts{which} yet. Build the shards first: "
                f"{remedy}`toolformer build`, or materialise the assets of group build_dataset."
            )


def _choose(
    context: dg.AssetExecutionContext,
    store: Warehouse,
    home: Home,
    settings: Settings,
    sources: _Sources,
    benchmarks: Mapping[str, BenchmarkTexts],
) -> ChosenTexts:
    # The newest round first: of texts that are equal the first stays.
    texts = [
        text
        for number, of_round in sources.built.items()
        for shard in sorted(of_round)
        for text in _augmented_texts(store, shard, name_in_round(number, ALL))
    ]
    held_out = held_out_ngrams(store, sorted(sources.held_out), benchmarks)
    chosen = choose_texts(
        store, home, settings, texts, sorted(sources.documents), sources.calls, held_out
    )
    for name, said in chosen.metadata.items():
        context.log.info(f"{name}: {said}")
    return chosen


def _augmented_texts(store: Warehouse, shard: str, slice_name: str) -> list[AugmentedText]:
    rows = store.read_slice("augmented_texts", shard, slice_name)
    return [
        AugmentedText(**{**row, "calls": tuple(KeptCall(**call) for call in row["calls"])})
        for row in rows.iter_rows(named=True)
    ]
