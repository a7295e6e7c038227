"""Rows of models that keep states: how many passes they take, and that these change no number."""

import pytest
import torch

from tests.fakes import decoding_with
from tests.toolformer.test_every_architecture import OWN_SIZES, TOKENIZER, built, stock
from toolformer.decoding.decoder import complete
from toolformer.forward.language_model import LanguageModel

# Seconds in all; `make test-fast` leaves them out.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
STATES = ["falcon_h1", "granitemoehybrid", "lfm2", "mamba2", "nemotron_h", "qwen3_5_text"]
LENGTHS = (4, 9, 30, 31, 5, 12, 12, 1)


@pytest.fixture(scope="module", params=STATES)
def model(request) -> LanguageModel:
    with pytest.MonkeyPatch.context() as patched:
        # By default it has layers of states alone, as Granite 4 has not.
        patched.setitem(OWN_SIZES, "granitemoehybrid", OWN_SIZES["qwen3_next"])
        model = LanguageModel(built(request.param), TOKENIZER, name=request.param)
    assert model.is_plain
    return model


@pytest.fixture
def passes(model, monkeypatch) -> list[int]:
    """The number of rows of each pass."""
    rows, own_states = [], model.own_states
    monkeypatch.setattr(
        model,
        "own_states",
        lambda ids, *past, **behind: rows.append(len(ids)) or own_states(ids, *past, **behind),
    )
    return rows


def texts_of(lengths) -> list[list[int]]:
    return [
        [0, *(7 + (5 * text + 3 * at) % 250 for at in range(n))] for text, n in enumerate(lengths)
    ]


def assert_goes_on(model, states, texts):
    # By itself too, Nemotron-H computes a token behind its cache more coarsely than in a whole row.
    tolerance = 0.03 if model.name == "nemotron_h" else 1e-3
    for state, text in zip(states, texts, strict=True):
        with torch.inference_mode():
            logits, expected = model.logits(state), stock(model, text)[-1]
        torch.testing.assert_close(logits, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("lengths", [(12,) * 8, LENGTHS])
def test_eight_texts_that_were_fed_apart_take_a_pass_for_each_step(model, passes, lengths):
    texts = texts_of(lengths)
    apart = [model.contexts(1) for _ in texts]
    for row, text in zip(apart, texts, strict=True):
        row.feed([text])
    rows = apart[0].join(apart[1:])
    passes.clear()
    for step in range(3):
        new = [[20 + 8 * step + text] for text in range(8)]
        states = rows.feed(new)
        texts = [text + tokens for text, tokens in zip(texts, new, strict=True)]
        assert_goes_on(model, states, texts)
    assert passes == [8, 8, 8]


def test_new_texts_of_equal_length_are_fed_together_behind_what_all_begin_with(model, passes):
    opening = model.contexts(1)
    opening.feed([[0, 9, 8, 7]])
    rows, texts = opening.fork([0] * 4), [[40], [41, 42], [43, 44], [45]]
    passes.clear()
    states = rows.feed(texts)
    assert passes == [2, 2]
    assert_goes_on(model, states, [[0, 9, 8, 7, *text] for text in texts])
    assert_goes_on(model, opening.feed([[5]]), [[0, 9, 8, 7, 5]])


def test_texts_of_other_lengths_leave_and_come_back(model, passes):
    texts = texts_of(LENGTHS[:4])
    rows = model.contexts(4)
    rows.feed(texts)
    away = rows.fork([1])
    # Without the longest, whose padding goes with it.
    rows.keep([0, 2])
    texts = [texts[at] for at in (0, 2, 1)]
    for tokens in ([50], [51]):
        passes.clear()
        assert_goes_on(model, rows.feed([tokens] * 2), [text + tokens for text in texts[:2]])
        texts[:2] = [text + tokens for text in texts[:2]]
        assert passes == [2]
    away.feed([[60, 61]])
    rows = rows.join([away])
    texts[2] += [60, 61]
    rows.forget(0, 3)
    texts[0] = texts[0][:3]
    assert_goes_on(model, rows.feed([[70]] * 3), [[*text, 70] for text in texts])


def test_decoded_texts_are_those_that_are_decoded_alone(model, passes):
    prompts = ["Six times", "Rain fell on the plain and", "So", "Six or seven", "It is"]
    run = {
        "decoding": decoding_with(max_new_tokens=8, tools=()),
        "run_calls": lambda _: [],
        "end_ids": frozenset(),
    }
    alone = [complete(model, [prompt], **run)[0].text for prompt in prompts]
    passes.clear()
    assert [each.text for each in complete(model, prompts, **run)] == alone
    # The start token, prompts by their lengths, and the steps behind the first token.
    assert len(passes) == 1 + len(set(map(len, prompts))) + 7
