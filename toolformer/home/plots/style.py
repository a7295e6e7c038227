"""Colours, sizes and SVG output of the figures."""

import base64
import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which colour-blind readers can tell apart.
_COLOURS = {
    "QA": "#0072b2",
    "Calculator": "#d55e00",
    "WikiSearch": "#009e73",
    "MT": "#cc79a7",
    "Calendar": "#b8860b",
}
_OTHER_COLOUR = "#56606b"
RUN_COLOURS = tuple(_COLOURS.values())
TEXT = "#24292f"
FAINT = "#8c959f"
GRID = "#e3e6ea"
_PAGE_COLOURS = {TEXT: "--text", FAINT: "--faint", GRID: "--line"}
PALE = 0.35
SMALL = {"fontsize": 8.5, "color": TEXT}

# In inches; text stays legible when a phone shrinks the figure to its screen.
PANEL_WIDTH = 4.2


def colour_of(tool: str) -> str:
    return _COLOURS.get(tool, _OTHER_COLOUR)


def panel_of(*, height: float) -> tuple[Any, Any]:
    """Return a figure and its single axes, `height` inches high and without a title."""
    figure = new_figure(PANEL_WIDTH, 0.47 + height)
    axes = figure.add_subplot()
    style_axes(axes)
    return figure, axes


def new_figure(width: float, height: float) -> Any:
    # `Figure` instead of pyplot: threads share no state, and nothing has to be closed.
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))


def style_axes(axes: Any, *, has_grid: bool = False) -> None:
    if has_grid:
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
    axes.tick_params(labelsize=8.5, colors=TEXT)


def hide_bottom(axes: Any) -> None:
    """Remove the x-axis of a bar chart whose bars are labelled with their values."""
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def svg_of(figure: "Figure", name: str) -> str:
    """Return an `svg` element that follows the light or dark theme of its page.

    Colours become the variables `--text`, `--faint` and `--line`. The name must be unique in the
    page, since the ids inside the element derive from it.
    """
    from matplotlib import rc_context

    content = io.StringIO()
    options: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.family": "sans-serif",
    }
    with rc_context(options):
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None})
    text = content.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in _PAGE_COLOURS.items():
        text = text.replace(colour, f"var({variable})")
    return text


def markdown_image(caption: str, svg: str) -> str:
    """Return a caption and, below it, an element from `svg_of` as a Markdown image on white."""
    for colour, variable in _PAGE_COLOURS.items():
        svg = svg.replace(f"var({variable})", colour)
    content = svg.replace("<svg", '<svg style="background: white"', 1).encode()
    return (
        f"{caption}\n\n![{caption}](data:image/svg+xml;base64,{base64.b64encode(content).decode()})"
    )
