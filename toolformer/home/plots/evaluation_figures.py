"""The plots of what calls gain: scores, intervals and verdicts as they stand in a frame."""

from itertools import cycle
from typing import TYPE_CHECKING, Any

import polars as pl

from toolformer.home.plots.style import (
    COLUMNS,
    FAINT,
    GRID,
    PALE,
    RUN_COLOURS,
    SMALL,
    TEXT,
    add_legend,
    new_figure,
    panels_of,
    style_axes,
    with_note,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREEN, *_ = RUN_COLOURS
_VERDICT_COLOURS = {"better": _GREEN, "worse": _ORANGE, "unclear": FAINT}
_MARKERS = "osD^v"
_NAME_HEIGHT_PER_CHARACTER = 0.065  # inches


def difference_plot(frame: pl.DataFrame, title: str) -> "Figure":
    """By how much two ways of answering differ on each benchmark, and how sure that is.

    Args:
        frame: benchmark, comparison, difference, low, high (percentage points, with the 95 %
            interval), items, verdict (better, worse, unclear). Benchmarks and comparisons stand in
            the order of their first rows.
    """
    comparisons = _distinct(frame, "comparison")
    markers = dict(zip(comparisons, cycle(_MARKERS)))
    benchmarks = _distinct(frame, "benchmark")
    figure = new_figure(7.6, 1.55 + 0.23 * frame.height + 0.09 * len(benchmarks), title)
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
    note = "Lines: 95 % intervals. Green: better; orange: worse; grey: unclear. n: items compared"
    return with_note(figure, note)


def model_size_plot(frame: pl.DataFrame) -> "Figure":
    """Scores with and without calls by the size of the model (paper §4.4).

    Args:
        frame: benchmark, model, parameters, mode (disabled, enabled), score, low, high (percent,
            with the 95 % interval).
    """
    models = frame.select("model", "parameters").unique().sort("parameters", "model")
    places = {model: x for x, model in enumerate(models["model"])}
    names = [f"{model} ({_short_count(size)})" for model, size in models.iter_rows()]
    name_height = _NAME_HEIGHT_PER_CHARACTER * max(map(len, names))
    benchmarks = _distinct(frame, "benchmark")
    figure, panels = panels_of(benchmarks, "Scores by size of the model", height=1.95 + name_height)
    modes = {
        "disabled": {"label": "calls off", "color": FAINT, "marker": "s", "markersize": 4.5},
        "enabled": {"label": "calls on", "color": _BLUE, "marker": "o", "markersize": 4.5},
    }
    for number, (axes, benchmark) in enumerate(zip(panels, benchmarks, strict=True)):
        rows = frame.filter(benchmark=benchmark)
        for (mode, style), shift in zip(modes.items(), (-0.1, 0.1), strict=True):
            rows_of_mode = rows.filter(mode=mode).sort("score", "model")
            here = [places[model] + shift for model in rows_of_mode["model"]]
            points = {"linestyle": "none", "elinewidth": 1.3, "capsize": 2.5, **style}
            axes.errorbar(here, rows_of_mode["score"], _reach(rows_of_mode), **points)
            # A line through a base model and its finetuned one would show no growth in size.
            best = rows_of_mode.unique("parameters", keep="last").sort("parameters")
            here = [places[model] + shift for model in best["model"]]
            axes.plot(here, best["score"], color=style["color"], linewidth=1.6)
        style_axes(axes, has_grid=True)
        axes.set_ylim(bottom=0)
        axes.set_xlim(-0.6, len(places) - 0.4)
        axes.set_xticks(list(places.values()), names, rotation=90)
        if number % COLUMNS == 0:
            axes.set_ylabel("score (%)", **SMALL)
    add_legend(figure, modes.values())
    note = "Smallest first, with 95 % intervals. The lines join the best model of each size"
    return with_note(figure, note)


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


def _short_count(count: int) -> str:
    """A count of parameters.

    Example:
        >>> _short_count(135_000_000), _short_count(1_711_000_000)
        ('135M', '1.7B')
    """
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= unit:
            scaled = count / unit
            return f"{scaled:.0f}{letter}" if scaled >= 10 else f"{scaled:.1f}{letter}"
    return str(count)


def _reach(rows: pl.DataFrame) -> list[list[float]]:
    """How far the intervals go to both sides of the scores."""
    below, above = rows["score"] - rows["low"], rows["high"] - rows["score"]
    return [below.clip(0).to_list(), above.clip(0).to_list()]


def _decimal(value: float, *, sign: str = "-") -> str:
    """One decimal, with a minus sign that is as wide as a plus; never a negative zero."""
    return f"{round(value, 1) + 0.0:{sign}.1f}".replace("-", "−")


def _distinct(frame: pl.DataFrame, column: str) -> list[Any]:
    return frame[column].unique(maintain_order=True).to_list()
