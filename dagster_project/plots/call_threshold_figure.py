"""The plot of how the least probability of a call was chosen, as a PNG file in memory.

Does not choose.
"""

import polars as pl

from dagster_project.plots.style import (
    FAINT,
    GRID,
    RUN_COLOURS,
    TEXT,
    add_legend,
    new_figure,
    no_data,
    png_of,
    style_axes,
)

_TITLE = "Calls by their least probability"
_BLUE, _ORANGE, _GREEN, *_ = RUN_COLOURS


def call_threshold_plot(
    frame: pl.DataFrame, *, chosen: float, texts_with_calls: int, texts_without_calls: int
) -> bytes:
    """Where the first calls open, and the score, against the threshold.

    Args:
        frame: threshold, and the numbers of texts right, elsewhere and without; score.
        chosen: the threshold with the largest score.
        texts_with_calls, texts_without_calls: that the numbers are of.

    Returns:
        A PNG file.
    """
    # A logarithmic axis has no 0.
    rows = frame.filter(pl.col("threshold") > 0).sort("threshold")
    if rows.is_empty():
        return no_data(_TITLE)
    lines = {
        "at a kept call": (rows["right"] / texts_with_calls, _GREEN),
        "elsewhere": (rows["elsewhere"] / texts_with_calls, _ORANGE),
        "in a text without": (rows["without"] / texts_without_calls, FAINT),
        "gain - loss": (rows["score"], _BLUE),
    }
    figure = new_figure(7.6, 3.1, _TITLE)
    signs = [{"label": label, "color": colour} for label, (_, colour) in lines.items()]
    add_legend(figure, signs)
    axes = figure.add_subplot()
    style_axes(axes)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xscale("log")
    for values, colour in lines.values():
        axes.plot(rows["threshold"], values, color=colour, linewidth=1.6, marker=".", markersize=3)
    if chosen > 0:
        axes.axvline(chosen, color=TEXT, linewidth=1, linestyle=":")
    axes.set_xlabel("least probability of ` [`", fontsize=8.5, color=TEXT)
    axes.set_ylabel("share of texts", fontsize=8.5, color=TEXT)
    return png_of(
        figure,
        f"First calls in {texts_with_calls} development texts with kept calls, and calls in "
        f"{texts_without_calls} without. Chosen: {chosen:.4g}.",
    )
