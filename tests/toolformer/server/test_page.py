"""The page in a real browser, with a real server over the fake engine.

What the server cannot be made to say, the browser is given in its place.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("playwright", reason="needs the extra `clients`")
from playwright.sync_api import Browser, Page, Route, expect

from tests.toolformer.server.serving import Running, serving

pytestmark = pytest.mark.slow
PHONE = {"width": 375, "height": 800}
KEY = "a-key"
# As behind a proxy.
PREFIX = "/under/a/prefix"
HOSTILE = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"


@pytest.fixture
def server() -> Iterator[Running]:
    with serving() as running:
        yield running


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console was told; the test's page must leave it empty."""
    return []


@pytest.fixture
def bodies() -> list[dict[str, Any]]:
    """What the page has posted."""
    return []


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(
    browser: Browser, server: Running, complaints: list[str], bodies: list[dict[str, Any]]
) -> Iterator[OpenPage]:
    contexts = []

    def open_it(running: Running = server, **options: object) -> Page:
        address = f"http://127.0.0.1:{running.port}"

        def pass_on(route: Route) -> None:
            if not route.request.url.startswith(f"{address}{PREFIX}/"):
                complaints.append(f"asked {route.request.url}")
            if route.request.method == "POST":
                bodies.append(route.request.post_data_json)
            route.continue_(url=route.request.url.replace(PREFIX, ""))

        context = browser.new_context(**options)
        contexts.append(context)
        context.route("**", pass_on)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{address}{PREFIX}/")
        expect(page.locator("#examples button")).to_have_count(6)
        return page

    yield open_it
    for context in contexts:
        context.close()


@pytest.fixture
def page(open_page: OpenPage, complaints: list[str]) -> Iterator[Page]:
    yield open_page()
    # The browser itself reports every answer with an error's status, and every lost connection.
    ours = [text for text in complaints if not text.startswith("Failed to load resource")]
    assert ours == []


def _answer(page: Page, *chunks: dict[str, Any] | str) -> None:
    """The next text with calls is continued by these chunks; one without calls by the server."""

    def answer(route: Route) -> None:
        if route.request.post_data_json["tools"] == "off":
            return route.fallback()
        events = (chunk if isinstance(chunk, str) else json.dumps(chunk) for chunk in chunks)
        body = "".join(f"data: {event}\n\n" for event in events)
        return route.fulfill(content_type="text/event-stream", body=body)

    page.route("**/v1/completions", answer)


def _chunk(
    text: str = "", kind: str = "sampled", finish: str | None = None, **further: Any
) -> dict:
    tokens = [{"text": text, "kind": kind, "call_probability": 0.2}]
    choice = {"text": text, "finish_reason": finish, "toolformer": {"tokens": tokens, **further}}
    return {"choices": [choice]}


def _answer_hostile(page: Page) -> None:
    fields = ("tool", "arguments", "result", "text", "reason")
    call = {**dict.fromkeys(fields, HOSTILE), "milliseconds": 12.34, "undone": False}
    calls = [_chunk("", "trigger", call=call), _chunk("", "undone", call=call | {"undone": True})]
    _answer(page, _chunk(HOSTILE), *calls, _chunk(finish="stop"), "[DONE]")


def _continue(page: Page, prompt: str) -> None:
    page.get_by_label("Beginning of the text").fill(prompt)
    page.get_by_role("button", name="Continue").click()


def test_typed_text_is_continued_with_and_without_tools(page: Page, bodies: list[dict]):
    page.get_by_label("Maximum new tokens").fill("12")
    page.get_by_label("Calendar").uncheck()
    page.get_by_label("Beginning of the text").press_sequentially("6 * 7 is:")
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("#status")).to_contain_text("The text ended: 1 call, ")
    expect(page.locator("#with")).to_contain_text("ms 42.")
    expect(page.locator("#without")).to_have_text("6 * 7 is: It is 42.")
    same = {"model": "tiny/model", "prompt": "6 * 7 is:", "max_tokens": 12, "stream": True}
    assert sorted(bodies, key=len) == [
        {**same, "tools": "off"},
        {**same, "tools": ["Calculator"], "call_probabilities": True},
    ]


