"""Every figure of the UI and the report, drawn."""

import re
from collections.abc import Mapping
from xml.etree import ElementTree

import polars as pl
import pytest
from matplotlib.figure import Figure

from dagster_project.plots.evaluation_figures import difference_plot, model_size_plot
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
# A figure with one row, or one of each kind.
ONE_ROW = {
    gains: differences(["nq"]),
    model_size_plot: by_size(["nq"], {"base": 10**8}, ["enabled"]),
    funnel_plot: funnel(["Weather"]),
    histogram: reductions(["Weather"], VALUES * 300),
    threshold_plot: sweep(["Weather"]),
    training_curve: metrics([7], every=100),
}
MANY_ROWS = {
    gains: differences(BENCHMARKS[:10], ["on − off", "on − plain", "on − base"]),
    model_size_plot: by_size(["LAMA"], {f"model-{n}": 10**8 + n for n in range(15)}),
    funnel_plot: funnel(TOOL_NAMES),
    histogram: reductions(TOOL_NAMES, VALUES * 300),
    threshold_plot: sweep(TOOL_NAMES),
    training_curve: metrics(range(1, 201), every=50),
}


@pytest.mark.parametrize("plot", ONE_ROW, ids=lambda plot: plot.__name__)
def test_nothing_is_cut_off_whatever_the_number_of_rows(plot):
    for frame in (ONE_ROW[plot], MANY_ROWS[plot], ONE_ROW[plot].clear()):
        pixels = picture(plot(frame))
        assert_not_clipped(pixels)
        assert (pixels != 255).any()


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
