"""Draws the pictures of the documents, each in a light and a dark version.

python -m benchmarks.pictures [--folder docs/images]

Coordinates are pixels from the top left corner. Text is drawn as paths, so the pictures look the
same everywhere, and the same version of matplotlib writes the same bytes.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path as Outline
from matplotlib.textpath import TextPath

_WIDTH = 800
_PIXELS_PER_INCH = 96
_POINTS_PER_PIXEL = 72 / _PIXELS_PER_INCH
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "toolformer",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
}
_NAME, _CAPTION = 12.0, 11.0
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of a version; blue and orange follow Okabe and Ito's colour-blind safe palette."""

    text: str
    faint: str
    fill: str
    frame: str
    blue: str
    orange: str


_THEMES = {
    "light": Theme("#1f2328", "#59636e", "#eaf2f8", "#afb8c1", "#0072b2", "#b85c00"),
    "dark": Theme("#e6edf3", "#a3adb8", "#1c2b3a", "#4b5563", "#56b4e9", "#e69f00"),
}


@dataclass(frozen=True, slots=True)
class Box:
    left: float
    top: float
    width: float
    height: float

    @property
    def middle(self) -> Point:
        return self.left + self.width / 2, self.top + self.height / 2

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height


class Picture:
    def __init__(self, height: float, theme: Theme) -> None:
        self.theme = theme
        size = (_WIDTH / _PIXELS_PER_INCH, height / _PIXELS_PER_INCH)
        self.figure = Figure(figsize=size)
        self.axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, _WIDTH), ylim=(height, 0))
        self.axes.axis("off")

    def write(
        self,
        at: Point,
        text: str,
        *,
        size: float = _NAME,
        colour: str | None = None,
        align: Literal["left", "center", "right"] = "center",
        is_bold: bool = False,
    ) -> None:
        self.axes.text(
            *at,
            text,
            size=size * _POINTS_PER_PIXEL,
            color=colour or self.theme.text,
            ha=align,
            va="center",
            weight="bold" if is_bold else "normal",
        )

    def box(
        self,
        box: Box,
        name: str = "",
        caption: str = "",
        *,
        fill: str | None = None,
        edge: str | None = None,
        is_dashed: bool = False,
    ) -> Box:
        """Draw a box with a name and a fainter caption, and return it."""
        self.axes.add_patch(
            FancyBboxPatch(
                (box.left, box.top),
                box.width,
                box.height,
                boxstyle="round,pad=0,rounding_size=5",
                facecolor=fill or self.theme.fill,
                edgecolor=edge or self.theme.blue,
                linestyle=(0, (4, 3)) if is_dashed else "solid",
                linewidth=1,
            )
        )
        x, y = box.middle
        lines = 1 + caption.count("\n") if caption else 0
        name_lines = 1 + name.count("\n")
        # The block of name and caption is centred in the box.
        half = (name_lines * 16 + lines * 14) / 2
        self.write((x, y - half + name_lines * 8), name)
        if caption:
            middle = y + half - lines * 7
            self.write((x, middle), caption, size=_CAPTION, colour=self.theme.faint)
        return box

    def arrow(self, *points: Point, colour: str | None = None, is_dashed: bool = False) -> None:
        """Draw a polyline through the points, with a head at its end."""
        self.axes.add_patch(
            FancyArrowPatch(
                path=Outline(points),
                arrowstyle="-|>,head_length=4,head_width=2.2",
                color=colour or self.theme.text,
                linestyle=(0, (4, 3)) if is_dashed else "solid",
                linewidth=1,
                joinstyle="miter",
                shrinkA=0,
                shrinkB=0,
            )
        )

    def chain(self, boxes: Sequence[Box]) -> None:
        """Draw an arrow from each box of a row to the next, in either direction."""
        for box, following in pairwise(boxes):
            y = following.middle[1]
            if box.left < following.left:
                self.arrow((box.right, y), (following.left, y))
            else:
                self.arrow((box.left, y), (following.right, y))


