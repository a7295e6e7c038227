"""Calls that a tiny network writes at given places, and their gains against the literal form."""

import pytest
import torch

from tests import literal
from tests.fakes import decoding_with, taught_model, tiny_model
from tests.toolformer.architectures import windows_of
from toolformer import reference
from toolformer.calls import call_ids
from toolformer.decoding.call_gains import AnsweredCall, call_gains, written_calls
from toolformer.decoding.completions import CLOSED
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.model import TextPosition
from toolformer.settings.annotation_sections import ScoringSettings
from tools.errors import CallSyntaxError
from tools.protocol import ToolCall

LESSONS = (
    "6 times 7 is [Calculator(6 * 7) -> 42] 42, I say.",
    "Half of 9 is [Calculator(9 / 2) -> 4.5] 4.5, I say.",
    "Ask a friend [Friend(me) -> yes] yes, I say.",
    "See the note [7] there, I say.",
)
TEXTS = (
    "6 times 7 is 42, I say.",
    "Half of 9 is 4.5, I say.",
    "Ask a friend yes, I say.",
    "See the note there, I say.",
)
# Behind the words that the lessons have in front of their calls; `al` is one token.
AT = 12
EVERY = [TextPosition(0, AT), TextPosition(1, AT - 1), TextPosition(2, AT), TextPosition(3, AT)]
SCORING = ScoringSettings(window_tokens=4)
WEIGHTS = SCORING.token_weights
SIX, HALF = ToolCall("Calculator", "6 * 7"), ToolCall("Calculator", "9 / 2")


@pytest.fixture(scope="module")
def pupil():
    return taught_model(LESSONS)


def written(model, places, *, parse=lambda _, text: text, **changes) -> dict:
    # What is calibrated does not depend on what decoding is told now.
    now = {"max_calls": 0, "min_call_probability": CLOSED}
    limits = {"max_call_tokens": 20, "max_result_tokens": 20, "tools": ("Calculator",)}
    told = []
    found = written_calls(
        model,
        windows_of(model.tokenizer, *TEXTS),
        places,
        decoding=decoding_with(**{**now, **limits, **changes}),
        parse_arguments=parse,
        progress=lambda *each: told.append(each),
    )
    assert all(done <= total for done, total in told)
    return found


def calls_of(found: dict) -> dict:
    return {place: each.call for place, each in found.items()}


def test_calls_are_those_that_decoding_would_make_at_the_places(pupil):
    # The others write a call of a tool that is not there, and what is no call.
    found = written(pupil, EVERY)
    assert calls_of(found) == {TextPosition(0, AT): SIX, TextPosition(1, AT - 1): HALF}
    assert {each.tool for each in found.values()} == {"Calculator"}
    with_friend = written(pupil, EVERY, tools=("Calculator", "Friend"))
    assert with_friend[TextPosition(2, AT)].call == ToolCall("Friend", "me")
    assert written(pupil, []) == {}


def test_the_probability_of_a_call_is_that_of_its_opening_and_its_tools_name(pupil):
    tools = ("Calculator", "Friend")
    (opening,) = pupil.tokenizer.encode(" [")
    found = written(pupil, EVERY, tools=tools)
    assert len(found) == 3
    for place, each in found.items():
        ids = [pupil.bos_id, *windows_of(pupil.tokenizer, *TEXTS)[place.row].ids[: place.position]]
        p_opening = reference.next_token_log_probabilities(pupil, ids)[opening].exp()
        tool, of_name = literal.named_tool(pupil, [*ids, opening], tools)
        assert each.tool == tool
        assert each.probability == pytest.approx(float(p_opening) * of_name, rel=1e-3)


def test_a_call_that_cannot_be_finished_or_read_is_none(pupil):
    def refuse(_, text):
        raise CallSyntaxError("refused", text)

    refused = written(pupil, EVERY, parse=refuse)
    assert {place: each.call for place, each in refused.items()} == {
        TextPosition(0, AT): None,
        TextPosition(1, AT - 1): None,
    }
    # It ends before the name of the tool does.
    assert written(pupil, EVERY, max_call_tokens=3) == {}


def test_where_the_context_has_no_room_for_a_call_there_is_none(pupil):
    opening = len(pupil.tokenizer.encode(" ["))
    # One token of start, one behind the call, and three besides what is limited.
    room = pupil.context_length - 1 - 1 - 3 - opening - 20
    fits, too_long = room - AT, room - AT + 1
    found = written(pupil, [TextPosition(0, AT)], max_result_tokens=fits)
    assert calls_of(found) == {TextPosition(0, AT): SIX}
    assert written(pupil, [TextPosition(0, AT)], max_result_tokens=too_long) == {}


def gains(model, answered, tmp_path, *, token_budget=64):
    return call_gains(
        model,
        windows_of(model.tokenizer, *TEXTS),
        answered,
        scoring=SCORING,
        token_budget=token_budget,
        checkpoint=Checkpoint(tmp_path / str(token_budget), fingerprint="x"),
        progress=lambda done, total: None,
    )


def test_a_call_that_does_not_fit_the_context_with_its_text_has_no_gain(
    pupil, tmp_path, monkeypatch
):
    tokens = len(pupil.tokenizer.encode_pieces([" [", "Calculator(", "6 * 7)", " ->", " 42", "]"]))
    answered = {
        TextPosition(0, AT): AnsweredCall(SIX, "42"),
        TextPosition(0, 0): AnsweredCall(SIX, "42"),
    }
    monkeypatch.setattr(pupil, "context_length", tokens + AT + len(WEIGHTS) - 1)
    assert gains(pupil, answered, tmp_path).keys() == {TextPosition(0, 0)}


def test_gains_are_those_of_whole_sequences(pupil, tmp_path):
    answered = {
        TextPosition(0, AT): AnsweredCall(SIX, "42"),
        TextPosition(1, AT - 1): AnsweredCall(HALF, "4.5"),
        TextPosition(0, 0): AnsweredCall(HALF, "4.5"),
        # Fewer tokens follow than there are weights.
        TextPosition(3, len(TEXTS[3]) - 2): AnsweredCall(SIX, "no"),
    }
    found = gains(pupil, answered, tmp_path)
    assert found.keys() == answered.keys()
    windows = windows_of(pupil.tokenizer, *TEXTS)
    for place, each in answered.items():
        call = call_ids(pupil.tokenizer, each.call, each.result)
        ids = list(windows[place.row].ids)
        alone, with_call = (
            literal.form_loss(pupil, of_call, ids, place.position, list(WEIGHTS), is_inline=True)
            for of_call in ([], call)
        )
        assert found[place] == pytest.approx(alone - with_call, abs=1e-4)
    assert found[TextPosition(0, AT)] > 0.5
    assert gains(pupil, answered, tmp_path, token_budget=5000) == pytest.approx(found, abs=1e-4)


def test_a_loss_that_is_no_number_is_no_gain(tmp_path):
    model = tiny_model()
    with torch.no_grad():
        model.model.lm_head.weight.fill_(float("nan"))
    assert gains(model, {TextPosition(0, AT): AnsweredCall(SIX, "42")}, tmp_path) == {
        TextPosition(0, AT): 0.0
    }
