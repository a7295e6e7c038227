"""The figures of the report, of rows of the views: thresholds, finetuning, what calls gain."""

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
    """Training loss over the steps of finetuning, and what the kept checkpoint is chosen by.

    Args:
        frame: rows of the table `training_metrics`: run, step, loss, development_perplexity,
            call_loss and is_kept. Several runs get a colour each.
    """
    runs = frame["run"].unique(maintain_order=True).to_list()
    labels = {
        "loss": "training loss\n(nats per token)",
        "development_perplexity": "development\nperplexity",
        "call_loss": "loss of calls there\n(nats per token)",
    }
    measured = {column: frame.filter(pl.col(column).is_finite()) for column in labels}
    shown = [column for column in labels if column == "loss" or not measured[column].is_empty()]
    figure = new_figure(PANEL_WIDTH, 0.52 + 2.1 * len(shown))
    panels = [figure.add_subplot(len(shown), 1, part + 1) for part in range(len(shown))]
    for column, axes in zip(shown, panels, strict=True):
        style_axes(axes, has_grid=True)
        axes.set_ylabel(labels[column], **SMALL)
        for run, colour in zip(runs, cycle(RUN_COLOURS)):
            rows = measured[column].filter(run=run).sort("step")
            # Markers only where there is room for them; a single step would be invisible without.
            size = 4 if rows.height <= 40 else 0
            line = {"color": colour, "linewidth": 1.6, "marker": "o", "markersize": size}
            axes.plot(rows["step"], rows[column], label=str(run), **line)
            if run == runs[-1] and column != "loss":
                _mark_kept(axes, rows, column, colour)
                axes.margins(y=0.35)
    if len(runs) > 1:
        panels[0].legend(fontsize=8, frameon=False, loc="upper right")
    panels[-1].set_xlabel("step", **SMALL)
    first, last = int(frame["step"].min()), int(frame["step"].max())  # pyright: ignore[reportArgumentType]
    margin = max(0.04 * (last - first), 1)
    for axes in panels:
        axes.set_xlim(first - margin, last + margin)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    return figure


def threshold_plot(frame: pl.DataFrame) -> "Figure":
    """How many calls of a tool, and texts with one, each filtering threshold would keep.

    Args:
        frame: its rows of the view `threshold_sweep`: tool, filtering_threshold (nats), kept_calls,
            kept_texts, scored_calls, chance_share. A tick stands where the bar of the calls would
            end by chance, if as many were kept as with the results of other calls.
    """
    rows = frame.sort("filtering_threshold", descending=True)
    rows = rows.with_columns(by_chance=pl.col("chance_share") * pl.col("scored_calls"))
    tool, places = rows["tool"][0], range(rows.height)
    figure, axes = panel_of(height=0.55 + 0.42 * rows.height)
    for shift, column, opacity in ((0.19, "kept_calls", 1.0), (-0.19, "kept_texts", PALE)):
        bars = axes.barh(
            [y + shift for y in places],
            rows[column].to_list(),
            height=0.35,
            color=colour_of(tool),
            alpha=opacity,
        )
        labels = [f"{count:,}" for count in rows[column]]
        axes.bar_label(bars, labels, fontsize=8, padding=3, color=TEXT)
    for y, by_chance in zip(places, rows["by_chance"], strict=True):
        if by_chance is not None:
            axes.plot([by_chance] * 2, (y + 0.01, y + 0.37), color=TEXT, linewidth=1.6)
    axes.set_yticks(list(places), [f"{value:g}" for value in rows["filtering_threshold"]])
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
    """By how much two ways of answering differ on each benchmark, and how sure that is.

    Args:
        frame: benchmark, comparison, difference, low, high (percentage points, with the 95 %
            interval), items, verdict (better, worse, unclear). Benchmarks and comparisons stand in
            the order of their first rows.
    """
    benchmarks = _distinct(frame, "benchmark")
    # A line of text for each benchmark, and two for each of its intervals.
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
    # Differences of a few tenths shall not look large.
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
    """Write a line of text from the left edge of a panel on."""
    place = (0.01, height)
    axes.annotate(text, place, xycoords=axes.get_yaxis_transform(), va="center", **SMALL, **style)


def _decimal(value: float, *, sign: str = "-") -> str:
    """One decimal, with a minus sign that is as wide as a plus; never a negative zero."""
    return f"{round(value, 1) + 0.0:{sign}.1f}".replace("-", "−")


def _distinct(frame: pl.DataFrame, column: str) -> list[Any]:
    return frame[column].unique(maintain_order=True).to_list()
