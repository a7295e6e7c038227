import itertools
import math
import statistics
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import literal
from tests.fakes import START, ScriptedModel, taught_model, tiny_model
from toolformer.decoding.completions import CLOSED, DecodingParameters, MinCallProbability
from toolformer.decoding.decoder import complete, longest_prompt_tokens
from toolformer.decoding.decoding_batch import DecodingBatch
from toolformer.decoding.triggers import read_open_call, tool_meant
from toolformer.errors import SequenceTooLongError
from toolformer.forward.contexts import NetworkContexts
from toolformer.forward.shared_rows import SharedRows
from tools.errors import CallSyntaxError
from tools.protocol import ToolCall
from tools.syntax import insert_calls

# In the text and behind the prompt.
BOTH = [(0.01, 0.01), (0.01, 1.0), (1.0, 0.01), (1.0, 1.0)]
# Seconds in all; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow

PROMPT = "Six times seven is"
CALL = " [Calculator(6 * 7) ->"
PLAIN = PROMPT + " many."
WITH_CALL = PROMPT + CALL + " 42] 42."
TOOLS = ("Calculator", "QA")


def parameters(**changes) -> DecodingParameters:
    values = {
        "max_new_tokens": 40,
        "call_top_k": 10,
        "max_calls": 1,
        "max_call_tokens": 64,
        "max_result_tokens": 128,
        "tools": TOOLS,
    }
    return DecodingParameters(**{**values, **changes})


def answer(result: str | None):
    return lambda requests: [result for _ in requests]


def never(requests):
    raise AssertionError(f"no call was expected, got {requests}")


def complete_one(model, prompt=PROMPT, *, run_calls=never, parse_arguments=None, **changes):
    (completion,) = complete(
        model,
        [prompt],
        parameters=parameters(**changes),
        run_calls=run_calls,
        parse_arguments=parse_arguments,
    )
    return completion


@pytest.fixture
def fed(monkeypatch) -> list[list[list[int]]]:
    """The tokens of each row, of each pass of a cache."""
    passes = []
    feed = SharedRows.feed
    monkeypatch.setattr(
        SharedRows, "feed", lambda rows, tokens: passes.append(tokens) or feed(rows, tokens)
    )
    return passes


# --- the rule -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1", "not_a_call"),
        ("Calculus", "not_a_call"),
        ("Search(", "not_a_call"),
        ("MT(Haus", "blocked_tool"),
        ("M", "blocked_tool"),
        ("QA(Who?)]", "no_arrow"),
        ("QA(Who\n", "newline"),
        ("QA(a[", "bracket_in_arguments"),
        ("QA(Who? ->", "not_a_call"),
        ("QA(Who?) ->x", "not_a_call"),
    ],
)
def test_text_that_becomes_no_call_is_refused_as_soon_as_that_is_certain(text, reason):
    with pytest.raises(CallSyntaxError) as refused:
        read_open_call(text, enabled_tools=TOOLS, blocked_tools=["MT"], parse_arguments=None)
    assert refused.value.reason == reason


LEAST = {"Calculator": 0.4, "Calendar": 0.1, "Search": 0.2, "SearchWiki": 0.3}


@pytest.mark.parametrize(
    ("text", "probability", "meant"),
    [
        ("Cal", 0.1, None),
        ("Calcu", 0.4, None),
        ("Calculator", 0.4, "Calculator"),
        (" Calendar", 0.1, "Calendar"),
        # A token may hold more than the name.
        ("Calendar(a", 0.1, "Calendar"),
        # The name of another goes on from here.
        ("Search", 0.2, None),
        ("Search(", 0.2, "Search"),
        ("SearchW", 0.3, None),
        # Reading ends as soon as no tool can be reached any more.
        ("Cal", 0.09, "unlikely"),
        ("Calcu", 0.39, "unlikely"),
        ("SearchWiki", 0.29, "unlikely"),
        ("7", 1.0, "unlikely"),
    ],
)
def test_a_tool_is_meant_once_its_whole_name_is_written_and_likely_enough(text, probability, meant):
    if meant == "unlikely":
        with pytest.raises(CallSyntaxError, match=meant):
            tool_meant(text, probability, least=LEAST)
    else:
        assert tool_meant(text, probability, least=LEAST) == meant


