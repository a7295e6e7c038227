"""Every figure of the UI and the report, drawn."""

import re
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from xml.etree import ElementTree

import polars as pl
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from dagster_project.plots.evaluation_figures import difference_plot, model_size_plot
from dagster_project.plots.figures import (
    funnel_plot,
    loss_reduction_histogram,
    threshold_plot,
    training_curve,
)
from dagster_project.plots.style import FAINT, GRID, TEXT, png_of, svg_of
from tests.dagster_project.pictures import assert_not_clipped, picture
from tools.registry import TOOL_NAMES

# Seconds in all; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow

BENCHMARKS = [f"lama-google-re-{number}" for number in range(30)]
INTERVAL = {"score": 17.25, "low": 12.0, "high": 21.5}
SIZES = {"base": 1_711_376_384, "finetuned": 1_711_376_384, "small": 134_515_008}


def differences(benchmarks, comparisons=("on − off",), verdict="better", **numbers) -> pl.DataFrame:
    values = {"difference": 3.2, "low": 0.4, "high": 6.1, "items": 9500} | numbers
    return pl.DataFrame(
        [
            {"benchmark": benchmark, "comparison": comparison, "verdict": verdict, **values}
            for benchmark in benchmarks
            for comparison in comparisons
        ]
    )


def by_size(benchmarks, sizes=SIZES, modes=("disabled", "enabled")) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"model": model, "parameters": size, "mode": mode, "benchmark": benchmark, **INTERVAL}
            for benchmark in benchmarks
            for model, size in sizes.items()
            for mode in modes
        ]
    )


def gains(frame: pl.DataFrame) -> Figure:
    return difference_plot(frame, "finetuned with calls, against …")


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
        [{"tool": tool, "min_reduction": value, "calls": 1} for tool in tools for value in values],
        schema={"tool": pl.String, "min_reduction": pl.Float64, "calls": pl.Int64},
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


def histogram(frame: pl.DataFrame, filtering_thresholds: Mapping[str, float] | None = None):
    in_force = dict.fromkeys(frame["tool"].unique(), 0.5)
    return loss_reduction_histogram(
        frame, in_force if filtering_thresholds is None else filtering_thresholds
    )


VALUES = [-50.0, -0.2, 0.0, 0.1, 0.4, 1.2, 60.0]
ROUGH_VALUES = [0.0, 0.33, 0.34, 2.0, -10.0, -7.0, 9.0, 10.0]
# A figure with one row, or one of each kind.
ONE_ROW = {
    gains: differences(["nq"]),
    model_size_plot: by_size(["nq"], {"base": 10**8}, ["enabled"]),
    funnel_plot: funnel(["Weather"]),
    histogram: reductions(["Weather"], VALUES * 300),
    threshold_plot: sweep(["Weather"]),
    training_curve: metrics([7], every=100),
}
THIRTY_ROWS = {
    gains: differences(BENCHMARKS[:10], ["on − off", "on − plain", "on − base"]),
    model_size_plot: by_size(["LAMA"], {f"model-{n}": 10**8 + n for n in range(15)}),
    funnel_plot: funnel(TOOL_NAMES),
    histogram: reductions(TOOL_NAMES, VALUES * 300),
    threshold_plot: sweep(TOOL_NAMES),
    training_curve: metrics(range(1, 201), every=50),
}


@pytest.mark.parametrize("plot", ONE_ROW, ids=lambda plot: plot.__name__)
def test_nothing_is_cut_off_whatever_the_number_of_rows(plot):
    for frame in (ONE_ROW[plot], THIRTY_ROWS[plot], ONE_ROW[plot].clear()):
        pixels = picture(plot(frame))
        assert_not_clipped(pixels)
        assert (pixels != 255).any()


@pytest.mark.parametrize(
    ("plot", "frame"),
    [
        (gains, differences(["nq"], verdict="unclear", difference=0.0, low=0.0, high=0.0)),
        (gains, differences(["nq"], verdict="worse", difference=-55.5, low=-100.0, high=-10.2)),
        (model_size_plot, by_size(["nq"], {"tiny": 1, "huge": 10**13})),
        (model_size_plot, by_size(["nq"]).with_columns(low=pl.col("score") + 1e-12)),
        (funnel_plot, funnel(TOOL_NAMES, [10**9] * 8)),
        *(
            (partial(histogram, filtering_thresholds=in_force), reductions(["QA"], ROUGH_VALUES))
            for in_force in ({}, *({"QA": value} for value in (0.0, 0.25, 1 / 3, 2.0, 10.0)))
        ),
        (training_curve, metrics([8])),
        (training_curve, metrics(range(5), every=100)),
        (training_curve, pl.concat([metrics(range(10)), metrics(range(20), run="$b_{")])),
        (training_curve, metrics(range(4)).with_columns(loss=pl.lit(float("nan")))),
    ],
)
def test_any_numbers_give_a_picture(plot, frame):
    assert_not_clipped(picture(plot(frame)))


@pytest.mark.parametrize(
    ("plot", "few", "many"),
    [
        (gains, differences(BENCHMARKS[:3]), differences(BENCHMARKS)),
        (model_size_plot, by_size(["nq"]), by_size(BENCHMARKS[:7])),
    ],
)
def test_more_rows_get_more_room(plot, few, many):
    assert picture(plot(few)).shape[0] < picture(plot(many), tallest=2000).shape[0]


def texts_of(plot, frame) -> list[str]:
    """What a plot writes, title and note included."""
    figure = plot(frame)
    # Ticks get their labels as they are drawn.
    png_of(figure)
    return [text.get_text() for text in figure.findobj(Text) if text.get_visible()]


@pytest.mark.parametrize(
    ("plot", "frame", "expected"),
    [
        (gains, ONE_ROW[gains], {"nq", "+3.2 (0.4 to 6.1)", "n = 9,500", "percentage points"}),
        (gains, differences(["nq"], difference=-0.04, low=-1.0), {"+0.0 (−1.0 to 6.1)"}),
        (gains, THIRTY_ROWS[gains], {*BENCHMARKS[:10], "on − off", "on − plain", "on − base"}),
        (
            model_size_plot,
            by_size(["LAMA"]),
            {"LAMA", "small (135M)", "base (1.7B)", "finetuned (1.7B)", "calls off", "calls on"},
        ),
    ],
)
def test_labels(plot, frame, expected):
    assert expected <= set(texts_of(plot, frame))


def test_one_comparison_needs_no_legend():
    assert "on − off" not in texts_of(gains, ONE_ROW[gains])


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


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("", ("matplotlib", "torch")),
        ("figures.threshold_plot(polars.DataFrame({'tool': []}))", ("matplotlib.pyplot",)),
    ],
)
def test_the_plots_import_matplotlib_late_and_leave_no_state_of_pyplot(code, absent):
    code = (
        "import sys, polars; from dagster_project.plots import evaluation_figures, figures;"
        f"{code}\nassert not {set(absent)} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
