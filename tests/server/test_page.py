"""The page in a real browser, against scripted answers."""

import shutil
import time
from collections.abc import Callable, Iterator

import pytest

pytest.importorskip("playwright", reason="the page is tested with playwright")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.server.page_server import HOSTILE, KEY, REFUSALS, StubServer

pytestmark = pytest.mark.slow
PHONE = {"width": 375, "height": 800}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if (path := shutil.which("chromium")) is None:
        pytest.skip("there is no chromium on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def server() -> Iterator[StubServer]:
    with StubServer().running() as server:
        yield server


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console was told; the test's page must leave it empty."""
    return []


@pytest.fixture
def open_page(
    browser: Browser, server: StubServer, complaints: list[str]
) -> Iterator[Callable[..., Page]]:
    contexts = []

    def open_it(**options: object) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(5000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: _check_same_host(asked.url, server, complaints))
        page.goto(server.address)
        expect(page.locator("#examples button")).to_have_count(6)
        return page

    yield open_it
    for context in contexts:
        context.close()


def _check_same_host(url: str, server: StubServer, complaints: list[str]) -> None:
    if not url.startswith(server.address):
        complaints.append(f"asked {url}")


@pytest.fixture
def page(open_page: Callable[..., Page], complaints: list[str]) -> Iterator[Page]:
    yield open_page()
    # The browser itself reports every answer with an error's status, and every lost connection.
    ours = [text for text in complaints if not text.startswith("Failed to load resource")]
    assert ours == []


def _continue(page: Page, prompt: str) -> None:
    page.get_by_label("Beginning of the text").fill(prompt)
    page.get_by_role("button", name="Continue").click()


def test_typed_text_is_continued_with_and_without_tools(page: Page, server: StubServer):
    page.get_by_label("Most new tokens").fill("12")
    page.get_by_label("Calendar").uncheck()
    page.get_by_label("Beginning of the text").press_sequentially("a call")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("#status")).to_contain_text("The text ended: 1 call, ")
    expect(page.locator("#with")).to_contain_text("784 apples left, which is more than before.")
    expect(page.locator("#without")).to_have_text("a call about 700 apples.")
    same = {"model": "stub-model", "prompt": "a call", "max_tokens": 12, "stream": True}
    assert sorted(server.bodies, key=len) == [
        {**same, "tools": "off"},
        {**same, "tools": ["Calculator", "QA"], "call_probabilities": True},
    ]


def test_call_and_chart_are_told_in_words(page: Page):
    _continue(page, "a call")
    expect(page.locator("#status")).to_contain_text("ended")
    call = page.locator("#with mark.call")
    expect(call).to_have_text("Call: Calculator(1240 - 456) → 784 12 ms")
    expect(page.locator("#announcement")).to_contain_text("Call: Calculator(1240 - 456) → 784")
    words = page.locator("#chart-text")
    expect(words).to_contain_text("Highest 0.42 at token 3, threshold 0.03.")
    expect(words).to_contain_text("behind the last call: max_calls (1) is used up.")
    chart = page.get_by_role("img", name="Probability of opening a call")
    expect(chart.locator("circle")).to_have_count(11)
    expect(chart.locator("circle.opened")).to_have_count(1)
    expect(chart.locator(".threshold")).to_have_count(1)


def test_undone_call_is_struck_through_with_its_reason(page: Page):
    _continue(page, "an undone call")
    call = page.locator("mark.undone")
    expect(call.locator("del")).to_have_text("[Calculator(1 / 0)")
    expect(call.locator(".reason")).to_have_text(" taken back: no result")
    expect(page.locator("#chart-text")).to_contain_text("None opens behind a call that was taken")
    expect(page.locator("#status")).to_contain_text("0 calls, 1 taken back")


def test_hostile_text_stays_text(page: Page):
    _continue(page, "hostile")
    expect(page.locator("#status")).to_contain_text("ended")
    expect(page.locator("#with")).to_contain_text(HOSTILE)
    expect(page.locator("mark .result")).to_have_text(HOSTILE)
    assert page.locator("#with img, #with script").count() == 0
    assert page.title() == "Toolformer: watch calls happen"


@pytest.mark.parametrize("prompt", REFUSALS)
def test_refusal_is_announced_once_in_the_words_of_the_server(page: Page, prompt: str):
    _continue(page, prompt)
    expect(page.get_by_role("alert")).to_have_text(REFUSALS[prompt][1])
    expect(page.locator("#stop")).to_be_disabled()
    _continue(page, "a call")
    expect(page.locator("#status")).to_contain_text("ended")
    expect(page.get_by_role("alert")).to_be_empty()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("error in mid-stream", "The model failed."),
        ("broken off", "The answer broke off before its end. Try again."),
    ],
)
def test_error_in_mid_stream_leaves_what_was_written(page: Page, prompt: str, message: str):
    _continue(page, prompt)
    expect(page.get_by_role("alert")).to_have_text(message)
    expect(page.locator("#with")).to_have_text(f"{prompt} so far (broke off)")
    expect(page.locator("#without")).to_contain_text("about 700 apples.")


