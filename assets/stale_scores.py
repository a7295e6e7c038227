"""Removes the scores of replaced models, so that they are not taken for current ones."""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress

import polars as pl
from filelock import Timeout

from assets.run import Run
from assets.shard_texts import typed_frame
from toolformer.home.fingerprints import FINGERPRINT, PARTS, Fingerprint
from toolformer.home.wiring.models import EvaluatedModel
from toolformer.settings.sections import Settings
from warehouse.schema import ALL

EVALUATED = "evaluation_results"
# The part of a fingerprint that identifies the model.
IDENTITY = "language_model"
# Metadata of a partition without rows.
_EMPTY = {FINGERPRINT: ""}
# Columns with model names, for each table that is computed from scores.
_COMPARED = {"score_intervals": ["model"], "paired_differences": ["model", "other_model"]}


def identity_of(model: EvaluatedModel, settings: Settings) -> list[str | None]:
    """Return what distinguishes a measured model from others of the same name."""
    return [model.identity(settings), settings.language_model.bos_token]


def clear_stale_scores(run: Run, model: EvaluatedModel) -> None:
    """Remove all scores of earlier models of this name, and the comparisons made from them."""
    now = Fingerprint.of({IDENTITY: identity_of(model, run.settings)}).parts[IDENTITY]
    found = run.warehouse.ask(
        "results_of_earlier_models", shards=(), model=model.name, identity=now
    )
    for name in found["partition"]:
        clear_scores(run, name, lambda stored: json.loads(stored[PARTS]).get(IDENTITY) != now)
    compared = run.warehouse.ask("comparisons_of_earlier_scores", shards=(), model=model.name)
    for benchmark in compared["benchmark"]:
        _remove_comparisons(run, benchmark, model.name)


def clear_scores(run: Run, name: str, is_stale: Callable[[Mapping[str, str]], bool]) -> None:
    # If another run holds the lock, it is about to replace the partition.
    lock = run.home.partition_lock(EVALUATED, ALL, name)
    with suppress(Timeout), lock.acquire(timeout=0):
        stored = run.warehouse.partition_metadata(EVALUATED, ALL, name)
        if stored is None or stored[FINGERPRINT] == _EMPTY[FINGERPRINT] or not is_stale(stored):
            return
        run.log.info(
            f"Removed the rows of {name}: they were made with another model or other settings."
        )
        run.warehouse.replace_partition(
            EVALUATED, ALL, name, typed_frame(EVALUATED, []), metadata=_EMPTY
        )


def _remove_comparisons(run: Run, benchmark: str, model: str) -> None:
    store = run.warehouse
    with run.home.partition_lock("score_intervals", ALL, benchmark):
        remaining = {}
        for table, columns in _COMPARED.items():
            stored = store.partition_metadata(table, ALL, benchmark)
            if stored is None:
                # The file is lost, and the next report makes both tables again.
                return
            rows = store.read_partition(table, ALL, benchmark)
            kept = rows.filter(pl.all_horizontal(pl.col(name) != model for name in columns))
            # The metadata of the other models' rows stays, without a fingerprint.
            remaining[table, benchmark] = kept, {ALL: {**stored, **_EMPTY}}
        store.replace_partitions(remaining)