def test_a_value_of_1_opens_no_call_of_its_tool():
    with pytest.raises(CallSyntaxError, match="unlikely"):
        tool_meant("Calendar", 1.0, least={"Calendar": 1.0, "Calculator": 0.0})


@pytest.mark.parametrize("text", ["", " ", "Calc", "QA", "QA(", "QA(Who?)", "QA(a) -"])
def test_text_that_may_still_become_a_call_is_waited_for(text):
    assert read_open_call(text, enabled_tools=TOOLS, blocked_tools=[], parse_arguments=None) is None


# --- decoding a call ----------------------------------------------------------------------------


def test_offsets_of_calls_put_them_back_into_the_text():
    text = f"Well, 6 * 7 is{CALL} 42] 42; 2 + 3 is [Calculator(2 + 3) -> 5] 5."
    results = iter(["42", "5"])
    completion = complete_one(
        ScriptedModel([text]), "Well,", run_calls=lambda requests: [next(results)], max_calls=2
    )
    assert completion.text_without_calls == " 6 * 7 is 42; 2 + 3 is 5."
    calls = [(call.character_offset, call.text) for call in completion.calls]
    assert insert_calls(completion.text_without_calls, calls) == completion.text
    assert "Well," + completion.text == text


def test_what_is_read_ahead_and_does_not_open_bans_nothing_and_is_not_fed_again(fed):
    early, late = " [QA(now) ->", f" many{CALL}"
    texts = [f"{PROMPT} many 42.", f"{PROMPT}{early}", f"{PROMPT}{late} 42] 42.", f"{PROMPT} [Z"]
    model = ScriptedModel(texts, {PROMPT: 2, PROMPT + " many": 2})
    least = MinCallProbability(0.1, 0.1, {"QA": MinCallProbability.everywhere(0.2)})
    # ` [` alone would do, at 0.23; with Q, which is preferred to Z, it is 0.17.
    completion = complete_one(model, run_calls=answer("42"), min_call_probability=least)
    assert completion.text == f"{late} 42] 42."
    assert completion.undone_calls == ()
    assert {step.kind for step in completion.trace} == {"sampled", "trigger", "forced"}
    # Once Q is chosen no tool is likely enough, and the text goes on behind the prompt.
    ids = [model.tokenizer.encode(piece) for piece in (" [", " ", "m")]
    assert fed[1:4] == [[each] for each in ids]


def test_behind_a_call_at_the_end_of_the_prompt_a_text_goes_on():
    text = f"{PROMPT}{CALL} 42] [Calculator(2 + 3) -> 5] 42."
    model = ScriptedModel([text, f"{PROMPT}{CALL} 42] 42."], {text[: -len(" [C")]: 1})
    run = {"run_calls": lambda requests: ["42"], "max_calls": 2}
    both, one = (
        complete_one(model, min_call_probability=MinCallProbability(in_text, 0.0), **run)
        for in_text in (0.0, 1.0)
    )
    assert len(both.calls) == 2
    assert [call.text for call in one.calls] == [f"{CALL} 42]"]
    # Where the call belongs to the prompt, what follows is behind the prompt.
    prompt = f"{PROMPT}{CALL} 42]"
    for behind_prompt, calls in ((0.0, 1), (1.0, 0)):
        least = MinCallProbability(1.0, behind_prompt)
        completion = complete_one(model, prompt, min_call_probability=least, **run)
        assert len(completion.calls) == calls


@pytest.mark.parametrize(
    ("texts", "open_ranks", "blocked_tools"),
    [
        # Only one call is made per input, and none inside a call.
        ([WITH_CALL], {PROMPT: 1, WITH_CALL[:-1]: 1}, ()),
        ([PLAIN, WITH_CALL], {PROMPT: 2, PROMPT + " [Calculator(6": 2}, ()),
        # The first token of a blocked tool is masked, but not one that an enabled tool shares.
        ([PLAIN, PROMPT + " [QA(6 * 7?) ->", WITH_CALL], {PROMPT: 2}, ("QA",)),
        ([PLAIN, WITH_CALL], {PROMPT: 2}, ("Calendar",)),
    ],
)
def test_the_one_call_that_can_be_made_is_made(texts, open_ranks, blocked_tools):
    model = ScriptedModel(texts, open_ranks)
    completion = complete_one(model, run_calls=answer("42"), blocked_tools=blocked_tools)
    assert PROMPT + completion.text == WITH_CALL
    assert len(completion.calls) == 1
    assert completion.undone_calls == ()


