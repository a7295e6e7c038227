"""The choice against its literal form, and what it is fed against decoding."""

import dataclasses
import json
import math
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import tiny_model
from toolformer.decoding.call_chances import call_chances
from toolformer.decoding.call_threshold import (
    CallThreshold,
    ReadText,
    call_threshold_text,
    choose_call_threshold,
    read_call_threshold,
)
from toolformer.decoding.triggers import CallChance, first_opening
from toolformer.forward.windows import Window
from toolformer.ground.beside_models import CALL_THRESHOLD_FILE

K = 10
CHANCES = st.lists(
    st.one_of(
        st.just(CallChance(None, None)),
        st.builds(
            CallChance, st.integers(1, 12), st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0])
        ),
    ),
    max_size=6,
)
WITH_CALLS = st.builds(ReadText, CHANCES, st.sets(st.integers(0, 6), min_size=1, max_size=2))
WITHOUT = st.builds(ReadText, CHANCES, st.just(frozenset()))


def literal_choice(texts: list[ReadText]) -> float | None:
    """Every probability that occurs, and one above them all, tried on every text."""

    def score(threshold: float) -> Fraction:
        right, wrong = [], []
        for text in texts:
            opened = first_opening(text.chances, call_top_k=K, least_call_probability=threshold)
            if text.call_positions:
                right.append(opened in text.call_positions)
            else:
                wrong.append(opened is not None)
        return Fraction(sum(right), len(right)) - Fraction(sum(wrong), len(wrong))

    distinct = {
        chance.probability
        for text in texts
        for chance in text.chances
        if chance.rank is not None and chance.probability is not None and chance.rank <= K
    }
    distinct |= {math.nextafter(highest, 1) for highest in sorted(distinct)[-1:]}
    return max(distinct, key=lambda threshold: (score(threshold), threshold), default=None)


@given(st.lists(WITH_CALLS, min_size=8, max_size=12), st.lists(WITHOUT, min_size=1, max_size=6))
def test_the_choice_is_that_of_trying_every_probability(with_calls, without):
    texts = [*with_calls, *without]
    chosen = choose_call_threshold(texts, call_top_k=K)
    assert chosen.least_call_probability == literal_choice(texts)
    assert (chosen.reason is None) == (chosen.least_call_probability is not None)
    assert (chosen.texts_with_calls, chosen.texts_without_calls) == (len(with_calls), len(without))
    for point in chosen.curve:
        opened = [
            first_opening(text.chances, call_top_k=K, least_call_probability=point.threshold)
            for text in texts
        ]
        right = [at in text.call_positions for at, text in zip(opened, texts, strict=True)]
        is_opened = [at is not None for at in opened]
        counts = (point.right, point.elsewhere, point.without)
        in_texts_with = sum(is_opened[: len(with_calls)])
        assert counts == (sum(right), in_texts_with - sum(right), sum(is_opened[len(with_calls) :]))


LIKELY = ReadText([CallChance(3, 0.2), CallChance(1, 0.4)], {1})
NONE = ReadText([CallChance(5, 0.1)], frozenset())


ELSEWHERE = ReadText([CallChance(1, 0.4)], {1})
WRONG = ReadText([CallChance(1, 0.6)], frozenset())


@pytest.mark.parametrize(
    "texts",
    [
        [*[LIKELY] * 8, *[WRONG] * 4],
        [*[LIKELY] * 4, *[ELSEWHERE] * 4, WRONG, ReadText([CallChance(1, 0.3)], frozenset())],
        [*[ELSEWHERE] * 8, NONE],
    ],
    ids=["as much lost as gained", "more lost than gained", "never right"],
)
def test_where_no_threshold_gains_no_call_is_opened_and_the_choice_says_so(texts):
    chosen = choose_call_threshold(texts, call_top_k=K)
    least, best = chosen.least_call_probability, chosen.chosen
    assert least is not None
    assert best is not None
    assert best == chosen.curve[-1]
    assert (best.right, best.elsewhere, best.without, best.score) == (0, 0, 0, 0)
    for text in texts:
        opened = first_opening(text.chances, call_top_k=K, least_call_probability=least)
        assert opened is None
    assert "No value gains anything" in chosen.told


