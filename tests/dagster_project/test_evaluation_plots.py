import subprocess
import sys

import polars as pl
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from dagster_project.plots.evaluation_figures import (
    EVERY_TOOL,
    calibration_plot,
    difference_plot,
    model_size_plot,
    tool_ablation_plot,
)
from dagster_project.plots.style import png_of
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


def calibration(benchmarks, ks=(0, 1, 3, 10)) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "benchmark": benchmark,
                "call_top_k": k,
                "score": 0.2,
                "score_with_call": 0.3 if k else None,
                "score_without_call": 0.1,
                "share_with_call": k / 10,
            }
            for benchmark in benchmarks
            for k in ks
        ],
        schema_overrides={"score_with_call": pl.Float64},
    )


def ablation(benchmarks, without=(EVERY_TOOL, None, *TOOL_NAMES)) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"benchmark": benchmark, "without_tool": name, **INTERVAL}
            for benchmark in benchmarks
            for name in without
        ],
        schema_overrides={"without_tool": pl.String},
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


ONE_ROW = {
    gains: differences(["nq"]),
    calibration_plot: calibration(["nq"], [3]),
    tool_ablation_plot: ablation(["nq"], [None]),
    model_size_plot: by_size(["nq"], {"base": 10**8}, ["enabled"]),
}
THIRTY_ROWS = {
    gains: differences(BENCHMARKS[:10], ["on − off", "on − plain", "on − base"]),
    calibration_plot: calibration(BENCHMARKS[:8]),
    tool_ablation_plot: ablation(BENCHMARKS[:5]),
    model_size_plot: by_size(["LAMA"], {f"model-{n}": 10**8 + n for n in range(15)}),
}
plots = pytest.mark.parametrize("plot", ONE_ROW, ids=lambda plot: plot.__name__)


@plots
@pytest.mark.parametrize("frames", [ONE_ROW, THIRTY_ROWS], ids=["one row", "thirty rows"])
def test_nothing_is_cut_off(plot, frames):
    assert_not_clipped(picture(plot(frames[plot])))


@plots
def test_an_empty_frame_gives_a_picture(plot):
    pixels = picture(plot(ONE_ROW[plot].clear()))
    assert_not_clipped(pixels)
    assert (pixels != 255).any()


@pytest.mark.parametrize(
    ("plot", "few", "many"),
    [
        (gains, differences(BENCHMARKS[:3]), differences(BENCHMARKS)),
        (calibration_plot, calibration(["nq"]), calibration(BENCHMARKS[:12])),
        (tool_ablation_plot, ablation(["nq"], [None]), ablation(["nq"])),
        (model_size_plot, by_size(["nq"]), by_size(BENCHMARKS[:7])),
    ],
)
def test_more_rows_get_more_room(plot, few, many):
    assert picture(plot(few)).shape[0] < picture(plot(many), tallest=2000).shape[0]


@pytest.mark.parametrize(
    ("plot", "frame"),
    [
        (gains, differences(["nq"], verdict="unclear", difference=0.0, low=0.0, high=0.0)),
        (gains, differences(["nq"], verdict="worse", difference=-55.5, low=-100.0, high=-10.2)),
        (calibration_plot, calibration(["nq"]).with_columns(score=None, score_without_call=None)),
        (calibration_plot, calibration(["nq"]).with_columns(share_with_call=None)),
        (tool_ablation_plot, ablation(["nq", "dateset"])[:-4]),
        (tool_ablation_plot, ablation(["nq"]).with_columns(score=0.0, low=0.0, high=0.0)),
        (tool_ablation_plot, ablation(["nq"]).with_columns(score=100.0, low=99.0, high=100.0)),
        (model_size_plot, by_size(["nq"], {"tiny": 1, "huge": 10**13})),
        (model_size_plot, by_size(["nq"]).with_columns(low=pl.col("score") + 1e-12)),
    ],
)
def test_any_numbers_give_a_picture(plot, frame):
    assert_not_clipped(picture(plot(frame)))


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
            calibration_plot,
            calibration(["nq", "svamp"]),
            {"nq", "svamp", "0", "1", "3", "10", "all items", "where it called", "100 %"},
        ),
        (
            tool_ablation_plot,
            ablation(["nq"]),
            {"nq", "all tools", "no calls", *(f"without {name}" for name in TOOL_NAMES), "17.2"},
        ),
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


def test_all_tools_stand_first_and_no_calls_last():
    texts = texts_of(tool_ablation_plot, ablation(["nq"]))
    order = [text for text in texts if text.startswith(("all", "without", "no "))]
    assert order == ["all tools", *(f"without {name}" for name in TOOL_NAMES), "no calls"]


def test_importing_the_plots_does_not_import_matplotlib():
    code = (
        "import sys, dagster_project.plots.evaluation_figures;"
        "assert not {'matplotlib', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
