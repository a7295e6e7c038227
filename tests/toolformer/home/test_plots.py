"""Drawings of the report; builds, trainings and evaluations draw every figure."""

import base64
import re
from xml.etree import ElementTree

import polars as pl

from toolformer.home.plots.figures import threshold_plot, training_curve
from toolformer.home.plots.style import FAINT, GRID, TEXT, markdown_image, svg_of


def sweep() -> pl.DataFrame:
    kept = {"kept_calls": 9000, "kept_texts": 7, "scored_calls": 20_000, "kept_share": 0.45}
    rows = [
        {"tool": "QA", "filtering_threshold": value, **kept, "chance_calls": 9, "chance_share": 0.1}
        for value in (0.25, 0.5, 1.0, 2.0)
    ]
    return pl.DataFrame(rows)


def test_the_drawing_takes_its_ink_from_the_page_and_says_what_it_shows():
    drawing = svg_of(threshold_plot(sweep()), "thresholds")
    root = ElementTree.fromstring(drawing)
    assert root.tag.endswith("svg")
    words = " ".join(" ".join(each.itertext()).strip() for each in root.iter() if each.text)
    assert "9,000" in words
    assert "var(--text)" in drawing
    assert not {TEXT, FAINT, GRID, "#ffffff"} & set(re.findall(r"#[0-9a-f]{6}", drawing))
    assert svg_of(threshold_plot(sweep()), "thresholds") == drawing
    assert svg_of(threshold_plot(sweep()), "another name") != drawing
    # One panel alone is named by the page.
    assert "QA" not in words


def test_a_drawing_is_an_image_in_markdown_without_the_colours_of_a_page():
    image = markdown_image("QA", svg_of(threshold_plot(sweep()), "thresholds"))
    found = re.fullmatch(r"QA\n\n!\[QA\]\(data:image/svg\+xml;base64,(.+)\)", image)
    assert found
    drawing = base64.b64decode(found[1]).decode()
    assert ElementTree.fromstring(drawing).get("style") == "background: white"
    assert TEXT in drawing
    assert "var(" not in drawing


def test_the_training_curve_shows_what_the_kept_checkpoint_is_chosen_by():
    steps = pl.DataFrame(
        {
            "run": "finetuning-a",
            "step": [1, 2, 3, 4],
            "loss": [3.0, 2.5, 2.25, 2.0],
            "development_perplexity": [None, 30.0, None, 31.5],
            "call_loss": [None, 0.5, None, 0.25],
            "is_kept": [False, False, False, True],
        }
    )
    texts = [[note.get_text() for note in axes.texts] for axes in training_curve(steps).axes]
    assert texts == [[], ["kept: 31.5 at step 4"], ["kept: 0.25 at step 4"]]
    # Where no text has a call that is measured.
    without = steps.with_columns(call_loss=pl.lit(None, pl.Float64))
    assert len(training_curve(without).axes) == 2