def test_a_choice_that_gains_does_not_say_otherwise():
    chosen = choose_call_threshold([LIKELY] * 8 + [NONE], call_top_k=K)
    assert "No value gains" not in chosen.told


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ([LIKELY] * 7 + [NONE], "7 development texts have calls, expected at least 8"),
        ([LIKELY] * 8, "no development text is without calls"),
        (
            [ReadText([CallChance(11, 0.9)], {0})] * 8
            + [NONE][:0]
            + [ReadText([CallChance(None, None)], frozenset())],
            "nowhere among the 10 likeliest",
        ),
    ],
)
def test_where_there_is_too_little_to_choose_by_nothing_is_chosen(texts, reason):
    chosen = choose_call_threshold(texts, call_top_k=K)
    assert chosen.least_call_probability is None
    assert reason in str(chosen.reason)
    assert chosen.chosen is None


def test_what_was_chosen_is_read_back(tmp_path: Path):
    assert read_call_threshold(tmp_path) is None
    assert read_call_threshold(tmp_path / "nowhere") is None
    chosen = choose_call_threshold([LIKELY] * 8 + [NONE], call_top_k=K)
    chosen = dataclasses.replace(chosen, made_from={"fingerprint": "x"})
    text = call_threshold_text(chosen)
    (tmp_path / CALL_THRESHOLD_FILE).write_text(text)
    assert read_call_threshold(tmp_path) == chosen
    assert json.loads(text)["fingerprint"] == "x"
    best = chosen.chosen
    assert best is not None
    assert (best.threshold, best.right, best.elsewhere, best.without) == (0.4, 8, 0, 0)
    refused = CallThreshold(None, "why", K, 0, 0)
    (tmp_path / CALL_THRESHOLD_FILE).write_text(call_threshold_text(refused))
    assert read_call_threshold(tmp_path) == refused


@pytest.mark.parametrize("attention", ["auto", "stock"])
@pytest.mark.parametrize("splits_opening", [False, True], ids=["one token", "two tokens"])
def test_chances_are_those_of_reading_each_beginning_alone(splits_opening, attention):
    model = tiny_model(seed=3, splits_opening=splits_opening, attention=attention)
    encode = model.tokenizer.encode_with_offsets
    texts = ["one two", "A ü [ and", "x"]
    windows = [
        Window(f"d{number}", 0, 0, text, *(tuple(each) for each in encode(text)))
        for number, text in enumerate(texts)
    ]
    seen = []
    of_windows = call_chances(
        model, windows, call_top_k=200, token_budget=12, progress=lambda *told: seen.append(told)
    )
    opening = model.tokenizer.encode(" [")
    for window, chances in zip(windows, of_windows, strict=True):
        assert len(chances) == len(window.ids)
        for at, (offset, chance) in enumerate(zip(window.offsets, chances, strict=True)):
            ids = [0, *window.ids[:at]]

            def behind(ids):
                with torch.no_grad():
                    logits = model.model(torch.tensor([ids]), use_cache=False).logits
                return logits[0, -1].float().softmax(dim=-1)

            others = behind(ids)
            is_tried = len(opening) == 1 or int((others > others[opening[0]]).sum()) < 200
            if offset is None or not is_tried:
                assert chance == (None, None)
                continue
            probability = math.prod(
                float(behind([*ids, *opening[:place]])[token])
                for place, token in enumerate(opening)
            )
            others[opening[0]] = 0
            assert chance.probability == pytest.approx(probability, rel=1e-3)
            assert chance.rank == int((others > probability).sum()) + 1
    assert seen[-1] == (3, 3)
    assert any(chance == (None, None) for chance in of_windows[1])
