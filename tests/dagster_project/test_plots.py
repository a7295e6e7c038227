import re
import subprocess
import sys
from xml.etree import ElementTree

import polars as pl
import pytest

from dagster_project.plots.call_threshold_figure import call_threshold_plot
from dagster_project.plots.figures import (
    funnel_plot,
    loss_reduction_histogram,
    threshold_plot,
    training_curve,
)
from dagster_project.plots.style import FAINT, GRID, TEXT, svg_of
from tests.dagster_project.pictures import assert_not_clipped, picture
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


def funnel(tools, rows=(120, 48, 1536, 911, 880, 880, 43, 40)) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"tool": tool, "stage": stage, "stage_order": number + 1, "rows": count}
            for tool in tools
            for number, (stage, count) in enumerate(zip(STAGES, rows, strict=True))
        ]
    )


def reductions(tools, values) -> pl.DataFrame:
    """Steps of 0.01 nats with a call each."""
    return pl.DataFrame(
        [
            {"tool": tool, "least_reduction": value, "calls": 1}
            for tool in tools
            for value in values
        ],
        schema={"tool": pl.String, "least_reduction": pl.Float64, "calls": pl.Int64},
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
@pytest.mark.parametrize("tools", [TOOL_NAMES, ["Weather"]])
def test_nothing_is_cut_off(plot, tools):
    assert_not_clipped(picture(FULL[plot](tools)))


@pytest.mark.parametrize(
    "plot",
    [
        lambda: funnel_plot(funnel(["QA"]).clear()),
        lambda: loss_reduction_histogram(reductions([], []), {"QA": 1.0}),
        lambda: training_curve(metrics([])),
        lambda: threshold_plot(sweep(["QA"]).clear()),
    ],
    ids=["funnel", "histogram", "training", "thresholds"],
)
def test_an_empty_frame_gives_a_picture(plot):
    pixels = picture(plot())
    assert_not_clipped(pixels)
    assert (pixels != 255).any()


@pytest.mark.parametrize("thresholds", [[], [0.0], [0.0, 0.3], [1e-6, 0.01, 0.02, 0.9]])
def test_any_choice_of_a_call_threshold_gives_a_picture(thresholds):
    rows = {
        "threshold": thresholds,
        "gain_with_calls": [0.1] * len(thresholds),
        "gain_without_calls": [-0.2] * len(thresholds),
        "opened_with_calls": [9] * len(thresholds),
        "opened_without_calls": [0] * len(thresholds),
    }
    frame = pl.DataFrame(rows, schema_overrides={"threshold": pl.Float64})
    chosen = thresholds[-1] if thresholds else 0.0
    pixels = picture(
        call_threshold_plot(frame, chosen=chosen, texts_with_calls=10, texts_without_calls=8)
    )
    assert_not_clipped(pixels)
    assert (pixels != 255).any()


@pytest.mark.parametrize("threshold", [0.0, 0.25, 1 / 3, 2.0, 10.0, None])
def test_any_threshold_gives_a_histogram(threshold):
    values = [0.0, 0.33, 0.34, 2.0, -10.0, -7.0, 9.0, 10.0]
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


def test_the_drawing_takes_its_ink_from_the_page_and_says_what_it_shows():
    drawing = svg_of(threshold_plot(sweep(["QA", "MT"])), "thresholds")
    root = ElementTree.fromstring(drawing)
    assert root.tag.endswith("svg")
    words = " ".join(" ".join(each.itertext()).strip() for each in root.iter() if each.text)
    assert "QA" in words
    assert "9,000" in words
    assert "var(--text)" in drawing
    assert not {TEXT, FAINT, GRID, "#ffffff"} & set(re.findall(r"#[0-9a-f]{6}", drawing))
    assert svg_of(threshold_plot(sweep(["QA", "MT"])), "thresholds") == drawing
    assert svg_of(threshold_plot(sweep(["QA", "MT"])), "another name") != drawing
    # One panel alone is named by the page.
    assert "QA" not in svg_of(threshold_plot(sweep(["QA"])), "thresholds")


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