def test_trace_tells_sampled_forced_and_trigger_tokens_apart():
    model = ScriptedModel([PLAIN, WITH_CALL], {PROMPT: 3})
    completion = complete_one(model, run_calls=answer("42"))
    by_kind: dict[str, str] = {}
    for step in completion.trace:
        by_kind[step.kind] = by_kind.get(step.kind, "") + step.text
    assert by_kind == {
        "trigger": " [",
        "sampled": "Calculator(6 * 7) -> 42.<|im_end|>",
        "forced": " 42]",
    }
    kinds = [step.kind for step in completion.trace]
    result_begins = len(model.tokenizer.encode(CALL))
    assert kinds.index("forced") == result_begins
    # The trigger is active at the bracket and again behind ` 42]`.
    ranked = [place for place, step in enumerate(completion.trace) if step.call_rank is not None]
    assert ranked == [0, *range(result_begins + 4, len(kinds))]


# --- calls that are taken back ------------------------------------------------------------------


def refuse_arguments(tool, text):
    raise CallSyntaxError("invalid_expression", "not an expression")


@pytest.mark.parametrize(
    ("written", "reason", "changes"),
    [
        (" [1] many", "not_a_call", {}),
        (" [Search(six) ->", "not_a_call", {}),
        (" [Calculator(6 * 7)] 42", "no_arrow", {}),
        (" [Calculator(6 *\n7) ->", "newline", {}),
        (" [Calculator(6", "end_of_text", {}),
        (CALL, "no_result", {"run_calls": answer(None)}),
        (CALL, "no_result", {"run_calls": answer("")}),
        (CALL, "invalid_expression", {"parse_arguments": refuse_arguments}),
        (CALL, "too_long", {"max_call_tokens": 12}),
        (CALL, "blocked_tool", {"tools": ("Calendar",), "blocked_tools": ("Calculator",)}),
        (CALL, "blocked_tool", {"blocked_tools": TOOLS}),
    ],
)
def test_undone_call_leaves_exactly_the_continuation_without_calls(written, reason, changes):
    plain = complete_one(ScriptedModel([PLAIN]), tools=())
    model = ScriptedModel([PLAIN, PROMPT + written], {PROMPT: 2, PROMPT + " man": 2})
    completion = complete_one(model, **changes)
    assert completion.text == completion.text_without_calls == plain.text == " many."
    assert completion.calls == ()
    assert [undone.reason for undone in completion.undone_calls] == [reason]
    assert (PROMPT + written).startswith(PROMPT + completion.undone_calls[0].text)
    assert completion.token_ids == plain.token_ids == tuple(step.token for step in plain.trace)
    assert sum(step.kind == "trigger" for step in completion.trace) == 0


def test_special_token_in_a_call_undoes_it_though_it_ends_no_text(monkeypatch):
    monkeypatch.setattr(ScriptedModel, "end_ids", frozenset({1}))
    written = PROMPT + CALL.replace("* 7", f"* 7{START}")
    model = ScriptedModel([PLAIN, written], {PROMPT: 2})
    completion = complete_one(model)
    assert completion.text == " many."
    assert [undone.reason for undone in completion.undone_calls] == ["end_of_text"]


def test_call_of_max_call_tokens_and_its_arrow_is_accepted():
    tokens = len(ScriptedModel([]).tokenizer.encode(CALL)) - 1
    model = ScriptedModel([WITH_CALL], {PROMPT: 1})
    completion = complete_one(model, run_calls=answer("42"), max_call_tokens=tokens - 1)
    assert len(completion.calls) == 1
    model = ScriptedModel([PLAIN, WITH_CALL], {PROMPT: 2})
    completion = complete_one(model, max_call_tokens=tokens - 2)
    assert completion.undone_calls[0].reason == "too_long"


# --- disabled calls and the end of the text -----------------------------------------------------


@pytest.mark.parametrize("changes", [{"tools": ()}, {"call_top_k": 0}, {"max_calls": 0}])
def test_disabled_text_never_contains_the_trigger_token(changes):
    model = ScriptedModel([PLAIN], {PROMPT: 1, PROMPT + " m": 2})
    completion = complete_one(model, **changes)
    assert completion.text == " many."
    assert completion.undone_calls == ()
    assert " [" not in [step.text for step in completion.trace]


