"""How the plots of the UI look: colours, panels, text, and the file formats."""

import io
import textwrap
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which people with any colour vision tell apart.
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
COLUMNS = 3

_RESOLUTION = 110
_PANEL_WIDTH = 3.1
_LABEL_WIDTH = 1.0
_TITLE_HEIGHT = 0.28
_LEGEND_HEIGHT = 0.3
_MIN_WIDTH = 5.2
_NOTE_CHARACTERS_PER_INCH = 15


def colour_of(tool: str) -> str:
    """The colour of a tool, the same in all plots."""
    return _COLOURS.get(tool, _OTHER_COLOUR)


def panels_of(names: Sequence[str], title: str, *, height: float) -> tuple[Any, list[Any]]:
    """A figure with a panel for each name (at least one), `COLUMNS` side by side.

    The height, in inches, is that of a panel with its title.
    """
    columns = min(len(names), COLUMNS)
    rows = -(-len(names) // columns)
    # With one panel alone the title above it would be cut.
    width = max(_LABEL_WIDTH + _PANEL_WIDTH * columns, _MIN_WIDTH)
    figure = new_figure(width, 0.75 + height * rows, title)
    panels = []
    for number, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, number + 1)
        style_axes(axes)
        axes.set_title(name, fontsize=10, fontweight="bold", color=colour_of(name), loc="left")
        panels.append(axes)
    return figure, panels


def panel_of(name: str, *, height: float) -> tuple[Any, Any]:
    """A figure of one panel, and the panel; what they show is told beside them."""
    figure, (axes,) = panels_of([name], "", height=height)
    return figure, axes


def new_figure(width: float, height: float, title: str) -> Any:
    """A figure with a title; sizes in inches."""
    # `Figure` instead of pyplot: no state is shared between threads, and nothing must be closed.
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(
        figsize=(width, height),
        dpi=_RESOLUTION,
        facecolor="white",
        layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08),
    )
    figure.suptitle(title, fontsize=11.5, fontweight="bold", color=TEXT)
    return figure


def add_legend(figure: Any, signs: Collection[Mapping[str, Any]]) -> None:
    """Make room below the title for a legend; a sign has the options of a line and its label."""
    from matplotlib.lines import Line2D

    height = figure.get_figheight() + _LEGEND_HEIGHT
    figure.set_figheight(height)
    # The panels leave this room free; the title stays above it.
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - _LEGEND_HEIGHT / height))
    figure.legend(
        handles=[Line2D([], [], **sign) for sign in signs],
        loc="upper center",
        bbox_to_anchor=(0.5, 1 - _TITLE_HEIGHT / height),
        ncols=len(signs),
        fontsize=8.5,
        labelcolor=TEXT,
        frameon=False,
    )


def style_axes(axes: Any, *, has_grid: bool = False) -> None:
    """Leave out what carries no information."""
    axes.set_facecolor("white")
    if has_grid:
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(FAINT)
    axes.tick_params(labelsize=8.5, colors=TEXT)


def hide_bottom(axes: Any) -> None:
    """Leave out a horizontal axis whose values are written beside the bars."""
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="y", length=0)


def with_note(figure: "Figure", note: str) -> "Figure":
    """The figure with a note below its panels, broken to its width."""
    width = int(figure.get_figwidth() * _NOTE_CHARACTERS_PER_INCH)
    figure.supxlabel(textwrap.fill(note, width), fontsize=8, color=FAINT)
    return figure


def png_of(figure: "Figure") -> bytes:
    """Draw a figure as a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def svg_of(figure: "Figure", name: str, *, width: float | None = None) -> str:
    """Draw a figure as an element of a page that is light or dark.

    Its title and note are left to the page, and the name of a single panel as well.

    Args:
        name: unique in the page: what is defined within the element is told apart by it.
        width: width of the drawing, in inches; by default the figure's own.

    Returns:
        An `svg` element. Ink, faint ink and lines are the page's `--text`, `--faint` and `--line`;
        letters are letters, in the page's font.
    """
    from matplotlib import rc_context

    if figure.legends:
        # The room of the title keeps the panels below the legend.
        figure.suptitle(figure.get_suptitle(), fontsize=11.5, alpha=0)
    else:
        figure.suptitle("")
        figure.set_figheight(figure.get_figheight() - _TITLE_HEIGHT)
    figure.supxlabel("")
    if len(figure.axes) == 1:
        figure.axes[0].set_title("", loc="left")
    if width is not None:
        figure.set_figwidth(width)
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
