"""Texts that are decoded together, and what a small network that has learned calls writes."""

import itertools
import math
import statistics

import pytest
import torch

from tests import literal
from tests.fakes import ScriptedModel, decoding_with
from tests.toolformer.decoding.conftest import (
    LESSONS,
    PLAIN,
    PROMPT,
    answer,
    complete_one,
    never,
    without_negligible_ranks,
)
from toolformer import reference
from toolformer.decoding.completions import CLOSED, MinCallProbability
from toolformer.decoding.decoder import complete, max_prompt_length
from toolformer.decoding.decoding_batch import DecodingBatch
from toolformer.errors import OutOfMemoryError
from tools.protocol import ToolCall

# Seconds in all; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow
# In the text and behind the prompt.
BOTH = [(0.01, 0.01), (0.01, 1.0), (1.0, 0.01), (1.0, 1.0)]


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
        ScriptedModel(texts), prompts, decoding=decoding_with(), run_calls=run_calls
    )
    written = [completion.prompt + completion.text for completion in completions]
    assert written == texts
    assert steps == [
        [(0, ToolCall("QA", "a")), (1, ToolCall("QA", "b"))],
        [(2, ToolCall("QA", "c"))],
    ]


LESSON_PROMPTS = ("6 times 7 is", "Half of 9 is", "And yesterday", "See the note")
SOME_PROMPTS = [*LESSON_PROMPTS, "6 times", "the day", "Half of the note is a day"]


def equals_one(requests):
    return [f"{call.arguments} = 1" for _, call in requests]


@pytest.mark.parametrize("top_k", [1, 20])
def test_texts_of_a_batch_are_decoded_as_if_alone(pupil, fed, top_k):
    run = {"decoding": decoding_with(call_top_k=top_k, max_new_tokens=30), "run_calls": equals_one}
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


@pytest.mark.parametrize("has_answer", [True, False])
def test_texts_are_those_that_the_reference_decodes(pupil, has_answer):
    decoding = decoding_with(call_top_k=20, max_new_tokens=12)

    def run_tool(call: ToolCall) -> str | None:
        return f"{call.arguments} = 1" if has_answer else None

    found = complete(
        pupil,
        SOME_PROMPTS,
        decoding=decoding,
        run_calls=lambda requests: [run_tool(call) for _, call in requests],
    )
    assert any(each.calls for each in found) == has_answer
    for completion in found:
        expected = reference.complete(
            pupil,
            completion.prompt,
            decoding.tools,
            run_tool,
            k=decoding.settings.call_top_k,
            max_tokens=decoding.settings.max_new_tokens,
            max_call_tokens=decoding.settings.max_call_tokens,
        )
        assert completion.text == expected


def test_of_prompts_that_go_on_with_each_other_the_longest_alone_is_fed(pupil, fed):
    whole = pupil.tokenizer.encode("6 times 7 is 42 and yesterday was the day of the note")
    others = pupil.tokenizer.encode("6 times 8 is")
    prompt_ids = [whole[:5], others, whole, whole[:5], whole[:1], whole[:-1]]
    run = {"decoding": decoding_with(call_top_k=20, max_new_tokens=12), "run_calls": equals_one}
    alone = [complete(pupil, [""], prompt_ids=[ids], **run)[0] for ids in prompt_ids]
    fed.clear()
    together = complete(pupil, [""] * len(prompt_ids), prompt_ids=prompt_ids, **run)
    assert without_negligible_ranks(together) == without_negligible_ranks(alone)
    start, in_front, last = fed[:3]
    assert start == [[0]]
    # All but their last tokens; the other prompts begin as the longest does.
    assert sorted(in_front) == sorted([others[:-1], whole[:-1]])
    assert list(map(len, last)) == [1] * len(prompt_ids)


def test_texts_that_wait_for_a_result_enter_once_behind_the_opening_that_all_share(monkeypatch):
    opening = "Ask where you do not know. So: "
    long = "w" * 80
    texts = [
        *(f"{opening}{n} is{' so' * n} [QA({n}) -> {long}] {n}." for n in range(4)),
        *(f"{opening}{n} is plain." for n in (4, 5)),
    ]
    prompts = [f"{opening}{n} is" for n in range(6)]
    run = {"decoding": decoding_with(), "run_calls": answer(long)}
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
    chosen = decoding_with(call_top_k=top_k, min_call_probability=least, max_new_tokens=30)
    run = {"decoding": chosen, "run_calls": equals_one}
    expected = complete(pupil, SOME_PROMPTS, **run)
    disabled = decoding_with(call_top_k=0, max_new_tokens=30)
    plain = complete(pupil, SOME_PROMPTS, decoding=disabled, run_calls=never)
    fed.clear()
    again = complete(pupil, SOME_PROMPTS, without_calls=plain, **run)
    assert again == expected
    is_disabled = top_k == 0 or least == CLOSED
    assert (fed == []) == is_disabled


