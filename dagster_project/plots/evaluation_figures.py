"""The plots of what calls gain: scores, intervals and verdicts as they stand in a frame."""

from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import polars as pl

from dagster_project.plots.style import (
    COLUMNS,
    FAINT,
    GRID,
    PALE,
    RUN_COLOURS,
    SMALL,
    TEXT,
    add_legend,
    hide_bottom,
    new_figure,
    no_data,
    panels_of,
    style_axes,
    with_note,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EVERY_TOOL = "every tool"

_BLUE, _ORANGE, _GREEN, *_ = RUN_COLOURS
_VERDICT_COLOURS = {"better": _GREEN, "worse": _ORANGE, "unclear": FAINT}
_MARKERS = "osD^v"
_ERROR_BAR = {"elinewidth": 1.3, "capsize": 2.5, "capthick": 1.1}
_NAME_HEIGHT_PER_CHARACTER = 0.065  # inches


def difference_plot(frame: pl.DataFrame, title: str) -> "Figure":
    """By how much two ways of answering differ on each benchmark, and how sure that is.

    Args:
        frame: benchmark, comparison, difference, low, high (percentage points, with the 95 %
            interval), items, verdict (better, worse, unclear). Benchmarks and comparisons stand in
            the order of their first rows.
        title: of the figure.
    """
    if frame.is_empty():
        return no_data(title)
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
        for place, row in enumerate(rows.iter_rows(named=True)):
            marker = markers[row["comparison"]]
            _draw_difference(axes, row, height=top - 0.7 - place, marker=marker)
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


def calibration_plot(frame: pl.DataFrame) -> "Figure":
    """Scores by k of the trigger, where the model calls a tool and where not (paper's table 9).

    Args:
        frame: of one model the view `call_calibration`: benchmark, call_top_k, score,
            score_with_call, score_without_call, share_with_call (shares between 0 and 1; NULL
            where there is no such item).
    """
    title = "Scores by k of the trigger"
    if frame.is_empty():
        return no_data(title)
    figure, panels = panels_of(_distinct(frame, "benchmark"), title, height=2.05)
    places = {k: place for place, k in enumerate(frame["call_top_k"].unique().sort())}
    lines = {
        "score": {"label": "all items", "color": _BLUE, "marker": "o", "linewidth": 2.6},
        "score_with_call": {"label": "where it called", "color": _GREEN, "marker": "^"},
        "score_without_call": {"label": "where it did not call", "color": _ORANGE, "marker": "v"},
    }
    for number, axes, rows in _filled(panels, frame):
        rows = rows.sort("call_top_k")
        scores = rows.select(pl.col(*lines).cast(pl.Float64) * 100)
        here = [places[k] for k in rows["call_top_k"]]
        for name, style in lines.items():
            axes.plot(here, scores[name], **{"linewidth": 1.3, "markersize": 4.5} | style)
        highest = scores.max().max_horizontal().item()
        axes.set_ylim(0, max(1.12 * (highest or 0), 1))
        is_last = number % COLUMNS == COLUMNS - 1 or number == len(panels) - 1
        _shade_shares(axes, here, rows["share_with_call"], is_labelled=is_last)
        axes.set_xlim(-0.6, len(places) - 0.4)
        axes.set_xticks(list(places.values()), [str(k) for k in places])
        if number % COLUMNS == 0:
            axes.set_ylabel("score (%)", **SMALL)
        axes.set_xlabel("k", **SMALL)
    add_legend(figure, lines.values())
    return with_note(figure, "Bars, with the scale on the right: share of items with a call")


def tool_ablation_plot(frame: pl.DataFrame) -> "Figure":
    """Scores with all tools, without each one, and without any.

    Args:
        frame: of one model benchmark, without_tool (NULL with all tools, `EVERY_TOOL` without
            calls), score, low, high (percent, with the 95 % interval). Tools stand in the order of
            their first rows.
    """
    title = "Scores without a tool"
    if frame.is_empty():
        return no_data(title)
    taken = _distinct(frame, "without_tool")
    tools = [name for name in taken if name not in (None, EVERY_TOOL)]
    looks = {None: ("all tools", _BLUE, 1.0)}
    looks |= {name: (f"without {name}", _BLUE, PALE) for name in tools}
    looks |= {EVERY_TOOL: ("no calls", FAINT, 1.0)}
    order = [name for name in looks if name in taken]
    benchmarks = _distinct(frame, "benchmark")
    figure, panels = panels_of(benchmarks, title, height=0.5 + 0.24 * len(order))
    for number, axes, rows in _filled(panels, frame):
        highest = max(*rows["high"], 1.0)
        for (name,), row in rows.group_by("without_tool", maintain_order=True):
            place = -order.index(name)
            _, colour, opacity = looks[name]
            axes.barh(place, row["score"], height=0.72, color=colour, alpha=opacity, linewidth=0)
            interval = {"xerr": _reach(row), "fmt": "none", "ecolor": TEXT, **_ERROR_BAR}
            axes.errorbar(row["score"], [place], **interval)
            score = row["score"].item()
            # Where the dashed line would run through the number, the number covers it.
            behind = {"facecolor": "white", "linewidth": 0, "pad": 0.8}
            label = {"va": "center", "bbox": behind, **SMALL}
            axes.text(row["high"].item() + 0.04 * highest, place, f"{score:.1f}", **label)
            if name is None:
                axes.axvline(score, color=_BLUE, linewidth=0.9, linestyle=(0, (4, 2)))
        axes.set(xlim=(0, highest * 1.25), ylim=(0.5 - len(order), 0.5))
        hide_bottom(axes)
        axes.set_yticks([-place for place in range(len(order))], [looks[name][0] for name in order])
        axes.tick_params(labelleft=number % COLUMNS == 0)
    return with_note(figure, "Scores in percent with 95 % intervals; dashed: with all tools")


def model_size_plot(frame: pl.DataFrame) -> "Figure":
    """Scores with and without calls by the size of the model (paper §4.4).

    Args:
        frame: benchmark, model, parameters, mode (disabled, enabled), score, low, high (percent,
            with the 95 % interval).
    """
    title = "Scores by size of the model"
    if frame.is_empty():
        return no_data(title)
    models = frame.select("model", "parameters").unique().sort("parameters", "model")
    places = {model: place for place, model in enumerate(models["model"])}
    names = [f"{model} ({_short_count(size)})" for model, size in models.iter_rows()]
    name_height = _NAME_HEIGHT_PER_CHARACTER * max(map(len, names))
    figure, panels = panels_of(_distinct(frame, "benchmark"), title, height=1.95 + name_height)
    modes = {
        "disabled": {"label": "calls off", "color": FAINT, "marker": "s", "markersize": 4.5},
        "enabled": {"label": "calls on", "color": _BLUE, "marker": "o", "markersize": 4.5},
    }
    for number, axes, rows in _filled(panels, frame):
        for (mode, style), shift in zip(modes.items(), (-0.1, 0.1), strict=True):
            of_mode = rows.filter(mode=mode).sort("score", "model")
            here = [places[model] + shift for model in of_mode["model"]]
            points = {"linestyle": "none", **style, **_ERROR_BAR}
            axes.errorbar(here, of_mode["score"], _reach(of_mode), **points)
            # A line through a base model and its finetuned one would show no growth in size.
            best = of_mode.unique("parameters", keep="last").sort("parameters")
            here = [places[model] + shift for model in best["model"]]
            axes.plot(here, best["score"], color=style["color"], linewidth=1.6)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
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


def _shade_shares(
    axes: Any, places: Sequence[int], shares: pl.Series, *, is_labelled: bool
) -> None:
    """Shares as bars behind the lines, with an axis of their own on the right."""
    twin = axes.twinx()
    heights = shares.cast(pl.Float64).fill_null(0.0) * 100
    twin.bar(places, heights, width=0.8, color=FAINT, alpha=0.2, linewidth=0)
    twin.set_ylim(0, 100)
    twin.set_yticks([0, 50, 100], ["0 %", "50 %", "100 %"])
    twin.tick_params(labelsize=7.5, colors=FAINT, length=0, labelright=is_labelled)
    for spine in twin.spines.values():
        spine.set_visible(False)
    axes.set_zorder(twin.get_zorder() + 1)
    axes.patch.set_visible(False)


def _filled(panels: Sequence[Any], frame: pl.DataFrame) -> Iterator[tuple[int, Any, pl.DataFrame]]:
    """Number, axes and rows of each panel, for `panels_of(_distinct(frame, "benchmark"), …)`."""
    for number, (axes, name) in enumerate(zip(panels, _distinct(frame, "benchmark"), strict=True)):
        yield number, axes, frame.filter(benchmark=name)


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
