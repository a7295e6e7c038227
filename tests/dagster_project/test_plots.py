import base64
import io
import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from PIL import Image

from dagster_project.plots.figures import (
    funnel_plot,
    loss_reduction_histogram,
    png_markdown,
    threshold_plot,
    training_curve,
)
from dagster_project.plots.style import colour_of
from tools.registry import TOOL_NAMES

# Seconds in all; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow

STAGES = [
    "documents",
    "preselected",
    "samples",
    "candidates",
    "executed",
    "scored",
    "kept",
    "merged",
]
MOST_BYTES = 60_000


def funnel(tools, rows=(120, 48, 1536, 911, 880, 880, 43, 40)) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"tool": tool, "stage": stage, "stage_order": number + 1, "rows": count}
            for tool in tools
            for number, (stage, count) in enumerate(zip(STAGES, rows, strict=True))
        ]
    )


def reductions(tools, values) -> pl.DataFrame:
    return pl.DataFrame(
        [{"tool": tool, "loss_reduction": value} for tool in tools for value in values],
        schema={"tool": pl.String, "loss_reduction": pl.Float64},
    )


def metrics(steps, *, run="a", every=2) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "run": run,
                "step": step,
                "loss": 3 - 0.01 * step,
                "learning_rate": 1e-5,
                "tokens": step,
                "development_perplexity": 18.0 - step if step % every == 0 else None,
            }
            for step in steps
        ],
        schema={
            "run": pl.String,
            "step": pl.Int32,
            "loss": pl.Float64,
            "learning_rate": pl.Float64,
            "tokens": pl.Int64,
            "development_perplexity": pl.Float64,
        },
    )


def sweep(tools, chance_share: float | None = 0.1) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "tool": tool,
                "filtering_threshold": value,
                "kept_calls": 9000,
                "kept_texts": 7,
                "scored_calls": 20_000,
                "kept_share": 0.45,
                "chance_calls": 0 if chance_share is None else 200,
                "chance_share": chance_share,
            }
            for tool in tools
            for value in (0.25, 0.5, 1.0, 2.0)
        ],
        schema_overrides={"chance_share": pl.Float64},
    )


def picture(png: bytes) -> np.ndarray:
    """The pixels, once it is a PNG file of a size that suits a page."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(png) < MOST_BYTES
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    assert 100 < pixels.shape[0] < 1200
    assert 400 < pixels.shape[1] < 1300
    return pixels


def assert_not_clipped(pixels: np.ndarray) -> None:
    # What is cut off touches the edge of the picture; the margin around it is white.
    for edge in (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:]):
        assert (edge == 255).all()


def has_colour(pixels: np.ndarray, colour: str) -> bool:
    wanted = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)])
    return bool((np.abs(pixels.astype(int) - wanted).max(axis=2) <= 6).sum() > 20)


FULL = {
    "funnel": lambda tools: funnel_plot(funnel(tools)),
    "huge funnel": lambda tools: funnel_plot(funnel(tools, [10**9] * 8)),
    "histogram": lambda tools: loss_reduction_histogram(
        reductions(tools, [-50.0, -0.2, 0.0, 0.1, 0.4, 1.2, 60.0] * 300),
        dict.fromkeys(tools, 0.5),
    ),
    "thresholds": lambda tools: threshold_plot(sweep(tools)),
}


@pytest.mark.parametrize("plot", FULL)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_tool_is_drawn_in_its_colour_and_nothing_is_cut_off(plot, count):
    tools = TOOL_NAMES[:count]
    pixels = picture(FULL[plot](tools))
    assert_not_clipped(pixels)
    for tool in TOOL_NAMES:
        assert has_colour(pixels, colour_of(tool)) == (tool in tools)


def test_a_tool_of_the_user_is_drawn_too():
    pixels = picture(funnel_plot(funnel(["Weather"])))
    assert has_colour(pixels, colour_of("Weather"))
    assert colour_of("Weather") not in {colour_of(tool) for tool in TOOL_NAMES}


def test_colours_of_the_tools_differ():
    assert len({colour_of(tool) for tool in TOOL_NAMES}) == len(TOOL_NAMES)


@pytest.mark.parametrize(
    "plot",
    [
        lambda: funnel_plot(funnel(["QA"]).clear()),
        lambda: loss_reduction_histogram(reductions([], []), {"QA": 1.0}),
        lambda: loss_reduction_histogram(reductions(["QA"], [None, float("nan")]), {}),
        lambda: training_curve(metrics([])),
        lambda: threshold_plot(sweep(["QA"]).clear()),
    ],
    ids=["funnel", "histogram", "histogram of no numbers", "training", "thresholds"],
)
def test_an_empty_frame_gives_a_picture_without_data(plot):
    pixels = picture(plot())
    assert_not_clipped(pixels)
    assert (pixels != 255).any()
    assert not any(has_colour(pixels, colour_of(tool)) for tool in TOOL_NAMES)


def test_a_tick_marks_the_calls_kept_by_chance():
    def dark_columns(chance_share):
        """Columns of the picture with something dark, text or tick, inside the bars' colour."""
        pixels = picture(threshold_plot(sweep(["QA"], chance_share))).astype(int)
        blue = (np.abs(pixels - np.array([0x00, 0x72, 0xB2])).max(axis=2) <= 6).any(axis=1)
        return set(np.flatnonzero((pixels[blue].max(axis=2) < 100).any(axis=0)).tolist())

    none = dark_columns(None)
    few, many = (dark_columns(share) - none for share in (0.1, 0.3))
    assert few
    assert many
    assert max(few) < min(many)
    # More by chance than kept: the tick is not cut off.
    assert_not_clipped(picture(threshold_plot(sweep(["QA"], 1.0))))


