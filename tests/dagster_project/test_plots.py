"""Drawings of the report; builds, trainings and studies draw every figure."""

import re
from xml.etree import ElementTree

import polars as pl

from dagster_project.plots.figures import threshold_plot
from dagster_project.plots.style import FAINT, GRID, TEXT, svg_of


def sweep(*tools: str) -> pl.DataFrame:
    kept = {"kept_calls": 9000, "kept_texts": 7, "scored_calls": 20_000, "kept_share": 0.45}
    rows = [
        {"tool": tool, "filtering_threshold": value, **kept, "chance_calls": 9, "chance_share": 0.1}
        for tool in tools
        for value in (0.25, 0.5, 1.0, 2.0)
    ]
    return pl.DataFrame(rows)


def test_the_drawing_takes_its_ink_from_the_page_and_says_what_it_shows():
    drawing = svg_of(threshold_plot(sweep("QA", "MT")), "thresholds")
    root = ElementTree.fromstring(drawing)
    assert root.tag.endswith("svg")
    words = " ".join(" ".join(each.itertext()).strip() for each in root.iter() if each.text)
    assert "QA" in words
    assert "9,000" in words
    assert "var(--text)" in drawing
    assert not {TEXT, FAINT, GRID, "#ffffff"} & set(re.findall(r"#[0-9a-f]{6}", drawing))
    assert svg_of(threshold_plot(sweep("QA", "MT")), "thresholds") == drawing
    assert svg_of(threshold_plot(sweep("QA", "MT")), "another name") != drawing
    # One panel alone is named by the page.
    assert "QA" not in svg_of(threshold_plot(sweep("QA")), "thresholds")