def test_key_is_asked_for_after_401_only(open_page: Callable[..., Page], server: StubServer):
    assert not open_page().get_by_label("API key").is_visible()
    server.needs_key = True
    page = open_page()
    expect(page.get_by_role("alert")).to_have_text("The key is missing.")
    field = page.get_by_label("API key")
    expect(field).to_be_focused()
    field.fill(KEY)
    field.press("Enter")
    expect(page.locator("#model")).to_have_text("stub-model")
    expect(field).to_be_hidden()
    assert page.evaluate("[Object.values(sessionStorage), localStorage.length]") == [[KEY], 0]
    _continue(page, "a call")
    expect(page.locator("#status")).to_contain_text("ended")


def test_stop_and_new_text_abort_both_requests(page: Page, server: StubServer):
    _continue(page, "endless")
    expect(page.locator("#with")).to_contain_text("on and on")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_have_text("Stopped.")
    expect(page.get_by_role("button", name="Continue")).to_be_focused()
    _wait_until(lambda: server.left == ["endless"] * 2)
    expect(page.get_by_role("alert")).to_be_empty()
    _continue(page, "endless")
    expect(page.locator("#with")).to_contain_text("on and on")
    _continue(page, "a call")
    expect(page.locator("#status")).to_contain_text("ended")
    _wait_until(lambda: server.left == ["endless"] * 4)
    assert "on and on" not in page.locator("#answers").inner_text()


def _wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_answer_to_an_example_is_in_sight_on_a_phone(open_page: Callable[..., Page]):
    page = open_page(viewport=PHONE)
    _continue(page, "a call")
    page.locator("#examples button").last.click()
    expect(page.locator("#status")).to_be_in_viewport()


def test_keyboard_is_enough(page: Page, server: StubServer):
    page.keyboard.press("Tab")
    page.keyboard.type("endless")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#with")).to_contain_text("on and on")
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text("Stopped.")
    reached = []
    while "most-tokens" not in reached:
        page.keyboard.press("Tab")
        active = "document.activeElement"
        names = ("id", "value", "className", "tagName")
        reached.append(page.evaluate(" || ".join(f"{active}.{name}" for name in names)))
        assert page.evaluate(f"getComputedStyle({active}).outlineStyle") != "none"
    tools = ["Calculator", "Calendar", "QA"]
    assert reached == ["continue", *["example"] * 6, *tools, "SUMMARY", "most-tokens"]


def test_empty_text_and_odd_numbers_are_not_sent(page: Page, server: StubServer):
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Most new tokens").fill("201")
    _continue(page, "a call")
    assert page.locator("#most-tokens:invalid").count() == 1
    assert server.bodies == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, {"width": 1400, "height": 900}], ids=["phone", "wide"])
def test_texts_are_legible_and_fit(open_page: Callable[..., Page], scheme: str, size: dict):
    page = open_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    _continue(page, "hostile")
    expect(page.locator("#status")).to_contain_text("ended")
    widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    scrolled, visible = page.evaluate(widths)
    assert scrolled == visible
    is_dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 21, 26)"
    assert is_dark == (scheme == "dark")
    boxes = [page.locator(name).bounding_box() for name in ("#with", "#without")]
    assert (boxes[1]["y"] > boxes[0]["y"]) == (size == PHONE)
    assert min(page.evaluate(_CONTRASTS).values()) >= 4.5


# The least contrast (WCAG 2) of each class of text with the first opaque background behind it.
_CONTRASTS = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => parts(colour).slice(0, 3).map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (node) => {
    const colour = getComputedStyle(node).backgroundColor;
    return parts(colour)[3] === 0 && node.parentElement ? behind(node.parentElement) : colour;
  };
  const contrasts = {};
  for (const node of document.querySelectorAll("body *:not(svg *):not(:disabled)")) {
    if (!node.checkVisibility() || !node.textContent.trim()) continue;
    const both = [light(getComputedStyle(node).color), light(behind(node))];
    const name = `${node.tagName} ${node.className}`;
    const contrast = (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    contrasts[name] = Math.min(contrasts[name] ?? 21, contrast);
  }
  return contrasts;
}"""
