"""The page in a real browser, with a real server over the fake engine.

What the server cannot be made to say, the browser is given in its place.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="the page is tested with playwright")
from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from tests.toolformer.server.label_home import HOSTILE, label_home
from tests.toolformer.server.serving import Running, serving
from toolformer.home.home import Home
from toolformer.home.wiring.warehouse import open_warehouse
from toolformer.server.labelling import ADDRESS, label_routes

pytestmark = pytest.mark.slow
PHONE = {"width": 375, "height": 800}
KEY = "a-key"
# As behind a proxy.
PREFIX = "/under/a/prefix"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if (path := shutil.which("chromium")) is None:
        pytest.skip("there is no chromium on the path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


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
    page.get_by_label("Most new tokens").fill("12")
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
        "Highest 0.5 at token 3, threshold 0.25 (at token 1 threshold 0.13)."
    )
    expect(words).to_contain_text("behind the last call: max_calls (1) is used up.")
    chart = page.get_by_role("img", name="Probability of opening a call")
    expect(chart.locator("circle")).to_have_count(4)
    expect(chart.locator("circle.opened")).to_have_count(1)
    # One for the first token, one for the others.
    expect(chart.locator(".threshold")).to_have_count(2)


def test_undone_call_is_struck_through_with_its_reason(page: Page):
    _continue(page, "undo")
    call = page.locator("#with mark.undone")
    expect(call.locator("del")).to_have_text("[Calculator(1 / 0) ->")
    expect(call.locator(".reason")).to_have_text(" taken back: no result")
    expect(page.locator("#chart-text")).to_contain_text("None opens behind a call that was taken")
    expect(page.locator("#status")).to_contain_text("0 calls, 1 taken back")


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
        ([], "The answer broke off before its end. Try again."),
    ],
)
def test_error_in_mid_stream_leaves_what_was_written(page: Page, chunks, message: str):
    _answer(page, _chunk(" so far"), *chunks)
    _continue(page, "6 * 7")
    expect(page.get_by_role("alert")).to_have_text(message)
    expect(page.locator("#with")).to_have_text("6 * 7 so far (broke off)")
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
    page.get_by_label("Most new tokens").fill("500")
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
    while "most-tokens" not in reached:
        page.keyboard.press("Tab")
        active = "document.activeElement"
        names = ("id", "value", "className", "tagName")
        reached.append(page.evaluate(" || ".join(f"{active}.{name}" for name in names)))
        assert page.evaluate(f"getComputedStyle({active}).outlineStyle") != "none"
    tools = ["Calculator", "Calendar", "SUMMARY"]
    assert reached == ["continue", *["example"] * 6, *tools, "most-tokens"]


def test_empty_text_and_odd_numbers_are_not_sent(page: Page, bodies: list[dict]):
    page.get_by_role("button", name="Continue").click()
    page.get_by_label("Most new tokens").fill("513")
    _continue(page, "6 * 7")
    assert page.locator("#most-tokens:invalid").count() == 1
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


# The page of labels


@contextmanager
def labelling(browser: Browser, root: Path, **options: object) -> Iterator[Page]:
    """The page over a home with six calls; it must ask for nothing else and log nothing."""
    complaints = []
    with serving(further_routes=label_routes(label_home(root))) as running:
        address = f"http://127.0.0.1:{running.port}{ADDRESS}"

        # Before the page is there: from a loaded one, a request can slip past its first route.
        def pass_on(route: Route) -> None:
            if not route.request.url.startswith(address):
                complaints.append(f"asked {route.request.url}")
            route.continue_()

        context = browser.new_context(**options)
        context.route("**", pass_on)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        yield page
        context.close()
    # The browser itself reports every answer with an error's status.
    assert [text for text in complaints if "Failed to load resource" not in str(text)] == []


def _labels(root: Path) -> list[tuple[str, ...]]:
    statement = "select rater, tool, label from labels order by labelled_at"
    return open_warehouse(Home(root)).query(statement).rows()


def test_calls_are_judged_by_keyboard_alone(browser: Browser, tmp_path: Path):
    with labelling(browser, tmp_path) as page:
        keyboard, call = page.keyboard, page.locator("#call")
        expect(page.get_by_label("Your name")).to_be_focused()
        keyboard.type("Zoë u n")
        keyboard.press("Enter")
        expect(call).to_be_focused()
        expect(call.locator("mark")).to_have_text("Calculator(36 * 45) → 1620")
        expect(page.locator("#status")).to_have_text("")
        keyboard.press("u")
        expect(page.locator("#status")).to_contain_text("useful; its result lowers the loss by")
        expect(call.locator("mark")).to_have_text("Calendar() → Today is Friday, 4 March 2016.")
        keyboard.press("ArrowLeft")
        expect(page.get_by_role("button", name="Useful", pressed=True)).to_have_count(1)
        # A label that is corrected leads on to the first call without one.
        keyboard.press("n")
        expect(call.locator("mark")).to_contain_text("Calendar")
        keyboard.press("Tab")
        keyboard.press("Tab")
        focused = page.get_by_role("button", name="Not useful")
        expect(focused).to_be_focused()
        expect(focused).to_have_css("outline-style", "solid")
        keyboard.press("Enter")
        expect(page.locator("#progress")).to_have_text("2 of 6 judged by Zoë u n.")
        # What a stranger wrote stays text.
        expect(call).to_contain_text(HOSTILE)
        expect(call.locator("img, script")).to_have_count(0)
        page.reload()
        expect(page.locator("#progress")).to_have_text("2 of 6 judged by Zoë u n.")
        for number in range(3, 7):
            keyboard.press("s")
            expect(page.locator("#progress")).to_contain_text(f"{number} of 6")
        expect(call).to_have_text("All of these calls are judged.")
        keyboard.press("u")
    assert _labels(tmp_path) == [
        ("Zoë u n", "Calculator", "useful"),
        ("Zoë u n", "Calculator", "not_useful"),
        ("Zoë u n", "Calendar", "not_useful"),
        *(("Zoë u n", tool, "unsure") for tool in ("QA", "Calculator", "Calendar", "QA")),
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_calls_are_judged_on_a_phone(browser: Browser, tmp_path: Path, scheme: str):
    phone = {"viewport": PHONE, "has_touch": True, "is_mobile": True, "color_scheme": scheme}
    with labelling(browser, tmp_path, **phone) as page:
        for name, sentence in {" ": "rater is ''", "x" * 61: "Expected a name of 1 to 60"}.items():
            page.get_by_label("Your name").fill(name)
            page.get_by_role("button", name="Begin").tap()
            expect(page.get_by_role("alert")).to_contain_text(sentence)
        page.get_by_label("Your name").fill("Bo")
        page.get_by_role("button", name="Begin").tap()
        expect(page.get_by_role("alert")).to_have_text("")
        for name in ("Useful", "Not useful", "Unsure"):
            button = page.get_by_role("button", name=name, exact=True)
            expect(button).to_be_in_viewport(ratio=1)
            box = button.bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) >= 44
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert min(page.evaluate(_CONTRASTS).values()) >= 4.5
        page.get_by_role("button", name="Not useful").tap()
        expect(page.locator("#progress")).to_have_text("1 of 6 judged by Bo.")
        page.get_by_role("button", name="Back").tap()
        page.get_by_role("button", name="Useful", exact=True).tap()
        expect(page.locator("#call mark")).to_contain_text("Calendar")
        expect(page.locator("#progress")).to_have_text("1 of 6 judged by Bo.")
        page.get_by_role("button", name="Someone else?").tap()
        page.get_by_label("Your name").fill("Cy")
        page.get_by_role("button", name="Begin").tap()
        expect(page.locator("#progress")).to_have_text("0 of 6 judged by Cy.")
    assert _labels(tmp_path) == [
        ("Bo", "Calculator", "not_useful"),
        ("Bo", "Calculator", "useful"),
    ]


def test_a_label_that_was_not_stored_leaves_its_call(browser: Browser, tmp_path: Path):
    with labelling(browser, tmp_path) as page:
        page.get_by_label("Your name").fill("Anna")
        page.get_by_role("button", name="Begin").click()
        expect(page.locator("#call mark")).to_contain_text("Calculator")
        page.route("**/label", lambda route: route.fulfill(status=500, json={}), times=1)
        page.keyboard.press("n")
        expect(page.get_by_role("alert")).to_contain_text("The server answered with status 500.")
        expect(page.locator("#progress")).to_have_text("0 of 6 judged by Anna.")
        page.keyboard.press("n")
        expect(page.locator("#progress")).to_have_text("1 of 6 judged by Anna.")
        expect(page.get_by_role("alert")).to_have_text("")
    assert _labels(tmp_path) == [("Anna", "Calculator", "not_useful")]
