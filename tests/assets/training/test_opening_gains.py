"""Openings of development texts measured with a tiny network and tools that note who asks."""

import datetime
from pathlib import Path

import pytest

from assets.training import opening_gains
from assets.training.development_texts import DevelopmentText
from assets.training.opening_gains import measure_openings
from tests import literal
from tests.fakes import taught_model
from toolformer import reference
from toolformer.calls import call_ids
from toolformer.decoding.opening_thresholds import Opening, sampled
from toolformer.forward.windows import Window
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import Workspace
from toolformer.loss_weights import window_weights
from toolformer.settings.sections import Settings
from toolformer.training.chats import window_in_context
from tools.base import Tool
from tools.errors import ToolCallError
from tools.protocol import Document, ToolCall
from tools.running.deadlines import MAX_FAILURES_IN_A_ROW

LESSONS = (
    "The boat [Search(boat) -> a red boat] a red boat came in.",
    "What floats?\nThe boat [Search(boat) -> a red boat] a red boat came in.",
    "The lamp [Search(lamp) -> a lamp of brass] a lamp of brass fell.",
    "The note [7] was lost.",
)
BOAT = Document(
    "boat",
    "The boat a red boat came in.",
    url="https://example.org/2020/05/04/boat",
    title="Boats",
    published_on=datetime.date(2021, 1, 2),
)
LAMP = Document("lamp", "Of what it was made: The lamp a lamp of brass fell.", title="Lamps")
NOTE = Document("note", "The note was lost.")
OVERRIDES = {
    "decoding": {"call_top_k": 5},
    "scoring": {"window_tokens": 8, "window_weights": "linear", "token_budget": 64},
    "execution": {"uses_cache": False, "attempts": 1},
}
WEIGHTS = list(window_weights(8, are_linear=True))


class Search(Tool):
    """Answers by a table, but never with the article that asks."""

    name = "Search"
    version = "1"
    description = "Finds."

    def __init__(self, **changes: str):
        self.answers = {"boat": "a red boat", "lamp": "a lamp of brass", **changes}
        self.asked: list[tuple[str, Document]] = []

    def call(self, arguments: str, document: Document) -> str:
        self.asked.append((arguments, document))
        answer = self.answers.get(arguments)
        if answer is None or answer == document.title:
            raise ToolCallError("not_found", "nothing")
        return answer


@pytest.fixture(autouse=True)
def every_opening(monkeypatch):
    """All openings of these few texts are measured."""
    monkeypatch.setattr(opening_gains, "_OTHERS_PER_TEXT", 100)


@pytest.fixture(scope="module")
def pupil():
    return taught_model(LESSONS)


def text_of(model, document: Document, *, start: int = 0, kept: int | None = None):
    text = document.text[start:]
    ids, offsets = model.tokenizer.encode_with_offsets(text)
    # The second of its document, where it does not begin with it.
    window = Window(document.document_id, int(start > 0), start, text, tuple(ids), tuple(offsets))
    return DevelopmentText(window, document, {} if kept is None else {kept: "Search"})


def texts_of(model) -> list[DevelopmentText]:
    at = len("The boat")
    return [
        text_of(model, BOAT, kept=at),
        text_of(model, LAMP, start=LAMP.text.index("The lamp"), kept=at + 1),
        text_of(model, NOTE),
    ]


def measured(model, tool: Tool, tmp_path: Path, texts=None) -> tuple[list[Opening], int]:
    return measure_openings(
        texts_of(model) if texts is None else texts,
        {tool.name: tool},
        lambda: model,
        Workspace(Settings.model_validate(OVERRIDES), Home(tmp_path)),
        progress_of=lambda step: lambda done, total: None,
    )


def literal_gain(model, text: DevelopmentText, position: int, call: ToolCall, result: str) -> float:
    ids = list(text.window.ids)
    written = call_ids(model.tokenizer, call, result)
    alone, with_call = (
        literal.form_loss(model, of_call, ids, position, WEIGHTS, is_inline=True)
        for of_call in ([], written)
    )
    return alone - with_call


def likeliest(openings: list[Opening]) -> Opening:
    return max(openings, key=lambda opening: opening.probability)


def test_gains_are_those_of_the_models_own_calls_with_the_tools_results(pupil, tmp_path):
    tool = Search()
    texts = texts_of(pupil)
    found = [measured(pupil, tool, tmp_path, [text])[0] for text in texts]
    # The tool is asked as in annotation: for the document of the text.
    assert {("boat", BOAT), ("lamp", LAMP)} <= set(tool.asked)
    boat, lamp = map(likeliest, found[:2])
    at = len("The boat")
    for opening, text, name in ((boat, texts[0], "boat"), (lamp, texts[1], "lamp")):
        call = ToolCall("Search", name)
        expected = literal_gain(pupil, text, at, call, tool.answers[name])
        assert opening.gain == pytest.approx(expected, abs=1e-4)
        assert opening.gain > 0.5
        assert opening.probability > 0.5
        assert opening.tool == "Search"
    assert (boat.is_kept, lamp.is_kept) == (True, False)
    # What the model writes behind the bracket there names no tool, so no call opens.
    assert found[2] == []
    # Of all texts together the same, at every place where k allows a call.
    together, _ = measured(pupil, Search(), tmp_path)
    assert len(together) == sum(map(len, found)) >= 2
    assert {opening.weight for opening in together} == {1}
    gains = sorted(opening.gain for openings in found for opening in openings)
    assert sorted(opening.gain for opening in together) == pytest.approx(gains, abs=1e-4)


