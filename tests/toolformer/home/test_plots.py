"""Plots as files of a home, and the links to them; drawings of the report.

Builds, trainings and evaluations draw every figure.
"""

import re
from xml.etree import ElementTree

import polars as pl
import pytest
from matplotlib.figure import Figure
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from dagster_project.commands.web_server import with_own_pages
from toolformer.home.home import Home
from toolformer.home.plots import files
from toolformer.home.plots.figures import threshold_plot, training_curve
from toolformer.home.plots.files import plot_links
from toolformer.home.plots.style import FAINT, GRID, TEXT, new_figure, png_of, svg_of


def drawn(title: str) -> Figure:
    return new_figure(3, 1, title)


def links(home: Home, title: str, partition: str | None = None) -> dict[str, str]:
    shown = plot_links(home, "stage", {"A plot, of τ": drawn(title)}, partition=partition)
    return {name: str(each.value) for name, each in shown.items()}


@pytest.fixture
def server(home: Home) -> TestClient:
    """A server whose own page answers every address, as Dagster's does."""

    async def page(_request: object) -> PlainTextResponse:
        return PlainTextResponse("page of Dagster")

    return TestClient(with_own_pages(Starlette(routes=[Route("/{path:path}", page)])))


def test_a_link_opens_its_plot_which_no_later_run_and_no_other_partition_changes(
    home: Home, server: TestClient
):
    runs = (("one", None), ("two", None), ("one", "a"), ("three", "b"))
    places = [links(home, title, partition)["A plot, of τ"] for title, partition in runs]
    for place, (title, _) in zip(places, runs, strict=True):
        answer = server.get(place)
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
        assert answer.content == png_of(drawn(title))
    assert len({*places}) == 4
    # The same content makes no new file.
    assert links(home, "one")["A plot, of τ"] == places[0]
    assert len(list(home.plots.rglob("*.png"))) == 4


@pytest.mark.parametrize(
    "path",
    [
        "%2e%2e/toolformer.yaml",
        "stage/..%2f..%2ftoolformer.yaml",
        "%2fetc%2fpasswd",
        "link/toolformer.yaml",
        "stage",
    ],
)
def test_nothing_but_files_of_the_plots_is_served(path: str, home: Home, server: TestClient):
    links(home, "one")
    home.settings_file.write_text("preset: laptop")
    (home.plots / "link").symlink_to(home.root)
    answer = server.get(f"/toolformer/plots/{path}")
    assert answer.status_code == 404
    assert answer.text.startswith("This plot is not there. Of each plot the newest 20 are kept")


def test_the_newest_pictures_of_each_plot_stay(home: Home, monkeypatch):
    monkeypatch.setattr(files, "KEPT", 2)
    for title in ("one", "two", "three", "two"):
        places = [links(home, title, partition)["A plot, of τ"] for partition in (None, "a")]
    longer = plot_links(home, "stage", {"A plot, of τ, longer": drawn("four")})
    kept = {file.relative_to(home.plots / "stage") for file in home.plots.rglob("*.png")}
    assert len(kept) == 2 + 2 + 1
    # Drawn again, the second is newer than the third.
    links(home, "five")
    for place in (*places, str(longer["A plot, of τ, longer"].value)):
        assert (home.plots / place.removeprefix("/toolformer/plots/")).is_file()


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