def draw_data_flow(theme: Theme) -> Picture:
    picture = Picture(434, theme)
    lefts = [18 + 128 * column for column in range(6)]
    middles = [left + 58 for left in lefts]

    def cell(column: int, top: float, height: float = 58, columns: int = 1) -> Box:
        return Box(lefts[column], top, 116 + 128 * (columns - 1), height)

    frame = picture.box(Box(8, 94, 776, 116), fill="none", edge=theme.frame, is_dashed=True)
    picture.write((774, 112), "per shard of the corpus", align="right", colour=theme.faint)

    sources = picture.box(cell(0, 10, 44), "sources", "files, folders", edge=theme.frame)
    model = picture.box(
        cell(1, 10, 44, columns=3), "model", "writes calls, predicts texts", edge=theme.orange
    )
    shards = [
        picture.box(cell(column, 130, 66), name, caption)
        for column, (name, caption) in enumerate(
            [
                ("documents", "texts"),
                ("candidate_calls", "proposed calls"),
                ("executed_calls", "answers of tools"),
                ("scored_calls", "three losses\nand a control"),
                ("filtered_calls", "kept or not"),
                ("augmented_texts", "texts with\nkept calls"),
            ]
        )
    ]
    picture.chain(shards)
    row = shards[0]
    picture.arrow((middles[0], sources.bottom), (middles[0], row.top))
    picture.write(
        (middles[0] + 8, 74), "corpus_manifest", size=_CAPTION, colour=theme.faint, align="left"
    )
    for column in (1, 3):
        picture.arrow(
            (middles[column], model.bottom), (middles[column], row.top), colour=theme.orange
        )

    warehouse = picture.box(
        cell(0, 244, 52, columns=2), "warehouse", "Parquet files, DuckDB views", edge=theme.frame
    )
    tools = picture.box(cell(2, 244, 52), "tools", edge=theme.orange)
    indexes = picture.box(
        cell(3, 244, 52, columns=2), "wikipedia_index, passage_index", "Wikipedia articles"
    )
    picture.chain([indexes, tools])
    picture.arrow((middles[2], tools.top), (middles[2], row.bottom), colour=theme.orange)

    last = [
        picture.box(cell(column, 344, 66), name, caption)
        for column, name, caption in [
            (5, "training_set", "distinct, split"),
            (4, "finetuned_model", "or a control"),
            (3, "min_call_\nprobability", "when to call"),
            (2, "evaluation_\nresults", "with and\nwithout calls"),
        ]
    ]
    report = picture.box(cell(0, 344, 66, columns=2), "report", "calls, losses, results")
    picture.chain([*last, report])
    picture.arrow((middles[5], row.bottom), (middles[5], last[0].top))
    picture.arrow((middles[2], tools.bottom), (middles[2], last[0].top), colour=theme.orange)
    picture.arrow(
        (middles[2], 320), (middles[3], 320), (middles[3], last[0].top), colour=theme.orange
    )
    x = warehouse.middle[0]
    picture.arrow((x, frame.bottom), (x, warehouse.top))
    picture.arrow((x, warehouse.bottom), (x, report.top))

    finetuned = last[1]
    picture.arrow(
        (finetuned.middle[0], finetuned.bottom),
        (finetuned.middle[0], 424),
        (792, 424),
        (792, model.middle[1]),
        (model.right, model.middle[1]),
        is_dashed=True,
        colour=theme.faint,
    )
    picture.write(
        (664, model.middle[1] - 11),
        "annotates the next round, if set",
        size=_CAPTION,
        colour=theme.faint,
    )
    return picture


def draw_partition_life(theme: Theme) -> Picture:
    picture = Picture(300, theme)
    top, height = 105, 66
    declared = picture.box(Box(10, top, 112, height), "declared", "inputs, settings,\nversion")
    planned = picture.box(Box(154, top, 118, height), "planned", "fingerprint\ncompared")
    published = picture.box(Box(662, top, 128, height), "published", "catalogue\nrenamed")
    run = picture.box(Box(306, 10, 322, 256), edge=theme.orange, fill="none")
    picture.write((320, 28), "run", align="left", is_bold=True)
    steps = [
        ("device", "wait for it, if a model is needed"),
        ("lock", "of this output"),
        ("check again", "did another run make it?"),
        ("inputs", "made from each other?"),
        ("compute", "checkpoint each batch"),
        ("inputs again", "replaced meanwhile?"),
        ("publish", "files, then the catalogue"),
    ]
    for index, (name, detail) in enumerate(steps):
        y = 58 + 31 * index
        picture.write((332, y), str(index + 1), colour=theme.orange, is_bold=True)
        picture.write((348, y), name, align="left")
        picture.write((438, y), detail, align="left", size=_CAPTION, colour=theme.faint)
    picture.chain([declared, planned, run, published])

    x = published.middle[0]
    stale = picture.box(Box(662, 222, 128, 44), "stale or damaged", edge=theme.frame)
    picture.arrow((x, published.bottom), (x, stale.top))
    picture.arrow(
        (x, stale.bottom),
        (x, 284),
        (planned.middle[0], 284),
        (planned.middle[0], planned.bottom),
        colour=theme.orange,
    )
    picture.write((planned.middle[0] - 10, 240), "made again", align="right", colour=theme.orange)
    return picture