def test_of_many_openings_the_kept_ones_and_a_sample_of_the_others_are_measured(
    pupil, tmp_path, monkeypatch
):
    texts = [*texts_of(pupil), *(text_of(pupil, BOAT) for _ in range(8))]
    every, _ = measured(pupil, Search(), tmp_path, texts)
    counts = []

    def few(ranked, *, count):
        counts.append(count)
        return sampled(ranked, count=3)

    monkeypatch.setattr(opening_gains, "_OTHERS_PER_TEXT", 2)
    monkeypatch.setattr(opening_gains, "sampled", few)
    some, _ = measured(pupil, Search(), tmp_path, texts)
    assert counts == [2 * len(texts)]
    kept, of_others = (
        [[each for each in found if each.is_kept == is_kept] for found in (every, some)]
        for is_kept in (True, False)
    )
    assert [each.probability for each in kept[0]] == [each.probability for each in kept[1]]
    assert len(of_others[1]) <= 3 < 9 <= len(of_others[0])
    assert likeliest(of_others[1]).probability > 0.9
    assert {each.weight for each in of_others[0]} == {1}
    # Of the likeliest places each stands for several.
    assert any(each.weight > 1 for each in of_others[1])


def test_openings_and_gains_are_those_behind_the_context_of_a_text(pupil, tmp_path):
    window = text_of(pupil, BOAT).window
    whole = window_in_context(window, "What floats?", pupil.tokenizer, max_tokens=100)
    at = len(whole.ids) - len(window.ids) + len("The boat")
    text = DevelopmentText(whole, BOAT, {at: "Search"})
    found, _ = measured(pupil, Search(), tmp_path, [text])
    opening = likeliest(found)
    assert opening.is_kept
    gain = literal_gain(pupil, text, at, ToolCall("Search", "boat"), "a red boat")
    assert opening.gain == pytest.approx(gain, abs=1e-4)
    (token,) = pupil.tokenizer.encode(" [")
    context = [pupil.bos_id, *pupil.tokenizer.encode("What floats?\nThe boat")]
    expected = float(reference.next_token_log_probabilities(pupil, context)[token].exp())
    _, of_name = literal.named_tool(pupil, [*context, token], ["Search"])
    assert opening.probability == pytest.approx(expected * of_name, rel=1e-3)


@pytest.mark.parametrize(
    "answer",
    ["Boats", "", "of what it was made came in with the tide again"],
    ids=["own article", "empty", "leak"],
)
def test_a_call_without_a_result_gains_nothing(pupil, tmp_path, answer):
    following = "a red boat came in, and of what it was made came in with the tide again."
    document = Document("boat", f"The boat {following}", title="Boats")
    texts = [text_of(pupil, document, kept=len("The boat"))]
    tool = Search(boat=answer)
    found, _ = measured(pupil, tool, tmp_path, texts)
    assert [arguments for arguments, _ in tool.asked] == ["boat"]
    assert {opening.gain for opening in found} == {0}
    # Another answer of the same tool at the same place does gain.
    helped, _ = measured(pupil, Search(), tmp_path, texts)
    gains = [opening.gain for opening in helped]
    assert max(gains) > 0.5


def test_calls_that_were_given_up_are_counted(pupil, tmp_path):
    class Down(Search):
        def call(self, arguments: str, document: Document) -> str:
            raise ConnectionError

    texts = [
        text_of(pupil, Document(f"boat-{number}", BOAT.text))
        for number in range(MAX_FAILURES_IN_A_ROW + 3)
    ]
    working = Search()
    assert measured(pupil, working, tmp_path, texts)[1] == 0
    found, given_up = measured(pupil, Down(), tmp_path, texts)
    assert given_up == len(working.asked) - MAX_FAILURES_IN_A_ROW
    assert {opening.gain for opening in found} == {0}


def test_what_stands_in_front_of_the_call_is_no_leak(pupil, tmp_path):
    said = "a red boat came in with the tide again"
    document = Document("boat", f"Said is {said}. The boat a red boat came in.")
    texts = [text_of(pupil, document, start=document.text.index("The boat"))]
    found, _ = measured(pupil, Search(boat=said), tmp_path, texts)
    assert any(opening.gain for opening in found)
