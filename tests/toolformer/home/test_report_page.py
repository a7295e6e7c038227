"""The report in a real browser, as narrow as a phone."""

import itertools

import pytest

pytest.importorskip("playwright", reason="needs the extra `clients`")
from playwright.sync_api import Browser, ViewportSize

from tests.warehouse import rows
from tests.warehouse.rows import SAMPLED, new_warehouse, put, put_calls
from toolformer.home.report.page import write_report
from toolformer.settings.sections import Settings
from warehouse.warehouse import Warehouse

pytestmark = pytest.mark.slow

PHONE = ViewportSize(width=390, height=844)
# What is shown, letters of figures included, and does not lie on the screen.
OUTSIDE = """width => [...document.querySelectorAll("body *")].filter(element => {
  const box = element.getBoundingClientRect();
  return box.width > 0 && (box.left < -0.5 || box.right > width + 0.5);
}).map(element => `${element.tagName}: ${element.textContent.trim().slice(0, 60)}`)"""
LETTERS = """() => [...document.querySelectorAll("svg text")].map(
  element => element.getBoundingClientRect().height)"""


def fill(store: Warehouse) -> None:
    """Something for each part of the page, with long names and large numbers."""
    rows.fill(store)
    put(store, "documents", {"url": "https://example.org/" + "long/" * 30, "title": "x" * 80})
    for tool in ("Calculator", "a_tool_of_ones_own_with_a_long_name"):
        call = {"tool": tool, "arguments": "400 / 1400 " * 20, "result": "1" * 60} | SAMPLED
        put_calls(store, call, name=tool)
    for name, (model, mode, score) in itertools.product(
        ("questions-of-ones-own-about-places", "templama"),
        (("finetuned", "enabled", 1.0), ("finetuned", "disabled", 0.0), ("plain", "disabled", 0.0)),
    ):
        of_model = {"benchmark": name, "model": model, "mode": mode}
        put(store, "evaluation_results", of_model | {"score": score}, name=f"{name}.{model}.{mode}")
    for name in ("questions-of-ones-own-about-places", "templama"):
        ours = {"benchmark": name, "model": "finetuned", "mode": "enabled", "items": 12_345}
        others = [{"other_model": model} for model in ("finetuned", "plain")]
        put(store, "paired_differences", *(ours | other for other in others), name=name)
        put(store, "score_intervals", ours, name=name)
    steps = [
        {"step": step, "development_perplexity": 1234.5, "call_loss": 0.25, "is_kept": step == 900}
        for step in range(100, 1000, 100)
    ]
    runs = ("finetuning-calls-round-1", "finetuning-shuffled-round-1")
    for run in runs:
        put(store, "training_metrics", *({"run": run} | step for step in steps), name=run)


def test_everything_lies_on_the_screen_of_a_phone(browser: Browser, tmp_path):
    store = new_warehouse(tmp_path)
    fill(store)
    contents = write_report(tmp_path / "report.html", store, Settings())
    assert contents.gain_pictures
    page = browser.new_page(viewport=PHONE)
    page.goto((tmp_path / "report.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    page.locator(".call").first.focus()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert page.evaluate(OUTSIDE, PHONE["width"]) == []
    letters = page.evaluate(LETTERS)
    assert len(letters) > 20
    assert min(letters) >= 9
    page.close()
