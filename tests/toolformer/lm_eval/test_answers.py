"""How tasks are answered: stop texts, groups, refusals. Needs no lm-eval."""

import pytest

from tests.fakes import ScriptedModel, decoding_parameters
from toolformer.decoding.decoder import complete
from toolformer.errors import UnservedGenerationError
from toolformer.lm_eval.answers import Answers, Generation

GREEDY = {"until": [".", ","], "do_sample": False, "temperature": 0.0}


def answers_of(texts, *, tools=("Calculator",)):
    """Answers of a model that writes these texts, and the ways that were asked for in turn."""
    model, ways = ScriptedModel(texts), []

    def decode(prompts, way):
        ways.append((way, list(prompts)))
        return complete(
            model,
            prompts,
            parameters=decoding_parameters(
                max_new_tokens=way.max_new_tokens, call_top_k=1, tools=tools
            ),
            run_calls=lambda calls: ["42.0"] * len(calls),
            stop_texts=way.until,
        )

    return Answers(decode), ways


def test_a_stop_text_cuts_no_call_and_the_answer_has_none():
    answers, _ = answers_of(["Q: about [Calculator(1.5 * 28) -> 42.0] 42, I think."])
    assert answers.to([("Q:", GREEDY)]) == [" about 42"]
    (completion,) = answers.completions.values()
    assert completion.text == " about [Calculator(1.5 * 28) -> 42.0] 42"
    assert completion.stopped_by == "stop_text"


def test_a_stop_text_with_a_call_in_its_midst_ends_the_answer_for_the_task():
    answers, _ = answers_of(["Q: so 4 [Calculator(2 * 21) -> 42.0]2!"])
    assert answers.to([("Q:", {"until": "42"})]) == [" so "]


def test_requests_are_grouped_by_what_they_ask_for_and_answered_in_order():
    answers, ways = answers_of(["A: one. two", "B: one, two", "C: one, two. three"], tools=())
    short = {"until": ["."], "max_gen_toks": 4}
    dot = {"until": ["."]}
    asked = [("A:", GREEDY), ("C:", dot), ("B:", GREEDY), ("A:", short), ("A:", GREEDY)]
    assert answers.to(asked) == [" one", " one, two", " one", " one", " one"]
    assert ways == [
        (Generation((".", ","), 256), ["A:", "B:"]),
        (Generation((".",), 256), ["C:"]),
        (Generation((".",), 4), ["A:"]),
    ]
    answers.to([("A:", GREEDY)])
    assert len(ways) == 3


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
    answers, ways = answers_of(["A: one."])
    with pytest.raises(UnservedGenerationError, match=named):
        answers.to([("A:", GREEDY), ("B:", asked)])
    assert not ways