def test_a_text_begins_again_where_its_first_call_opens(fed):
    model = ScriptedModel([PLAIN], open_ranks={PROMPT + " many": 1})
    plain = complete_one(model, call_top_k=0)
    fed.clear()
    (again,) = complete(
        model,
        [PROMPT],
        decoding=decoding_with(call_top_k=1),
        run_calls=never,
        without_calls=[plain],
    )
    assert fed[0] == [[0, *model.tokenizer.encode(PROMPT + " many")]]
    # No call followed behind the bracket, so it was taken back.
    assert (again.text, len(again.undone_calls)) == (plain.text, 1)


def test_a_prompt_with_just_room_for_its_answer_has_room_for_one_that_is_known():
    model = ScriptedModel([PLAIN], open_ranks={PROMPT + " many": 1})
    decoding = decoding_with(call_top_k=1)
    room = max_prompt_length(model, decoding)
    model.context_length += len(model.tokenizer.encode(PROMPT)) - room
    plain = complete_one(model, call_top_k=0)
    (again,) = complete(model, [PROMPT], decoding=decoding, run_calls=never, without_calls=[plain])
    assert again.undone_calls


# --- with a real network ------------------------------------------------------------------------


def test_network_calls_tools_and_goes_on_from_the_same_keys(pupil):
    answers = {"6 * 7": "42", "9 / 2": "4.5", "day?": "Monday"}
    completions = complete(
        pupil,
        LESSON_PROMPTS,
        decoding=decoding_with(call_top_k=1),
        run_calls=lambda requests: [answers[call.arguments] for _, call in requests],
    )
    for completion, lesson in zip(completions[:3], LESSONS, strict=False):
        assert completion.prompt + completion.text == lesson
    assert completions[3].undone_calls == ((" [7", "not_a_call", 2),)
    for completion in completions:
        prompt = [0, *pupil.tokenizer.encode(completion.prompt)]
        steps = [step for step in completion.trace if step.kind != "undone"]
        tokens = [step.token for step in steps]
        logits = reference.log_probabilities(pupil, prompt, tokens).clone()
        *before, last = pupil.tokenizer.encode(" [")
        for place in range(len(steps)):
            # A second call is banned: behind the other tokens of ` [` where there are some.
            fed = [*prompt, *tokens[:place]]
            if completion.undone_calls and fed[len(fed) - len(before) :] == before:
                logits[place, last] = -math.inf
        for step, row in zip(steps, logits[:-1], strict=True):
            assert step.kind == "forced" or step.token == int(row.argmax())


@pytest.mark.parametrize("top_k", [1, 20])
def test_a_call_opens_first_where_rank_and_the_tools_probability_both_allow_it(pupil, top_k):
    opening = pupil.tokenizer.encode(" [")
    prompts = LESSON_PROMPTS[::2]
    run = {"call_top_k": 0, "max_new_tokens": 20}
    plain = complete(pupil, prompts, decoding=decoding_with(**run), run_calls=never)
    places = set()
    for prompt, text in zip(prompts, plain, strict=True):
        ids = [0, *pupil.tokenizer.encode(prompt)]
        chances = []
        for step in text.trace:
            probability, before = 1.0, [*ids]
            for token in opening:
                behind = reference.next_token_log_probabilities(pupil, before).exp()
                probability *= float(behind[token])
                before.append(token)
            others = reference.next_token_log_probabilities(pupil, ids).exp()
            others[opening[0]] = 0
            tool, of_name = literal.named_tool(pupil, [*ids, *opening], ("Calculator", "QA"))
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


def holding(model, monkeypatch, tokens: int) -> list[int]:
    """Let memory run out above so many tokens of a pass; the list gets those of each pass."""
    passes, hidden_states = [], type(model).hidden_states

    def hidden_states_within(input_ids, **behind):
        passes.append(input_ids.numel())
        if input_ids.numel() > tokens:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return hidden_states(model, input_ids, **behind)

    monkeypatch.setattr(model, "hidden_states", hidden_states_within)
    return passes


def test_prompts_that_memory_does_not_hold_together_enter_by_halves(monkeypatch):
    texts = [f"{name} is {name * 40} [QA({name}) -> so] {name}." for name in "ABCDEFG"]
    prompts = [text[:45] for text in texts]
    run = {"decoding": decoding_with(), "run_calls": answer("so")}
    expected = complete(ScriptedModel(texts), prompts, **run)
    model = ScriptedModel(texts)
    passes = holding(model, monkeypatch, 100)
    assert complete(model, prompts, **run) == expected
    # The start token, which all share; then seven, three, one and two, four, two and two.
    of_prompts = [1, *(45 * rows for rows in (7, 3, 1, 2, 4, 2, 2))]
    assert passes[: len(of_prompts)] == of_prompts
    assert [each.prompt + each.text for each in expected] == texts


def test_a_prompt_that_memory_does_not_hold_alone_is_refused(monkeypatch):
    model = ScriptedModel(["A is B."])
    holding(model, monkeypatch, 3)
    with pytest.raises(OutOfMemoryError, match="A single text does not fit"):
        complete(model, ["A is"], decoding=decoding_with(), run_calls=never)