def test_length_limit_counts_tokens_outside_calls_only():
    model = ScriptedModel([PLAIN, WITH_CALL], {PROMPT: 2})
    completion = complete_one(model, run_calls=answer("42"), max_new_tokens=3)
    assert completion.text_without_calls == " 42"
    assert completion.stopped_by == "length"


def test_start_token_ends_the_text_too():
    model = ScriptedModel([PROMPT + f" many{START}.", PLAIN])
    completion = complete_one(model, tools=())
    assert (completion.text, completion.stopped_by) == (" many", "end_of_text")


def test_no_call_is_opened_inside_a_character():
    text = PROMPT + " né."
    tokenizer = ScriptedModel([]).tokenizer
    ids = tokenizer.encode(text)
    half = tokenizer.decode(ids[:-2])
    assert half.endswith("�")

    class WithHalfCharacters(ScriptedModel):
        def _scores(self, context):
            scores = torch.full((self.tokenizer.vocabulary_size,), -100.0)
            place = next(n for n in range(len(ids) + 1) if tokenizer.decode(ids[:n]) == context)
            scores[[*ids, 1][place]] = 1.0
            scores[tokenizer.encode(" [")] = 2.0 if context == half else -101.0
            return scores

    assert complete_one(WithHalfCharacters([])).text == " né."


def test_too_long_prompt_is_named():
    model = ScriptedModel([PLAIN])
    model.context_length = 300
    most = longest_prompt_tokens(model, parameters())
    complete_one(model, "a" * most)
    with pytest.raises(SequenceTooLongError, match=f"at most {most}"):
        complete_one(model, "a" * (most + 1))
    with_more = [longest_prompt_tokens(model, parameters(max_calls=calls)) for calls in (2, 3)]
    assert most - with_more[0] == with_more[0] - with_more[1] > 64 + 128


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_new_tokens", 0),
        *(
            ("min_call_probability", MinCallProbability(*values))
            for wrong in (-0.1, 1.1, math.nan)
            for values in ((wrong, 0.5), (0.5, wrong))
        ),
    ],
)
def test_parameters_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match="expected"):
        parameters(**{name: value})


# --- batches ------------------------------------------------------------------------------------


def test_calls_that_are_pending_in_one_step_run_together():
    prompts = ["A is", "B is", "Something longer is", "D is"]
    texts = [
        "A is [QA(a) -> first] 1.",
        "B is [QA(b) -> second thing] 2.",
        "Something longer is good [QA(c) -> third] 3.",
        "D is nothing.",
    ]
    steps = []

    def run_calls(requests):
        steps.append(requests)
        answers = {"a": "first", "b": "second thing", "c": "third"}
        return [answers[call.arguments] for _, call in requests]

    completions = complete(
        ScriptedModel(texts), prompts, parameters=parameters(), run_calls=run_calls
    )
    written = [completion.prompt + completion.text for completion in completions]
    assert written == texts
    assert steps == [
        [(0, ToolCall("QA", "a")), (1, ToolCall("QA", "b"))],
        [(2, ToolCall("QA", "c"))],
    ]


LESSONS = (
    "6 times 7 is [Calculator(6 * 7) -> 42] 42, I say.",
    "Half of 9 is [Calculator(9 / 2) -> 4.5] 4.5, I say.",
    "And yesterday it was a day [QA(day?) -> Monday] Monday, I say.",
    "See the note [7] there, I say.",
)
LESSON_PROMPTS = ("6 times 7 is", "Half of 9 is", "And yesterday", "See the note")
SOME_PROMPTS = [*LESSON_PROMPTS, "6 times", "the day", "Half of the note is a day"]


@pytest.fixture(scope="module")
def pupil():
    return taught_model(LESSONS)


def without_negligible_ranks(completions):
    """Other batches round otherwise, so tokens that are all but impossible change their ranks."""
    return [
        replace(
            completion,
            trace=tuple(
                replace(step, call_rank=None) if (step.call_probability or 0.0) < 1e-4 else step
                for step in completion.trace
            ),
        )
        for completion in completions
    ]


