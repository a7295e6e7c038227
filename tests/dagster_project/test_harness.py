"""How tasks are answered: stop texts, groups, refusals, long prompts. Needs no lm-eval."""

import datetime
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dagster_project.commands.completing import LiveModel
from dagster_project.commands.harness import Answers, Generation
from tests.fakes import ScriptedModel
from toolformer.decoding.completions import BY_RANK_ALONE, CLOSED
from toolformer.errors import SequenceTooLongError, UnservedGenerationError
from toolformer.home.home import Home
from toolformer.home.wiring.models import ModelLocation
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.sections import Settings
from tools.calculator import Calculator

GREEDY = {"until": [".", ","], "do_sample": False, "temperature": 0.0}
WAY = Generation((".",), 24)
CALL = "6 * 7 is [Calculator(6 * 7) -> 42] 42."
# Tokens of the longest call, with the settings below.
ROOM = 1 + 20 + 10 + 3


@dataclass(frozen=True)
class RecordedAnswers(Answers):
    """Answers, with the ways that were asked for in turn."""

    ways: list = field(default_factory=list)

    def decode(self, prompts, way):
        self.ways.append((way, list(prompts)))
        return super().decode(prompts, way)


def answers_of(model, *, tools=True, **changes):
    decoding = {"call_top_k": 1, "max_calls": 1, "max_call_tokens": 20}
    given = {"decoding": decoding, "execution": {"max_result_tokens": 10}}
    settings = Settings.model_validate(given)
    toolbox = Toolbox({"Calculator": Calculator()} if tools else {}, {}, {})
    threshold = BY_RANK_ALONE if tools else CLOSED
    live = LiveModel(
        Workspace(settings, Home(Path())), toolbox, ModelLocation(Path()), threshold, lambda: model
    )
    return RecordedAnswers(live, today=datetime.date(2024, 5, 3), **changes)


def test_a_call_is_made_in_one_mode_alone():
    model = ScriptedModel([CALL, "6 * 7 is: many."])
    (off,) = answers_of(model, with_calls=False).decode(["6 * 7 is"], WAY)
    (on,) = answers_of(model).decode(["6 * 7 is"], WAY)
    assert (off.text, on.text) == (": many", " [Calculator(6 * 7) -> 42] 42")
    blocking = answers_of(model, blocked_tools=["Calculator"])
    (blocked,) = blocking.decode(["6 * 7 is"], WAY)
    assert blocked.text == ": many"
    assert [undone.reason for undone in blocked.undone_calls] == ["blocked_tool"]


@pytest.mark.parametrize(("with_calls", "tools"), [(False, True), (True, True), (False, False)])
def test_a_long_prompt_loses_its_beginning_alike_in_all_modes_and_is_counted(with_calls, tools):
    model = ScriptedModel(["is old.", "The mill is old."])
    # Room for the start token and the last two tokens of a prompt.
    model.context_length = 1 + 2 + WAY.max_new_tokens + ROOM
    answers = answers_of(model, tools=tools, with_calls=with_calls)
    (cut,) = answers.decode(["The mill is"], WAY)
    assert (cut.prompt, cut.text) == ("The mill is", " old")
    assert model.asked[:3] == ["", "i", "is"]
    assert answers.cut == {"The mill is"}
    whole = answers_of(model, tools=tools, with_calls=with_calls)
    whole.decode(["is"], WAY)
    assert not whole.cut


def test_an_answer_that_leaves_no_room_for_a_prompt_is_refused():
    model = ScriptedModel(["is old."])
    model.context_length = WAY.max_new_tokens + ROOM + 1
    with pytest.raises(SequenceTooLongError, match=r"up to 24 new tokens.*max_gen_toks"):
        answers_of(model, with_calls=False).decode(["is"], WAY)


def test_a_stop_text_cuts_no_call_and_the_answer_has_none():
    answers = answers_of(ScriptedModel(["Q: about [Calculator(1.5 * 28) -> 42] 42, I think."]))
    assert answers.to([("Q:", GREEDY)]) == [" about 42"]
    (completion,) = answers.completions.values()
    assert completion.text == " about [Calculator(1.5 * 28) -> 42] 42"
    assert completion.stopped_by == "stop_text"


def test_a_stop_text_with_a_call_in_its_midst_ends_the_answer_for_the_task():
    answers = answers_of(ScriptedModel(["Q: so 4 [Calculator(2 * 21) -> 42]2!"]))
    assert answers.to([("Q:", {"until": "42"})]) == [" so "]


def test_requests_are_grouped_by_what_they_ask_for_and_answered_in_order():
    texts = ["A: one. two", "B: one, two", "C: one, two. three"]
    answers = answers_of(ScriptedModel(texts), tools=False)
    short = {"until": ["."], "max_gen_toks": 4}
    dot = {"until": ["."]}
    asked = [("A:", GREEDY), ("C:", dot), ("B:", GREEDY), ("A:", short), ("A:", GREEDY)]
    assert answers.to(asked) == [" one", " one, two", " one", " one", " one"]
    assert answers.ways == [
        (Generation((".", ","), 256), ["A:", "B:"]),
        (Generation((".",), 256), ["C:"]),
        (Generation((".",), 4), ["A:"]),
    ]
    answers.to([("A:", GREEDY)])
    assert len(answers.ways) == 3


@pytest.mark.parametrize(
    ("asked", "way"),
    [
        ({}, Generation((), 256)),
        ({"until": None, "max_gen_toks": None}, Generation((), 256)),
        ({"until": ["", "\n"]}, Generation(("\n",), 256)),
        ({"max_new_tokens": 8, "max_tokens": 9}, Generation((), 8)),
        ({"do_sample": False, "temperature": 1, "top_p": 0.9}, Generation((), 256)),
        ({"temperature": 0, "num_beams": 1}, Generation((), 256)),
    ],
)
def test_what_a_task_asks_for_is_read_as_the_harness_reads_it(asked, way):
    assert Generation.of(asked) == way


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"do_sample": True}, "sampling"),
        ({"temperature": 0.7}, "sampling"),
        ({"num_beams": 4}, "beams"),
        ({"repetition_penalty": 1.2}, "repetition_penalty"),
        ({"max_gen_toks": 0}, "0 new tokens"),
    ],
)
def test_what_decoding_cannot_do_is_refused_before_anything_is_decoded(asked, named):
    answers = answers_of(ScriptedModel(["A: one."]))
    with pytest.raises(UnservedGenerationError, match=named):
        answers.to([("A:", GREEDY), ("B:", asked)])
    assert not answers.ways
