"""The plot of how the least probability of a call was chosen."""

from typing import TYPE_CHECKING

import polars as pl

from dagster_project.plots.style import (
    FAINT,
    RUN_COLOURS,
    SMALL,
    TEXT,
    add_legend,
    new_figure,
    no_data,
    style_axes,
    with_note,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TITLE = "Calls by their least probability"
_BLUE, _ORANGE, *_ = RUN_COLOURS
_COLOURS = {"with_calls": _BLUE, "without_calls": _ORANGE}


def call_threshold_plot(
    frame: pl.DataFrame, *, chosen: float, texts_with_calls: int, texts_without_calls: int
) -> "Figure":
    """What the first calls gain, and in how many texts they open, against the threshold.

    Args:
        frame: threshold, and of the texts with and without kept calls the mean gain and the number
            in which a call opens: the columns of `toolformer.decoding.call_threshold.CurvePoint`.
        chosen: the threshold with the largest sum of both gains.
        texts_with_calls, texts_without_calls: that the numbers are of.
    """
    # A logarithmic axis has no 0.
    rows = frame.filter(pl.col("threshold") > 0).sort("threshold")
    if rows.is_empty():
        return no_data(_TITLE)
    shares = rows.with_columns(
        pl.col("opened_with_calls") / texts_with_calls,
        pl.col("opened_without_calls") / texts_without_calls,
    )
    figure = new_figure(7.6, 3.1, _TITLE)
    signs = [
        {"label": f"texts {kind.replace('_', ' ')}", "color": colour}
        for kind, colour in _COLOURS.items()
    ]
    add_legend(figure, signs)
    panels = (
        ("gain", "mean gain of a text, in nats", rows),
        ("opened", "share of texts with a call", shares),
    )
    for number, (name, label, values) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, 2, number)
        style_axes(axes, has_grid=True)
        axes.set_xscale("log")
        axes.axhline(0, color=FAINT, linewidth=0.8)
        for kind, colour in _COLOURS.items():
            # Down to the threshold before it nothing else opens.
            axes.step(
                values["threshold"],
                values[f"{name}_{kind}"],
                where="pre",
                color=colour,
                linewidth=1.6,
                marker=".",
                markersize=3,
            )
        if chosen > 0:
            axes.axvline(chosen, color=TEXT, linewidth=1, linestyle=":")
        axes.set_xlabel("least probability of ` [`", **SMALL)
        axes.set_ylabel(label, **SMALL)
    return with_note(
        figure,
        f"First calls, as the model writes them, in {texts_with_calls} development texts with kept "
        f"calls and {texts_without_calls} without. Chosen: {chosen:.4g}.",
    )
