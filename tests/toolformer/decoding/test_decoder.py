"""One text at a time, by a model that writes what a test wants: its calls, undone ones, its end."""

import pytest
import torch

from tests.fakes import START, ScriptedModel, decoding_with
from tests.toolformer.decoding.conftest import PLAIN, PROMPT, answer, complete_one
from toolformer.decoding.completions import MinCallProbability
from toolformer.decoding.decoder import max_prompt_length
from toolformer.errors import SequenceTooLongError
from tools.errors import CallSyntaxError
from tools.syntax import insert_calls

# Seconds in all; `make test-fast` leaves them out.
pytestmark = pytest.mark.slow

CALL = " [Calculator(6 * 7) ->"
WITH_CALL = PROMPT + CALL + " 42] 42."


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
        (CALL, "blocked_tool", {"blocked_tools": ("Calculator", "QA")}),
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
    most = max_prompt_length(model, decoding_with())
    complete_one(model, "a" * most)
    with pytest.raises(SequenceTooLongError, match=f"at most {most}"):
        complete_one(model, "a" * (most + 1))
    with_more = [max_prompt_length(model, decoding_with(max_calls=calls)) for calls in (2, 3)]
    assert most - with_more[0] == with_more[0] - with_more[1] > 64 + 128
