"""Computes scores with intervals, and compares models and modes (paper §4.2, tables 3 to 7)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import NamedTuple

import polars as pl
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from assets.evaluation.stage import EVALUATION_RESULTS
from assets.inputs import Expected, InputChangedError, stored_input
from assets.outputs import OutputRows, PartitionOutput
from assets.run import Run
from assets.shard_texts import typed_frame
from assets.stage import FingerprintPart, Stage
from toolformer.evaluation.intervals import Metric, paired_difference, score_interval
from toolformer.evaluation.modes import DISABLED, ENABLED
from toolformer.settings.evaluation_sections import BASE, MODELS_OF_A_HOME
from toolformer.settings.training_sections import PLAIN
from warehouse.schema import ALL

EVALUATION_REPORT = Stage(
    name="evaluation_report",
    version="1",
    group="evaluate",
    kinds=("duckdb", "python"),
    table="score_intervals",
    reads_all=(EVALUATION_RESULTS.name,),
    settings=("evaluation.seed",),
    parts=(FingerprintPart("scores"),),
)

_MODES = (DISABLED.name, ENABLED)


class _Cell(NamedTuple):
    """A model in a mode."""

    model: str
    mode: str

    @property
    def round(self) -> str | None:
        """Round that the model was trained on; None if its name has none."""
        return self.model.rpartition("-round-")[2] if "-round-" in self.model else None


# Scores by model and mode.
Cells = Mapping[_Cell, pl.DataFrame]


def compare(run: Run) -> dict[str, Metric]:
    """Update intervals and differences of all benchmarks with scores; return their metrics."""
    benchmarks: dict[str, Metric] = dict(run.warehouse.ask("measured_benchmarks").iter_rows())
    for name, metric in benchmarks.items():
        _compare_benchmark(run, name, metric)
    return benchmarks


# A retry usually succeeds: comparing takes seconds, and a concurrent evaluation stores a partition
# only every few minutes.
@retry(retry=retry_if_exception_type(InputChangedError), stop=stop_after_attempt(3), reraise=True)
def _compare_benchmark(run: Run, name: str, metric: Metric) -> None:
    _Comparison(run=run, address=("score_intervals", ALL, name), metric=metric).ensure()


@dataclass(frozen=True, kw_only=True)
class _Comparison(PartitionOutput):
    metric: Metric

    @property
    def benchmark(self) -> str:
        return self.address[2]

    @property
    def side_partitions(self) -> Mapping[str, str]:
        return {"paired_differences": self.benchmark}

    def expected(self) -> Expected:
        partitions = (
            stored_input(self.run.warehouse, EVALUATION_RESULTS.name, ALL, stored.name)
            for stored in self.run.warehouse.partitions(EVALUATION_RESULTS.name)
            if stored.name.startswith(f"{self.benchmark}.")
        )
        inputs = tuple(filter(None, partitions))
        parts = {"scores": {scores.partition_name: scores.fingerprint for scores in inputs}}
        return Expected(EVALUATION_REPORT.fingerprint(self.run.settings, parts), inputs)

    def compute(self, expected: Expected) -> OutputRows:  # noqa: ARG002
        scores = self.run.warehouse.ask("item_scores", benchmark=self.benchmark)
        by_cell = scores.partition_by("model", "mode", as_dict=True)
        cells = {_Cell(*key): frame for key, frame in by_cell.items()}
        seed = self.run.settings.evaluation.seed
        intervals = _intervals(cells, self.metric, seed)
        differences = _differences(cells, self.metric, seed)
        return OutputRows(
            self._frame("score_intervals", intervals),
            side_tables={"paired_differences": self._frame("paired_differences", differences)},
        )

    def _frame(self, table: str, rows: Iterable[dict]) -> pl.DataFrame:
        same = {"benchmark": self.benchmark, "metric": self.metric}
        return typed_frame(table, [{**same, **row} for row in rows])


def _intervals(cells: Cells, metric: Metric, seed: int) -> list[dict]:
    rows = []
    for cell, frame in cells.items():
        interval = score_interval(
            frame["score"].to_numpy(), frame["score_weight"].to_numpy(), metric=metric, seed=seed
        )
        counts = {"items": frame.height, "share_with_call": frame["has_call"].mean()}
        rows.append({**cell._asdict(), **counts, **asdict(interval)})
    return rows


def _differences(cells: Cells, metric: Metric, seed: int) -> list[dict]:
    rows = []
    for cell, other in compared(cells):
        # Losses per token are compared only for texts with equal numbers of tokens.
        same = ["item_id", "question", "score_weight"]
        both = cells[cell].join(cells[other], on=same, suffix="_of_other")
        if both.is_empty():
            continue
        difference = paired_difference(
            both["score"].to_numpy(),
            both["score_of_other"].to_numpy(),
            both["score_weight"].to_numpy(),
            metric=metric,
            seed=seed,
        )
        others = {"other_model": other.model, "other_mode": other.mode}
        rows.append({**cell._asdict(), **others, **asdict(difference)})
    return rows


def compared(cells: Iterable[tuple[str, str]]) -> Iterator[tuple[_Cell, _Cell]]:
    """Yield the pairs to compare, each with the later cell first.

    A pair is one model in two modes; two models in the same mode, disabled or enabled; or a model
    with calls and a baseline without calls (base, or `plain` of the model's round).
    """
    in_order = sorted((_Cell(*cell) for cell in cells), key=_rank)
    for other, cell in combinations(in_order, 2):
        is_same_mode = cell.mode == other.mode and cell.mode in _MODES
        is_same_model = cell.model == other.model and other.mode in _MODES
        if is_same_mode or is_same_model:
            yield cell, other
    for cell in in_order:
        for other in in_order:
            baselines = (BASE, PLAIN if cell.round is None else f"{PLAIN}-round-{cell.round}")
            is_baseline = other.model in baselines and other.mode == DISABLED.name
            if is_baseline and cell.mode == ENABLED and cell.model != other.model:
                yield cell, other


def _rank(cell: _Cell) -> tuple[int, str, int, str]:
    """Rank controls before the models compared with them, and disabled before enabled."""
    kind = cell.model.partition("-round-")[0]
    order = (BASE, *MODELS_OF_A_HOME[2:], MODELS_OF_A_HOME[1])
    model_rank = order.index(kind) if kind in order else len(order)
    mode_rank = _MODES.index(cell.mode) if cell.mode in _MODES else len(_MODES)
    return model_rank, cell.model, mode_rank, cell.mode