def test_call_and_chart_are_told_in_words(page: Page):
    _continue(page, "6 * 7")
    expect(page.locator("#status")).to_contain_text("ended")
    call = re.compile(r"Call: Calculator\(6 \* 7\) → 42 [\d.]+ ms")
    expect(page.locator("#with mark.call")).to_have_text(call)
    expect(page.locator("#announcement")).to_contain_text(call)
    words = page.locator("#chart-text")
    expect(words).to_contain_text(
        "Highest probability: 0.5 at token 3. Threshold: 0.25 (token 1: 0.13)."
    )
    expect(words).to_contain_text("No more calls open, since max_calls (1) is reached.")
    chart = page.get_by_role("img", name="Probability of opening a call")
    expect(chart.locator("circle")).to_have_count(4)
    expect(chart.locator("circle.opened")).to_have_count(1)
    # One for the first token, one for the others.
    expect(chart.locator(".threshold")).to_have_count(2)


def test_undone_call_is_struck_through_with_its_reason(page: Page):
    _continue(page, "undo")
    call = page.locator("#with mark.undone")
    expect(call.locator("del")).to_have_text("[Calculator(1 / 0) ->")
    expect(call.locator(".reason")).to_have_text(" removed: no result")
    expect(page.locator("#chart-text")).to_contain_text("No call opens after one has been removed.")
    expect(page.locator("#status")).to_contain_text("0 calls, 1 removed")


def test_a_text_that_ends_at_once_says_what_the_model_expects(page: Page):
    _continue(page, "silent")
    for pane in ("#with", "#without"):
        expect(page.locator(f"{pane} em")).to_contain_text("send the beginning of a sentence")


def test_hostile_text_stays_text(page: Page):
    _answer_hostile(page)
    _continue(page, HOSTILE)
    expect(page.locator("#status")).to_contain_text("ended")
    expect(page.locator("#with")).to_contain_text(HOSTILE)
    expect(page.locator("mark .result")).to_have_text(HOSTILE)
    assert page.locator("#with img, #with script").count() == 0
    assert page.title() == "Toolformer: watch calls happen"


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"status": 429, "json": {"error": {"message": "It is full."}}}, "It is full."),
        ({"status": 502, "body": "<h1>Bad gateway"}, "The server answered with status 502."),
    ],
)
def test_refusal_is_announced_once_in_the_words_of_the_server(page: Page, answer, message: str):
    page.route("**/v1/completions", lambda route: route.fulfill(**answer), times=2)
    _continue(page, "refused")
    expect(page.get_by_role("alert")).to_have_text(message)
    expect(page.locator("#stop")).to_be_disabled()
    _continue(page, "6 * 7")
    expect(page.locator("#status")).to_contain_text("ended")
    expect(page.get_by_role("alert")).to_be_empty()


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([{"error": {"message": "The model failed."}}], "The model failed."),
        ([], "The answer was interrupted. Try again."),
    ],
)
def test_error_in_mid_stream_leaves_what_was_written(page: Page, chunks, message: str):
    _answer(page, _chunk(" so far"), *chunks)
    _continue(page, "6 * 7")
    expect(page.get_by_role("alert")).to_have_text(message)
    expect(page.locator("#with")).to_have_text("6 * 7 so far (interrupted)")
    expect(page.locator("#without")).to_contain_text("It is 42.")


