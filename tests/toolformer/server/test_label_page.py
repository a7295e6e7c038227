"""The page of labels in a real browser."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs the extra `clients`")
from playwright.sync_api import Browser, Page, Route, expect

from tests.toolformer.server.label_home import HOSTILE, label_home
from tests.toolformer.server.serving import serving
from tests.toolformer.server.test_page import CONTRASTS, PHONE
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import open_warehouse
from toolformer.server.labelling import ADDRESS, label_routes

pytestmark = pytest.mark.slow


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


def test_calls_are_judged_by_keyboard_alone(browser: Browser, tmp_path):
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
def test_calls_are_judged_on_a_phone(browser: Browser, tmp_path, scheme: str):
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
        assert min(page.evaluate(CONTRASTS).values()) >= 4.5
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
    assert _labels(tmp_path) == [("Bo", "Calculator", "not_useful"), ("Bo", "Calculator", "useful")]


def test_a_label_that_was_not_stored_leaves_its_call(browser: Browser, tmp_path):
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
