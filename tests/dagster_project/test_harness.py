"""How the prompts of a task are continued with the tools of a home. Needs no lm-eval."""

import datetime
from pathlib import Path

import pytest

from dagster_project.commands.completing import LiveModel
from dagster_project.commands.harness import Continuation
from tests.fakes import ScriptedModel
from toolformer.decoding.completions import BY_RANK_ALONE, CLOSED
from toolformer.errors import SequenceTooLongError
from toolformer.home.settings.sections import Settings
from toolformer.home.wiring.model_location import ModelLocation
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.lm_eval.answers import Generation
from tools.calculator import Calculator

WAY = Generation((".",), 24)
CALL = "6 * 7 is [Calculator(6 * 7) -> 42] 42."
# Tokens of the longest call, with the settings below.
ROOM = 1 + 20 + 10 + 3


def continuation(model, *, tools=True, **changes):
    decoding = {"call_top_k": 1, "max_calls": 1, "max_call_tokens": 20}
    given = {"decoding": decoding, "execution": {"max_result_tokens": 10}}
    settings = Settings.model_validate(given)
    toolbox = Toolbox({"Calculator": Calculator()} if tools else {}, {}, {})
    threshold = BY_RANK_ALONE if tools else CLOSED
    live = LiveModel(settings, toolbox, ModelLocation(Path()), threshold, lambda: model)
    return Continuation(live, today=datetime.date(2024, 5, 3), **changes)


def test_a_call_is_made_in_one_mode_alone():
    model = ScriptedModel([CALL, "6 * 7 is: many."])
    (off,) = continuation(model).decode(["6 * 7 is"], WAY, with_calls=False)
    (on,) = continuation(model).decode(["6 * 7 is"], WAY, with_calls=True)
    assert (off.text, on.text) == (": many", " [Calculator(6 * 7) -> 42] 42")
    blocking = continuation(model, blocked_tools=["Calculator"])
    (blocked,) = blocking.decode(["6 * 7 is"], WAY, with_calls=True)
    assert blocked.text == ": many"
    assert [undone.reason for undone in blocked.undone_calls] == ["blocked_tool"]


@pytest.mark.parametrize(("with_calls", "tools"), [(False, True), (True, True), (False, False)])
def test_a_long_prompt_loses_its_beginning_alike_in_all_modes_and_is_counted(with_calls, tools):
    model = ScriptedModel(["is old.", "The mill is old."])
    # Room for the start token and the last two tokens of a prompt.
    model.context_length = 1 + 2 + WAY.max_new_tokens + ROOM
    way = continuation(model, tools=tools)
    (cut,) = way.decode(["The mill is"], WAY, with_calls=with_calls)
    assert (cut.prompt, cut.text) == ("The mill is", " old")
    assert model.asked[:3] == ["", "i", "is"]
    assert way.cut == {"The mill is"}
    whole = continuation(model, tools=tools)
    whole.decode(["is"], WAY, with_calls=with_calls)
    assert not whole.cut


def test_an_answer_that_leaves_no_room_for_a_prompt_is_refused():
    model = ScriptedModel(["is old."])
    model.context_length = WAY.max_new_tokens + ROOM + 1
    with pytest.raises(SequenceTooLongError, match=r"up to 24 new tokens.*max_gen_toks"):
        continuation(model).decode(["is"], WAY, with_calls=False)