def test_key_is_asked_for_after_401_only(open_page: OpenPage):
    assert not open_page().get_by_label("API key").is_visible()
    with serving(key=KEY) as locked:
        page = open_page(locked)
        expect(page.get_by_role("alert")).to_contain_text("The key is missing")
        field = page.get_by_label("API key")
        expect(field).to_be_focused()
        field.fill(KEY)
        field.press("Enter")
        expect(page.locator("#model")).to_have_text("tiny/model")
        expect(field).to_be_hidden()
        assert page.evaluate("[Object.values(sessionStorage), localStorage.length]") == [[KEY], 0]
        _continue(page, "6 * 7")
        expect(page.locator("#status")).to_contain_text("ended")


def test_stop_and_new_text_abort_both_requests(page: Page, server: Running):
    page.get_by_label("Maximum new tokens").fill("500")
    _continue(page, "slow")
    expect(page.locator("#with")).to_contain_text("on on")
    expect(page.locator("#without")).to_contain_text("on on")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_have_text("Stopped.")
    expect(page.get_by_role("button", name="Continue")).to_be_focused()
    assert server.batch.is_idle_soon()
    expect(page.get_by_role("alert")).to_be_empty()
    _continue(page, "slow")
    expect(page.locator("#without")).to_contain_text("on on")
    _continue(page, "6 * 7")
    expect(page.locator("#status")).to_contain_text("ended")
    assert server.batch.is_idle_soon()
    assert "on on" not in page.locator("#answers").inner_text()


def test_examples_are_those_that_the_model_was_measured_to_get_right(open_page: OpenPage):
    own = [("Calculator", "Six rows of 14 make 6 * 14 ="), ("QA", "A tool that is not here")]
    own += [("Calculator", f"{number} * 7 =") for number in range(8)]
    with serving(examples=own) as measured:
        page = open_page(measured)
        shown = page.locator("#examples button span").all_inner_texts()
    wanted = [text for tool, text in own if tool == "Calculator"][:6]
    assert shown == [f"{text} …" for text in wanted]


def test_answer_to_an_example_is_in_sight_on_a_phone(open_page: OpenPage):
    page = open_page(viewport=PHONE)
    _continue(page, "6 * 7")
    page.locator("#examples button").last.click()
    expect(page.locator("#status")).to_be_in_viewport()


def test_keyboard_is_enough(page: Page):
    page.keyboard.press("Tab")
    page.keyboard.type("slow")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#with")).to_contain_text("on on")
    page.keyboard.press("Escape")
    expect(page.locator("#status")).to_have_text("Stopped.")
    reached = []
    while "max-tokens" not in reached:
        page.keyboard.press("Tab")
        active = "document.activeElement"
        names = ("id", "value", "className", "tagName")
        reached.append(page.evaluate(" || ".join(f"{active}.{name}" for name in names)))
        assert page.evaluate(f"getComputedStyle({active}).outlineStyle") != "none"
    tools = ["Calculator", "Calendar", "SUMMARY"]
    assert reached == ["continue", *["example"] * 6, *tools, "max-tokens"]


def test_empty_text_and_odd_numbers_are_not_sent(page: Page, bodies: list[dict]):
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Maximum new tokens").fill("513")
    _continue(page, "6 * 7")
    assert page.locator("#max-tokens:invalid").count() == 1
    assert bodies == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, {"width": 1400, "height": 900}], ids=["phone", "wide"])
def test_texts_are_legible_and_fit(open_page: OpenPage, scheme: str, size: dict):
    page = open_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    _answer_hostile(page)
    _continue(page, HOSTILE)
    expect(page.locator("#status")).to_contain_text("ended")
    widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    scrolled, visible = page.evaluate(widths)
    assert scrolled == visible
    is_dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 21, 26)"
    assert is_dark == (scheme == "dark")
    boxes = [page.locator(name).bounding_box() for name in ("#with", "#without")]
    assert (boxes[1]["y"] > boxes[0]["y"]) == (size == PHONE)
    assert min(page.evaluate(CONTRASTS).values()) >= 4.5


# The least contrast (WCAG 2) of each class of text with the first opaque background behind it.
CONTRASTS = """() => {
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
