"""Scores of an earlier model of a name: nobody may take them for those of the present one."""

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
# The part of a fingerprint that names the model.
IDENTITY = "language_model"
# The fingerprint of a partition whose rows were taken out.
_EMPTY = {FINGERPRINT: ""}
# The columns that name models, of the tables that are computed from scores.
_COMPARED = {"score_intervals": ["model"], "paired_differences": ["model", "other_model"]}


def identity_of(model: EvaluatedModel, settings: Settings) -> list[str | None]:
    """What tells a model that is measured from others of its name."""
    return [model.identity(settings), settings.language_model.bos_token]


def empty_earlier_scores(run: Run, model: EvaluatedModel) -> None:
    """Leave no rows of an earlier model of this name, whatever it was measured by.

    Nor what was computed from them, which comes again with the next report.
    """
    now = Fingerprint.of({IDENTITY: identity_of(model, run.settings)}).parts[IDENTITY]
    found = run.warehouse.ask(
        "results_of_earlier_models", shards=(), model=model.name, identity=now
    )
    for name in found["partition"]:
        empty_scores(run, name, lambda stored: json.loads(stored[PARTS]).get(IDENTITY) != now)
    compared = run.warehouse.ask("comparisons_of_earlier_scores", shards=(), model=model.name)
    for benchmark in compared["benchmark"]:
        _leave_out(run, benchmark, model.name)


def empty_scores(run: Run, name: str, is_stale: Callable[[Mapping[str, str]], bool]) -> None:
    """Take out the rows of a partition if what it was made from says so."""
    # Another run that has the lock is about to replace it.
    lock = run.home.partition_lock(EVALUATED, ALL, name)
    with suppress(Timeout), lock.acquire(timeout=0):
        stored = run.warehouse.partition_metadata(EVALUATED, ALL, name)
        if stored is None or stored[FINGERPRINT] == _EMPTY[FINGERPRINT] or not is_stale(stored):
            return
        run.log.info(f"{name} is emptied: its rows were made from something else")
        run.warehouse.replace_partition(
            EVALUATED, ALL, name, typed_frame(EVALUATED, []), metadata=_EMPTY
        )


def _leave_out(run: Run, benchmark: str, model: str) -> None:
    """Take a model out of the intervals and differences of a benchmark."""
    store = run.warehouse
    with run.home.partition_lock("score_intervals", ALL, benchmark):
        made = {}
        for table, columns in _COMPARED.items():
            stored = store.partition_metadata(table, ALL, benchmark)
            if stored is None:
                # Its file is lost: the report makes both again.
                return
            rows = store.read_partition(table, ALL, benchmark)
            left = rows.filter(pl.all_horizontal(pl.col(name) != model for name in columns))
            # What the rows of other models were computed from stays known.
            made[table, benchmark] = left, {ALL: {**stored, **_EMPTY}}
        store.replace_partitions(made)