def equals_one(requests):
    return [f"{call.arguments} = 1" for _, call in requests]


@pytest.mark.parametrize("top_k", [1, 20])
def test_texts_of_a_batch_are_decoded_as_if_alone(pupil, fed, top_k):
    run = {"parameters": parameters(call_top_k=top_k, max_new_tokens=30), "run_calls": equals_one}
    alone = [complete(pupil, [prompt], **run)[0] for prompt in SOME_PROMPTS] * 2
    for rows_at_once in (1, 2, 3, 14):
        progress = []
        fed.clear()
        together = complete(
            pupil,
            SOME_PROMPTS * 2,
            rows_at_once=rows_at_once,
            progress=lambda *told, progress=progress: progress.append(told),
            **run,
        )
        assert without_negligible_ranks(together) == without_negligible_ranks(alone)
        assert any(completion.undone_calls for completion in together)
        assert max(map(len, fed)) == rows_at_once
        assert [done for done, _ in progress] == sorted({done for done, _ in progress} - {0})
        assert progress[-1] == (14, 14)


def test_texts_that_wait_for_a_result_enter_once_behind_the_opening_that_all_share(monkeypatch):
    opening = "Ask where you do not know. So: "
    long = "w" * 80
    texts = [
        *(f"{opening}{n} is{' so' * n} [QA({n}) -> {long}] {n}." for n in range(4)),
        *(f"{opening}{n} is plain." for n in (4, 5)),
    ]
    prompts = [f"{opening}{n} is" for n in range(6)]
    run = {"parameters": parameters(), "run_calls": answer(long)}
    alone = [complete(ScriptedModel(texts), [prompt], **run)[0] for prompt in prompts]
    copied = []
    enter = DecodingBatch.enter

    def noted(batch, rows, opening):
        copied.append((opening.length(0), len(rows)))
        enter(batch, rows, opening)

    monkeypatch.setattr(DecodingBatch, "enter", noted)
    two_at_once = complete(ScriptedModel(texts), prompts, rows_at_once=2, **run)
    assert two_at_once == alone
    assert [each.prompt + each.text for each in two_at_once] == texts
    # With the start token.
    assert {length for length, _ in copied} == {1 + len(opening)}
    assert len(prompts) == sum(rows for _, rows in copied)


@pytest.mark.parametrize(
    ("top_k", "least"),
    [
        *((top_k, MinCallProbability(0.0, 0.0)) for top_k in (0, 1, 3, 20)),
        *((20, least) for least in itertools.starmap(MinCallProbability, BOTH)),
    ],
)
def test_what_is_known_without_calls_is_not_decoded_again(pupil, top_k, least, fed):
    chosen = parameters(call_top_k=top_k, min_call_probability=least, max_new_tokens=30)
    run = {"parameters": chosen, "run_calls": equals_one}
    expected = complete(pupil, SOME_PROMPTS, **run)
    disabled = parameters(call_top_k=0, max_new_tokens=30)
    plain = complete(pupil, SOME_PROMPTS, parameters=disabled, run_calls=never)
    fed.clear()
    again = complete(pupil, SOME_PROMPTS, without_calls=plain, **run)
    assert again == expected
    is_disabled = top_k == 0 or least == CLOSED
    assert (fed == []) == is_disabled


def test_a_text_begins_again_where_its_first_call_opens(fed):
    model = ScriptedModel([PLAIN], open_ranks={PROMPT + " many": 1})
    disabled = parameters(call_top_k=0)
    (plain,) = complete(model, [PROMPT], parameters=disabled, run_calls=never)
    fed.clear()
    (again,) = complete(
        model, [PROMPT], parameters=parameters(call_top_k=1), run_calls=never, without_calls=[plain]
    )
    assert fed[0] == [[0, *model.tokenizer.encode(PROMPT + " many")]]
    # No call followed behind the bracket, so it was taken back.
    assert (again.text, len(again.undone_calls)) == (plain.text, 1)


# --- with a real network ------------------------------------------------------------------------


def whole_logits(model, ids):
    with torch.no_grad():
        return model.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()


def assert_goes_on(logits, model, ids):
    torch.testing.assert_close(logits, whole_logits(model, ids)[-1], atol=1e-4, rtol=1e-4)


