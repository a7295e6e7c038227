"""Calls that are written in place of those that had no result."""

import pytest

from tests.fakes import START, ScriptedModel, decoding_with
from tests.toolformer.decoding.conftest import PLAIN, PROMPT, answer, complete_one
from toolformer.calls import call_open_id
from toolformer.decoding.decoder import complete
from toolformer.decoding.triggers import read_open_call
from tools.errors import CallSyntaxError
from tools.protocol import NO_ANSWER

CALLS = ("Calculator(6 * 7)", "Calculator(5 + 1)", "Calculator(6 * 8)", "QA(Who?)")
TOOLS, MOST_TOKENS = ("Calculator", "QA"), 20
# In the order of their likelihoods: where texts part, the first ones are likelier.
MODEL_TEXTS = [f"{PROMPT} [{call} -> 42] so." for call in CALLS]


def asking(*answered: str):
    """What answers these calls alone, and what it was asked."""
    asked: list[str] = []

    def run(requests):
        asked.extend(f"{call.tool_name}({call.arguments})" for _, call in requests)
        return ["42" if each in answered else None for each in asked[-len(requests) :]]

    return run, asked


def scripted(*texts: str) -> ScriptedModel:
    return ScriptedModel([PLAIN, *(texts or MODEL_TEXTS)], {PROMPT: 2})


@pytest.mark.parametrize("which", [1, 2])
def test_the_next_likeliest_call_is_written_where_one_has_no_result(which):
    run, asked = asking(CALLS[which])
    completion = complete_one(scripted(), run_calls=run, call_attempts=3)
    assert asked == list(CALLS[: which + 1])
    assert completion.text.startswith(f" [{CALLS[which]} -> 42]")
    undone = [f" [{call} ->" for call in CALLS[:which]]
    assert [(each.text, each.reason) for each in completion.undone_calls] == [
        (text, "no_result") for text in undone
    ]
    tokenizer = scripted().tokenizer
    assert tokenizer.decode_continuation(completion.token_ids[:-1]) == completion.text
    taken_back = [step.token for step in completion.trace if step.kind == "undone"]
    assert tokenizer.decode_continuation(taken_back) == "".join(undone)
    assert sum(each.tokens for each in completion.undone_calls) == len(taken_back)


def test_no_more_calls_are_written_than_wanted_and_none_opens_behind_them():
    plain = complete_one(ScriptedModel([PLAIN]), tools=())
    for attempts in (1, 2, 3):
        run, asked = asking()
        completion = complete_one(scripted(), run_calls=run, call_attempts=attempts)
        assert asked == list(CALLS[:attempts])
        assert completion.text == plain.text
        assert completion.token_ids == plain.token_ids


def test_none_is_written_in_place_of_a_call_that_got_no_answer():
    completion = complete_one(scripted(), run_calls=answer(NO_ANSWER), call_attempts=3)
    assert completion.text == PLAIN.removeprefix(PROMPT)
    assert [each.text for each in completion.undone_calls] == [f" [{CALLS[0]} ->"]


@pytest.mark.parametrize("sign", ["[", "\n", "]", START])
def test_what_cannot_become_a_call_is_not_written_though_it_is_likelier(sign):
    texts = ("QA(a) -> so", f"QA({sign}", "QA(ab) -> so")
    run, asked = asking()
    model = scripted(*(f"{PROMPT} [{text}" for text in texts))
    completion = complete_one(model, run_calls=run, call_attempts=2)
    assert asked == ["QA(a)", "QA(ab)"]
    assert [each.reason for each in completion.undone_calls] == ["no_result"] * 2


def test_arguments_that_the_tool_cannot_read_are_written_otherwise():
    def parse(tool, text):
        if "7" in text:
            raise CallSyntaxError("invalid_expression", "no sevens")
        return text

    run, asked = asking(CALLS[1])
    completion = complete_one(scripted(), run_calls=run, parse_arguments=parse, call_attempts=2)
    assert asked == [CALLS[1]]
    assert [each.reason for each in completion.undone_calls] == ["invalid_expression"]
    assert [call.arguments for call in completion.calls] == ["5 + 1"]


@pytest.mark.parametrize("prompt", ["6 times 7 is", "Half of 9 is", "6 times 9 is"])
def test_each_call_follows_from_the_model_as_if_it_had_been_fed_alone(pupil, prompt):
    """The calls are those of a search that feeds every text from its beginning."""
    run, asked = asking("the last one")
    decoding = decoding_with(
        call_top_k=20, max_new_tokens=1, call_attempts=4, max_call_tokens=MOST_TOKENS, tools=TOOLS
    )
    completion = complete(pupil, [prompt], decoding=decoding, run_calls=run)[0]
    in_front = [pupil.bos_id, *pupil.tokenizer.encode(prompt), call_open_id(pupil.tokenizer)]
    expected = literal_calls(pupil, in_front, attempts=4)
    assert [each.text for each in completion.undone_calls] == expected
    assert len(set(expected)) == 4
    assert asked


def literal_calls(model, in_front, *, attempts):
    """The texts of the calls that are written in turn, each from fresh contexts."""
    others, texts, tokens = [], [], []
    log_probability = 0.0
    special = {*model.end_ids, *model.tokenizer.special_ids}
    is_over = False
    while len(texts) < attempts:
        if is_over or has_ended(model, tokens):
            is_over = False
            texts.append(model.tokenizer.decode_continuation([in_front[-1], *tokens]))
            log_probability, tokens = max(others, key=lambda other: other[0])
            others.remove((log_probability, tokens))
            continue
        contexts = model.contexts(1)
        [expected] = contexts.next_tokens([[*in_front, *tokens]], open_id=in_front[-1], count=2)
        first, second = expected.ranked[:2]
        other = [*tokens, second]
        is_argument = "(" in model.tokenizer.decode_continuation(tokens)
        if is_argument and second not in special and not has_ended(model, other):
            others.append((log_probability + expected.log_probability(second), other))
        is_over = first in special
        if not is_over:
            log_probability += expected.log_probability(first)
            tokens = [*tokens, first]
    return texts


def has_ended(model, tokens):
    """Whether a call is complete, or cannot become one."""
    if len(tokens) > MOST_TOKENS:
        return True
    try:
        text = model.tokenizer.decode_continuation(tokens)
        return bool(
            read_open_call(text, enabled_tools=TOOLS, blocked_tools=(), parse_arguments=None)
        )
    except CallSyntaxError:
        return True
