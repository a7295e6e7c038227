"""Scores with intervals, and which of them are compared with which (paper §4.2, tables 3 to 7).

Does not compute an interval; `toolformer.evaluation.intervals` does.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from typing import NamedTuple

import polars as pl
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from assets.evaluation.stage import EVALUATION_RESULTS
from assets.inputs import InputChangedError, Shared, Wanted, look_at
from assets.outputs import Made, SliceOutput
from assets.run import Run
from assets.shard_texts import typed_frame
from assets.stage import Stage
from dagster_project.settings.evaluation_sections import BASE, MODELS_OF_A_HOME
from toolformer.errors import ToolformerError
from toolformer.evaluation.intervals import Metric, paired_difference, score_interval
from toolformer.evaluation.modes import DISABLED, ENABLED
from toolformer.training.variants import PLAIN
from warehouse.schema import ALL

EVALUATION_REPORT = Stage(name="evaluation_report", version="1", settings=("evaluation.seed",))

_MODES = (DISABLED.name, ENABLED)


class _Cell(NamedTuple):
    """A model in a mode."""

    model: str
    mode: str

    @property
    def round(self) -> str | None:
        """The round that the model was trained on, where its name says one."""
        return self.model.rpartition("-round-")[2] if "-round-" in self.model else None


# The scores of each.
Cells = Mapping[_Cell, pl.DataFrame]


def compare(run: Run) -> list[str]:
    """Bring intervals and differences of every benchmark in line with its scores.

    Returns:
        The benchmarks that have scores.
    """
    benchmarks = dict(run.warehouse.ask("measured_benchmarks").iter_rows())
    for name, metric in benchmarks.items():
        _compare_benchmark(run, name, metric)
    return list(benchmarks)


# A run that measures meanwhile stores a part every few minutes; comparing takes seconds.
@retry(retry=retry_if_exception_type(InputChangedError), stop=stop_after_attempt(3), reraise=True)
def _compare_benchmark(run: Run, name: str, metric: Metric) -> None:
    makers = {"score_intervals": _intervals, "paired_differences": _differences}
    cells = Shared(partial(_cells, run, name))
    for table, rows_of in makers.items():
        _Comparison(
            run=run, address=(table, ALL, name), metric=metric, cells=cells, rows_of=rows_of
        ).bring_up_to_date()


@dataclass(frozen=True, kw_only=True)
class _Comparison(SliceOutput):
    """The intervals of a benchmark, or its differences.

    Attributes:
        metric: of the benchmark.
        cells: the scores, read once for both tables.
        rows_of: computes them, given the scores and the seed of the resamples.
    """

    metric: Metric
    cells: Shared
    rows_of: Callable[[Cells, Metric, int], list[dict]]

    @property
    def benchmark(self) -> str:
        """Its name."""
        return self.address[2]

    def wanted(self) -> Wanted:
        """See `Output.wanted`."""
        looked_at = [
            look_at(self.run.warehouse, EVALUATION_RESULTS.name, ALL, each.name)
            for each in self.run.warehouse.slices(EVALUATION_RESULTS.name)
            if each.name.startswith(f"{self.benchmark}.")
        ]
        inputs = tuple(each for each in looked_at if each is not None)
        parts = {"scores": {each.slice_name: each.fingerprint for each in inputs}}
        return Wanted(EVALUATION_REPORT.fingerprint(self.run.settings, parts), inputs)

    def compute(self, wanted: Wanted) -> Made:
        """See `SliceOutput.compute`."""
        cells: Cells = self.cells.of(wanted.versions)
        try:
            rows = self.rows_of(cells, self.metric, self.run.settings.evaluation.seed)
        except ValueError as error:
            raise ToolformerError(
                f"The scores of {self.benchmark!r} cannot be compared: {error}"
            ) from error
        same = {"benchmark": self.benchmark, "metric": self.metric}
        return Made(typed_frame(self.address[0], [{**same, **row} for row in rows]))


def _cells(run: Run, benchmark: str) -> Cells:
    scores = run.warehouse.ask("item_scores", benchmark=benchmark)
    by_cell = scores.partition_by("model", "mode", as_dict=True)
    return {_Cell(*key): frame for key, frame in by_cell.items()}


def _intervals(cells: Cells, metric: Metric, seed: int) -> list[dict]:
    rows = []
    for cell, frame in cells.items():
        found = score_interval(
            frame["score"].to_numpy(), frame["score_weight"].to_numpy(), metric=metric, seed=seed
        )
        rows.append(
            {
                **cell._asdict(),
                "items": frame.height,
                "share_with_call": frame["has_call"].mean(),
                **asdict(found),
            }
        )
    return rows


def _differences(cells: Cells, metric: Metric, seed: int) -> list[dict]:
    rows = []
    for cell, other in compared(cells):
        both = cells[cell].join(cells[other], on=["item_id", "question"], suffix="_of_other")
        if both.is_empty():
            continue
        found = paired_difference(
            both["score"].to_numpy(),
            both["score_of_other"].to_numpy(),
            both["score_weight"].to_numpy(),
            metric=metric,
            seed=seed,
        )
        rows.append(
            {
                **cell._asdict(),
                "other_model": other.model,
                "other_mode": other.mode,
                **asdict(found),
            }
        )
    return rows


def compared(cells: Iterable[tuple[str, str]]) -> Iterator[tuple[_Cell, _Cell]]:
    """Which ways of answering are compared, the later one first.

    One model in two modes; two models in the same mode, disabled or enabled; and what a model does
    with calls against what base and `plain` of its round, the baselines, do without.
    """
    in_order = sorted((_Cell(*cell) for cell in cells), key=_place)
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


def _place(cell: _Cell) -> tuple[int, str, int, str]:
    """Controls before the models that are judged by them, and disabled before enabled."""
    kind = cell.model.partition("-round-")[0]
    order = (BASE, *(name for name in MODELS_OF_A_HOME[2:]), MODELS_OF_A_HOME[1])
    of_model = order.index(kind) if kind in order else len(order)
    of_mode = _MODES.index(cell.mode) if cell.mode in _MODES else len(_MODES)
    return of_model, cell.model, of_mode, cell.mode
