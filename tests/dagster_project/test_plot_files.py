"""Plots as files of a home, and the links to them."""

import pytest
from matplotlib.figure import Figure
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from dagster_project.commands.web_server import with_own_pages
from dagster_project.home import Home
from dagster_project.plots.files import plot_links
from dagster_project.plots.style import new_figure, png_of


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


def test_a_link_opens_the_plot(home: Home, server: TestClient):
    shown = links(home, "one")
    assert shown["folder of the plots"] == str(home.plots / "stage")
    answer = server.get(shown["A plot, of τ"])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.content == png_of(drawn("one"))


def test_a_later_run_or_another_partition_changes_no_earlier_plot(home: Home, server: TestClient):
    places = [
        links(home, title, partition)["A plot, of τ"]
        for title, partition in (("one", None), ("two", None), ("one", "a"), ("three", "b"))
    ]
    titles = ("one", "two", "one", "three")
    assert [server.get(place).content for place in places] == [
        png_of(drawn(title)) for title in titles
    ]
    assert len({*places}) == 4
    # The same content makes no new file.
    assert links(home, "one")["A plot, of τ"] == places[0]
    assert len(list(home.plots.rglob("*"))) == 4 + len(("stage", "a", "b"))


@pytest.mark.parametrize(
    "path",
    [
        "%2e%2e/toolformer.yaml",
        "stage/..%2f..%2ftoolformer.yaml",
        "%2fetc%2fpasswd",
        "link/toolformer.yaml",
        "stage",
        "",
        "stage/none.png",
    ],
)
def test_nothing_but_files_of_the_plots_is_served(path: str, home: Home, server: TestClient):
    links(home, "one")
    home.settings_file.write_text("preset: laptop")
    (home.plots / "link").symlink_to(home.root)
    answer = server.get(f"/toolformer/plots/{path}")
    assert (answer.status_code, answer.text) == (404, "Not Found")
