"""The figure of what calls gain: intervals and verdicts as they stand in a frame."""

from itertools import cycle
from typing import TYPE_CHECKING, Any

import polars as pl

from toolformer.home.plots.style import (
    FAINT,
    GRID,
    PALE,
    RUN_COLOURS,
    SMALL,
    TEXT,
    add_legend,
    new_figure,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_, _ORANGE, _GREEN, *_ = RUN_COLOURS
_VERDICT_COLOURS = {"better": _GREEN, "worse": _ORANGE, "unclear": FAINT}
_MARKERS = "osD^v"


def difference_plot(frame: pl.DataFrame) -> "Figure":
    """By how much two ways of answering differ on each benchmark, and how sure that is.

    Args:
        frame: benchmark, comparison, difference, low, high (percentage points, with the 95 %
            interval), items, verdict (better, worse, unclear). Benchmarks and comparisons stand in
            the order of their first rows.
    """
    comparisons = _distinct(frame, "comparison")
    markers = dict(zip(comparisons, cycle(_MARKERS)))
    benchmarks = _distinct(frame, "benchmark")
    figure = new_figure(7.6, 1.27 + 0.23 * frame.height + 0.09 * len(benchmarks))
    axes = figure.add_subplot()
    style_axes(axes)
    labels = {}
    bottom = 0.0
    for number, benchmark in enumerate(benchmarks):
        rows = frame.filter(benchmark=benchmark)
        top, bottom = bottom, bottom - rows.height - 0.4
        labels[(top + bottom) / 2] = benchmark
        if number % 2 == 0:
            axes.axhspan(bottom, top, color=GRID, alpha=PALE, linewidth=0)
        for y, row in enumerate(rows.iter_rows(named=True)):
            marker = markers[row["comparison"]]
            _draw_difference(axes, row, height=top - 0.7 - y, marker=marker)
    axes.axvline(0, color=TEXT, linewidth=1, zorder=1)
    axes.set_yticks(list(labels), list(labels.values()))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    # Differences of a few tenths shall not look large.
    low, high = min(*frame["low"], -1.0), max(*frame["high"], 1.0)
    margin = 0.05 * (high - low)
    axes.set(xlim=(low - margin, high + margin), ylim=(bottom, 0.0))
    axes.set_xlabel("percentage points", **SMALL)
    if len(comparisons) > 1:
        sign = {"color": TEXT, "linestyle": "none", "markersize": 5.5}
        add_legend(
            figure, [sign | {"label": name, "marker": markers[name]} for name in comparisons]
        )
    return figure


def _draw_difference(axes: Any, row: dict[str, Any], *, height: float, marker: str) -> None:
    line = {"color": _VERDICT_COLOURS[row["verdict"]], "linewidth": 1.8}
    axes.plot((row["low"], row["high"]), (height, height), **line)
    axes.plot(row["difference"], height, marker=marker, markersize=6, **line)
    low, high = _decimal(row["low"]), _decimal(row["high"])
    texts = {
        8: (f"{_decimal(row['difference'], sign='+')} ({low} to {high})", TEXT),
        122: (f"n = {row['items']:,}", FAINT),
    }
    for shift, (text, colour) in texts.items():
        axes.annotate(
            text,
            (1, height),
            xycoords=axes.get_yaxis_transform(),
            xytext=(shift, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=colour,
        )


def _decimal(value: float, *, sign: str = "-") -> str:
    """One decimal, with a minus sign that is as wide as a plus; never a negative zero."""
    return f"{round(value, 1) + 0.0:{sign}.1f}".replace("-", "−")


def _distinct(frame: pl.DataFrame, column: str) -> list[Any]:
    return frame[column].unique(maintain_order=True).to_list()
