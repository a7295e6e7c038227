"""The training set: C* of all shards, ready for training (paper §2)."""

from collections.abc import Mapping
from dataclasses import asdict

import dagster as dg

from assets.inputs import Input, Wanted, look_at
from assets.outputs import Made, replace_slice_if_stale
from assets.shard_stage import expected_errors
from assets.shard_texts import typed_frame
from dagster_project.fingerprints import CODE_VERSIONS, training_set_fingerprint
from dagster_project.home import Home
from dagster_project.metadata import table_markdown, table_metadata
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.settings.sections import Settings
from toolformer.augmentation import KeptCall
from toolformer.errors import ToolformerError
from toolformer.evaluation.dateset import generate_dateset
from toolformer.sources.manifest import Manifest
from toolformer.training.decontamination import NgramIndex
from toolformer.training.training_set import AugmentedText, build_training_set
from warehouse.layout import name_in_round
from warehouse.schema import ALL
from warehouse.warehouse import Warehouse

LEFT_OUT = "left out: "
# The shards of C* of each round, the newest round first.
_Built = dict[int, dict[str, Input]]


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
    group_name="train_and_evaluate",
    kinds={"polars", "duckdb"},
    deps=["augmented_texts", "documents"],
    code_version=CODE_VERSIONS["training_set"],
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
    held-out text or a benchmark. The texts of each tool are capped.
    """
    with expected_errors():
        loaded, home, store = settings.load(), settings.home(), warehouse.open()
        trained, held_out = training_and_held_out_shards(home)

        def look() -> tuple[_Built, dict[str, Input]]:
            built = {
                number: slice_inputs(
                    store, "augmented_texts", trained, slice_name=name_in_round(number, ALL)
                )
                for number in loaded.training_rounds
            }
            return built, slice_inputs(store, "documents", held_out)

        def wanted() -> Wanted:
            built, guarded = look()
            upstream = _by_round(built)
            return Wanted(
                training_set_fingerprint(
                    fingerprints_of(upstream), fingerprints_of(guarded), loaded
                ),
                (*upstream.values(), *guarded.values()),
            )

        built, _ = look()
        _check_built(built)
        state = replace_slice_if_stale(
            store,
            home,
            ("training_texts", ALL, ALL),
            wanted,
            lambda _: _choose_texts(context, store, loaded, *look()),
            force=settings.force,
        )
        stored = store.slice_metadata("training_texts", ALL, ALL) or {}
        rows = store.read_slice("training_texts", ALL, ALL)
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
            **{name: int(count) for name, count in stored.items() if name.startswith(LEFT_OUT)},
            "preview": dg.MetadataValue.md(table_markdown(rows.select("split", "text"))),
        }
    )


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


def _choose_texts(
    context: dg.AssetExecutionContext,
    store: Warehouse,
    settings: Settings,
    built: _Built,
    held_out: Mapping[str, Input],
) -> Made:
    # The newest round first: of texts that are equal the first stays.
    texts = [
        text
        for number, of_round in built.items()
        for shard in sorted(of_round)
        for text in _augmented_texts(store, shard, name_in_round(number, ALL))
    ]
    chosen = build_training_set(
        texts,
        max_texts_per_tool=settings.training.max_texts_per_tool,
        development_share=settings.training.development_share,
        seed=settings.training.seed,
        excluded=_held_out_ngrams(store, sorted(held_out), settings).first_overlap,
    )
    for reason, count in sorted(chosen.dropped.items()):
        context.log.info(f"left out {count} texts: {reason}")
    rows = [
        {**asdict(text), "split": split}
        for split, of_split in (("train", chosen.train), ("development", chosen.development))
        for text in of_split
    ]
    dropped = {f"{LEFT_OUT}{reason}": str(count) for reason, count in chosen.dropped.items()}
    return Made(typed_frame("training_texts", rows), dropped)


def _augmented_texts(store: Warehouse, shard: str, slice_name: str) -> list[AugmentedText]:
    rows = store.read_slice("augmented_texts", shard, slice_name)
    return [augmented_text_of(row) for row in rows.iter_rows(named=True)]


def augmented_text_of(row: dict) -> AugmentedText:
    """A row of `augmented_texts` or `training_texts` as the engine has it."""
    return AugmentedText(
        document_id=row["document_id"],
        window=row["window"],
        shard=row["shard"],
        text=row["text"],
        calls=tuple(KeptCall(**call) for call in row["calls"]),
    )


def _held_out_ngrams(store: Warehouse, shards: list[str], settings: Settings) -> NgramIndex:
    index = NgramIndex()
    for shard in shards:
        for text in store.read_slice("documents", shard, ALL)["text"]:
            index.add("held_out_shards", text)
    for item in generate_dateset(seed=settings.evaluation.seed):
        index.add("dateset", item.question)
    return index