def test_network_calls_tools_and_goes_on_from_the_same_keys(pupil):
    answers = {"6 * 7": "42", "9 / 2": "4.5", "day?": "Monday"}
    completions = complete(
        pupil,
        LESSON_PROMPTS,
        parameters=parameters(call_top_k=1),
        run_calls=lambda requests: [answers[call.arguments] for _, call in requests],
    )
    for completion, lesson in zip(completions[:3], LESSONS, strict=False):
        assert completion.prompt + completion.text == lesson
    assert completions[3].undone_calls == ((" [7", "not_a_call"),)
    for completion in completions:
        ids = [0, *pupil.tokenizer.encode(completion.prompt)]
        context = len(ids)
        steps = [step for step in completion.trace if step.kind != "undone"]
        ids += [step.token for step in steps]
        logits = whole_logits(pupil, ids)[context - 1 : -1]
        *before, last = pupil.tokenizer.encode(" [")
        for place in range(len(steps)):
            # A second call is banned: behind the other tokens of ` [` where there are some.
            tail = ids[: context + place][len(ids[: context + place]) - len(before) :]
            if completion.undone_calls and tail == before:
                logits[place, last] = -torch.inf
        for step, row in zip(steps, logits, strict=True):
            assert step.kind == "forced" or step.token == int(row.argmax())


@pytest.mark.parametrize("top_k", [1, 20])
def test_a_call_opens_first_where_rank_and_the_tools_probability_both_allow_it(pupil, top_k):
    opening = pupil.tokenizer.encode(" [")
    prompts = LESSON_PROMPTS[::2]
    run = {"call_top_k": 0, "max_new_tokens": 20}
    plain = complete(pupil, prompts, parameters=parameters(**run), run_calls=never)
    places = set()
    for prompt, text in zip(prompts, plain, strict=True):
        ids = [0, *pupil.tokenizer.encode(prompt)]
        chances = []
        for step in text.trace:
            probability, before = 1.0, [*ids]
            for token in opening:
                behind = whole_logits(pupil, before)[-1].softmax(dim=-1)
                probability *= float(behind[token])
                before.append(token)
            others = whole_logits(pupil, ids)[-1].softmax(dim=-1)
            others[opening[0]] = 0
            tool, of_name = literal.named_tool(pupil, [*ids, *opening], TOOLS)
            rank = 1 + int((others > probability).sum())
            chances.append((rank, probability, tool, probability * of_name))
            ids.append(step.token)
        likely = sorted({product for *_, tool, product in chances if tool})[-4:]
        # Between two that occur, so that the last digits do not matter.
        values = (0.0, *map(statistics.mean, itertools.pairwise(likely)), 1.0)
        for in_text, behind_prompt in itertools.product(values, values):
            # A tool of its own has them the other way round.
            own = MinCallProbability(behind_prompt, in_text)
            least = MinCallProbability(in_text, behind_prompt, {"QA": own})
            expected = None
            for at, (rank, _, tool, product) in enumerate(chances):
                of_tool = {
                    "Calculator": in_text if at else behind_prompt,
                    "QA": behind_prompt if at else in_text,
                }
                by_rank_alone = set(of_tool.values()) == {0}
                if rank <= top_k and (by_rank_alone or (tool and product >= of_tool[tool])):
                    expected = at
                    break
            chosen = {"call_top_k": top_k, "min_call_probability": least, "max_new_tokens": 20}
            completion = complete_one(pupil, prompt, run_calls=answer("1"), **chosen)
            kinds = [step.kind for step in completion.trace]
            opened = next((at for at, kind in enumerate(kinds) if kind != "sampled"), None)
            assert opened == expected
            if opened is not None:
                step = completion.trace[opened]
                # What was read ahead and did not open has left nothing behind.
                assert [each.token for each in completion.trace[:opened]] == [
                    each.token for each in text.trace[:opened]
                ]
                assert step.call_rank == chances[opened][0]
                assert step.call_probability == pytest.approx(chances[opened][1], rel=1e-3)
            places.add(opened)
    assert len(places) > 1


NETWORK = tiny_model()


