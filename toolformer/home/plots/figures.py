"""The figures of the report; each function takes rows of a view or table of the warehouse."""

from itertools import cycle
from typing import TYPE_CHECKING, Any

import polars as pl

from toolformer.home.plots.style import (
    FAINT,
    GRID,
    PALE,
    PANEL_WIDTH,
    RUN_COLOURS,
    SMALL,
    TEXT,
    colour_of,
    hide_bottom,
    new_figure,
    panel_of,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_, _ORANGE, _GREEN, *_ = RUN_COLOURS
_VERDICT_COLOURS = {"better": _GREEN, "worse": _ORANGE, "unclear": FAINT}


def training_curve(frame: pl.DataFrame) -> "Figure":
    """Plot training loss and development measures per step, from rows of `training_metrics`."""
    runs = frame["run"].unique(maintain_order=True).to_list()
    labels = {
        "loss": "training loss\n(nats per token)",
        "development_perplexity": "development\nperplexity",
        "call_loss": "development loss\nof calls\n(nats per token)",
    }
    measured = {column: frame.filter(pl.col(column).is_finite()) for column in labels}
    shown = [column for column in labels if column == "loss" or not measured[column].is_empty()]
    figure = new_figure(PANEL_WIDTH, 0.52 + 2.1 * len(shown))
    all_axes = [figure.add_subplot(len(shown), 1, number + 1) for number in range(len(shown))]
    for column, axes in zip(shown, all_axes, strict=True):
        style_axes(axes, has_grid=True)
        axes.set_ylabel(labels[column], **SMALL)
        for run, colour in zip(runs, cycle(RUN_COLOURS)):
            rows = measured[column].filter(run=run).sort("step")
            # Many markers would overlap, but a single step is invisible without one.
            size = 4 if rows.height <= 40 else 0
            line = {"color": colour, "linewidth": 1.6, "marker": "o", "markersize": size}
            axes.plot(rows["step"], rows[column], label=str(run), **line)
            if run == runs[-1] and column != "loss":
                _mark_kept(axes, rows, column, colour)
                axes.margins(y=0.35)
    if len(runs) > 1:
        all_axes[0].legend(fontsize=8, frameon=False, loc="upper right")
    all_axes[-1].set_xlabel("step", **SMALL)
    first, last = int(frame["step"].min()), int(frame["step"].max())  # pyright: ignore[reportArgumentType]
    margin = max(0.04 * (last - first), 1)
    for axes in all_axes:
        axes.set_xlim(first - margin, last + margin)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return figure


def threshold_plot(frame: pl.DataFrame) -> "Figure":
    """Plot how many calls of a tool, and texts with a call, each filtering threshold would keep.

    The frame has the tool's rows of `threshold_sweep`; ticks mark the number kept by chance.
    """
    rows = frame.sort("filtering_threshold", descending=True)
    rows = rows.with_columns(by_chance=pl.col("chance_share") * pl.col("scored_calls"))
    tool, heights = rows["tool"][0], range(rows.height)
    figure, axes = panel_of(height=0.55 + 0.42 * rows.height)
    for shift, column, opacity in ((0.19, "kept_calls", 1.0), (-0.19, "kept_texts", PALE)):
        bars = axes.barh(
            [y + shift for y in heights],
            rows[column].to_list(),
            height=0.35,
            color=colour_of(tool),
            alpha=opacity,
        )
        labels = [f"{count:,}" for count in rows[column]]
        axes.bar_label(bars, labels, fontsize=8, padding=3, color=TEXT)
    for y, by_chance in zip(heights, rows["by_chance"], strict=True):
        if by_chance is not None:
            axes.plot([by_chance] * 2, (y + 0.01, y + 0.37), color=TEXT, linewidth=1.6)
    axes.set_yticks(list(heights), [f"{value:g}" for value in rows["filtering_threshold"]])
    axes.set_ylim(-0.45, rows.height - 0.45)
    counts = rows.select("kept_calls", "kept_texts", "by_chance").max().row(0)
    axes.set_xlim(0, max(1, *(count for count in counts if count is not None)) * 1.3)
    hide_bottom(axes)
    return figure


def _mark_kept(axes: Any, rows: pl.DataFrame, column: str, colour: str) -> None:
    for kept in rows.filter("is_kept").iter_rows(named=True):
        point = (kept["step"], kept[column])
        axes.plot(*point, marker="o", markersize=9, fillstyle="none", color=colour)
        axes.annotate(
            f"kept: {point[1]:.4g} at step {point[0]:,}",
            point,
            xytext=(0, 9),
            textcoords="offset points",
            ha="right" if kept["step"] > rows["step"].mean() else "left",
            va="bottom",
            **SMALL,
        )


def difference_plot(frame: pl.DataFrame) -> "Figure":
    """Plot paired differences between two ways of answering, with 95 % intervals.

    Columns of the frame, whose order is kept: benchmark, comparison; difference, low, high
    (percentage points); items; verdict (better, worse, unclear).
    """
    benchmarks = _distinct(frame, "benchmark")
    # One line of text per benchmark, and two per interval.
    lines = len(benchmarks) + 2 * frame.height
    figure, axes = panel_of(height=0.2 + 0.19 * lines)
    bottom = 0.0
    for number, benchmark in enumerate(benchmarks):
        rows = frame.filter(benchmark=benchmark)
        top, bottom = bottom, bottom - 1 - 2 * rows.height
        if number % 2 == 0:
            axes.axhspan(bottom, top, color=GRID, alpha=PALE, linewidth=0)
        _write_line(axes, top - 0.5, benchmark, fontweight="bold")
        for index, row in enumerate(rows.iter_rows(named=True)):
            _draw_difference(axes, row, top=top - 1 - 2 * index)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    # The axis spans at least ±1 point, so that differences of a few tenths look small.
    low, high = min(*frame["low"], -1.0), max(*frame["high"], 1.0)
    margin = 0.05 * (high - low)
    axes.set(xlim=(low - margin, high + margin), ylim=(bottom, 0.0))
    axes.set_xlabel("percentage points", **SMALL)
    return figure


def _draw_difference(axes: Any, row: dict[str, Any], *, top: float) -> None:
    line = {"color": _VERDICT_COLOURS[row["verdict"]], "linewidth": 1.8}
    axes.plot((0, 0), (top - 2, top - 1), color=TEXT, linewidth=1)
    axes.plot((row["low"], row["high"]), (top - 1.5, top - 1.5), **line)
    axes.plot(row["difference"], top - 1.5, marker="o", markersize=6, **line)
    low, high = _decimal(row["low"]), _decimal(row["high"])
    difference = f"{_decimal(row['difference'], sign='+')} ({low} to {high})"
    _write_line(axes, top - 0.5, f"{row['comparison']}: {difference}, n = {row['items']:,}")


def _write_line(axes: Any, height: float, text: str, **style: Any) -> None:
    point = (0.01, height)
    axes.annotate(text, point, xycoords=axes.get_yaxis_transform(), va="center", **SMALL, **style)


def _decimal(value: float, *, sign: str = "-") -> str:
    """Format with one decimal and a typographic minus sign; never a negative zero."""
    return f"{round(value, 1) + 0.0:{sign}.1f}".replace("-", "−")


def _distinct(frame: pl.DataFrame, column: str) -> list[Any]:
    return frame[column].unique(maintain_order=True).to_list()