def draw_kept_call(theme: Theme) -> Picture:
    """Draw the call of docs/first-hour.md with its losses."""
    picture = Picture(300, theme)
    before = "To fence the meadow takes 46 posts a side, and on 18 sides 46 * 18 ="
    picture.write((20, 22), before, size=15, align="left")
    start = left = 20.0
    for text, colour, is_bold in [
        ("[Calculator(46 * 18) ", theme.blue, True),
        ("-> 828]", theme.orange, True),
        (" 828 posts.", theme.text, False),
    ]:
        picture.write((left, 48), text, size=15, align="left", colour=colour, is_bold=is_bold)
        start, left = left, left + _text_width(text, 15, is_bold=is_bold)
    picture.axes.plot([start + 5, left], [61, 61], color=theme.text, linewidth=1)
    picture.write((left + 14, 48), "these words are predicted", align="left", colour=theme.faint)

    zero, nat = 206.0, 200.0
    picture.write((zero, 94), "loss in nats", align="left", colour=theme.faint)
    rows = [
        ("without the call", "L(ε)", 2.222, theme.frame),
        ("with the call, no result", "L(e(c, ε))", 1.827, theme.blue),
        ("with the call and its result", "L(e(c, r))", 0.393, theme.orange),
        ("with another result: 11858", "control", 1.794, theme.frame),
    ]
    for index, (label, symbol, loss, colour) in enumerate(rows):
        y = 124 + 48 * index
        picture.axes.add_patch(
            Rectangle((zero, y - 11), loss * nat, 22, facecolor=colour, edgecolor="none")
        )
        picture.write((zero - 12, y - 8), label, align="right")
        picture.write((zero - 12, y + 8), symbol, align="right", size=_CAPTION, colour=theme.faint)
        end = zero + loss * nat
        picture.write((end + 8, y), f"{loss:.3f}", align="left", is_bold=True)
    smaller, lowest = (zero + loss * nat for loss in (1.827, 0.393))
    picture.write((smaller + 58, 172), "the smaller of the two", align="left", colour=theme.faint)
    picture.axes.plot([smaller, smaller], [183, 244], color=theme.text, linestyle=(0, (4, 3)))
    picture.arrow((smaller, 236), (lowest, 236))
    picture.write(((smaller + lowest) / 2, 220), "reduction 1.434")
    picture.write((smaller + 10, 220), "≥ threshold 0.25: kept", align="left", is_bold=True)
    return picture


def _text_width(text: str, size: float, *, is_bold: bool) -> float:
    """Return the width in pixels, including trailing spaces."""
    font = FontProperties(family="DejaVu Sans", weight="bold" if is_bold else "normal")

    def right_end(shown: str) -> float:
        return TextPath((0, 0), shown, size=size, prop=font).get_extents().x1

    return right_end(text + ".") - right_end(".")


_PICTURES: dict[str, tuple[str, Callable[[Theme], Picture]]] = {
    "data-flow": ("From sources to the report", draw_data_flow),
    "partition-life": ("Life of a partition", draw_partition_life),
    "kept-call": ("One call of the Calculator with its three losses", draw_kept_call),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    for name, (title, draw) in _PICTURES.items():
        for version, theme in _THEMES.items():
            with rc_context(_STYLE):
                draw(theme).figure.savefig(
                    options.folder / f"{name}-{version}.svg",
                    transparent=True,
                    metadata={"Title": title, "Date": None, "Creator": None},
                )


if __name__ == "__main__":
    main()