def test_a_funnel_of_zeros_has_no_bars():
    pixels = picture(funnel_plot(funnel(["QA"], [0] * 8)))
    full = picture(funnel_plot(funnel(["QA"])))
    blue = np.array([0x00, 0x72, 0xB2])
    count = [(np.abs(each.astype(int) - blue).max(axis=2) <= 6).sum() for each in (pixels, full)]
    assert count[0] < count[1] / 4


@pytest.mark.parametrize("threshold", [0.0, 0.25, 1 / 3, 2.0, 10.0, None])
def test_any_threshold_gives_a_histogram(threshold):
    values = [0.0, 1 / 3, 1 / 3 - 1e-10, 2.0, float("-inf"), -7.0, 9.0, 11.0]
    thresholds = {} if threshold is None else {"Calendar": threshold}
    assert_not_clipped(
        picture(loss_reduction_histogram(reductions(["Calendar"], values), thresholds))
    )


@pytest.mark.parametrize(
    "frame",
    [
        metrics(range(1, 201), every=50),
        metrics([7], every=100),
        metrics([8]),
        metrics(range(5), every=100),
        pl.concat([metrics(range(10)), metrics(range(20), run="$b_{")]),
        metrics(range(4)).with_columns(loss=pl.lit(float("nan")), learning_rate=pl.lit(0.0)),
    ],
    ids=["long", "one step", "one measured step", "never measured", "two runs", "diverged"],
)
def test_any_run_gives_a_training_curve(frame):
    assert_not_clipped(picture(training_curve(frame)))


def test_the_image_is_part_of_its_markdown():
    markdown = png_markdown(b"\x89PNG", "Calls [all]\nper stage")
    match = re.fullmatch(r"!\[Calls \(all\) per stage\]\(data:image/png;base64,(.+)\)", markdown)
    assert match is not None
    assert base64.b64decode(match[1]) == b"\x89PNG"


def test_importing_the_plots_does_not_import_matplotlib():
    code = (
        "import sys, dagster_project.plots.figures;"
        "assert not {'matplotlib', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_plots_leave_no_state_of_pyplot():
    code = (
        "import sys, polars as pl; from dagster_project.plots.figures import threshold_plot;"
        "threshold_plot(pl.DataFrame({'tool': []}));"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