@settings(deadline=None)
@given(st.data())
def test_cache_gives_the_logits_of_feeding_everything_from_scratch(data):
    model, rows = NETWORK, data.draw(st.integers(1, 3))
    cache = model.contexts(rows)
    texts: list[list[int]] = [[] for _ in range(rows)]
    away: list[tuple[NetworkContexts, list[int]]] = []
    token = st.integers(0, model.tokenizer.vocabulary_size - 1)
    for _ in range(data.draw(st.integers(1, 5))):
        width = data.draw(st.sampled_from([1, 3, 40]))
        fed = [data.draw(st.lists(token, min_size=1, max_size=width)) for _ in texts]
        logits = cache.feed(fed)
        texts = [text + tokens for text, tokens in zip(texts, fed, strict=True)]
        for place, text in enumerate(texts):
            assert cache.length(place) == len(text)
            assert_goes_on(logits[place], model, text)
        for place, text in enumerate(texts):
            if data.draw(st.booleans()):
                length = data.draw(st.integers(1, len(text)))
                cache.forget(place, length)
                del text[length:]
        if away:
            back, text = away.pop()
            back.feed([[7, 8]])
            cache, texts = cache.join([back]), [*texts, [*text, 7, 8]]
        if len(texts) > 1 and data.draw(st.booleans()):
            left = data.draw(st.integers(0, len(texts) - 1))
            if data.draw(st.booleans()):
                away.append((cache.take([left]), texts[left]))
            kept = data.draw(st.permutations([at for at in range(len(texts)) if at != left]))
            cache.keep(kept)
            texts = [texts[place] for place in kept]


@pytest.mark.parametrize("is_plain", [False, True])
def test_copies_of_a_cache_go_on_behind_its_text_and_leave_it_as_it_is(monkeypatch, is_plain):
    monkeypatch.setattr(NETWORK, "is_plain", is_plain)
    opening = [0, *range(5, 45)]
    cache = NETWORK.contexts(1)
    cache.feed([opening])
    rows = cache.take([0, 0])
    entering = cache.take([0])
    assert_goes_on(cache.feed([[30]])[0], NETWORK, [*opening, 30])
    rows.feed([[7, 8, 9], [10]])
    assert_goes_on(cache.feed([[31]])[0], NETWORK, [*opening, 30, 31])
    entering.feed([[11, 12]])
    rows = rows.join([entering])
    logits = rows.feed([[20], [21, 22], [23]])
    for place, text in enumerate(([7, 8, 9, 20], [10, 21, 22], [11, 12, 23])):
        assert rows.length(place) == len(opening) + len(text)
        assert_goes_on(logits[place], NETWORK, opening + text)


@pytest.mark.parametrize("is_plain", [False, True])
@pytest.mark.parametrize(("left", "kept"), [(0, [2, 1]), (1, [0, 2]), (2, [0, 1])])
def test_keys_of_texts_stay_where_they_are_while_another_leaves_and_comes_back(
    monkeypatch, is_plain, left, kept
):
    monkeypatch.setattr(NETWORK, "is_plain", is_plain)
    cache = NETWORK.contexts(3)
    texts = [[0, 9, 8, 7], [0, 5], [0, 6, 6]]
    cache.feed(texts)
    layers: Any = [] if is_plain else cache._rows._cache.layers
    before = [layer.keys.data_ptr() for layer in layers]
    away = cache.take([left])
    cache.keep(kept)
    cache.feed([[11], [12]])
    away.feed([[13, 14]])
    cache = cache.join([away])
    assert [layer.keys.data_ptr() for layer in layers] == before
    logits = cache.feed([[20], [21], [22]])
    fed = (kept[0], [11, 20]), (kept[1], [12, 21]), (left, [13, 14, 22])
    for place, (text, behind) in enumerate(fed):
        assert_goes_on(logits[place], NETWORK, texts[text] + behind)


def test_hidden_keys_are_thrown_out():
    rows = SharedRows(NETWORK, 2)
    cache = NetworkContexts(NETWORK, rows)
    steady, forgetful = [0], [0]
    cache.feed([steady, forgetful])
    for step in range(60):
        cache_input = [[9 + step], [5, 6, 7, 8]]
        logits = cache.feed(cache_input)
        steady.append(9 + step)
        for place, text in enumerate((steady, forgetful + cache_input[1])):
            assert_goes_on(logits[place], NETWORK, text)
        cache.forget(1, 1)
    assert rows.keys < 1 + 4 * 60
    assert rows.keys <= cache.length(0) + 65
