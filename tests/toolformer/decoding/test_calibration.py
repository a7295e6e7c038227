"""The choice against its literal form and by hand, and what it is fed against decoding."""

import dataclasses
import json
import math
from collections.abc import Set
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import tiny_model
from tests.toolformer.architectures import windows_of
from toolformer.decoding.calibration import (
    CalibratedProbability,
    CurvePoint,
    MeasuredText,
    Opening,
    choose_min_call_probability,
    min_call_probability_text,
    read_min_call_probability,
)
from toolformer.decoding.call_chances import call_chances
from toolformer.decoding.triggers import CallChance, first_opening, first_openings
from toolformer.errors import ToolformerError
from toolformer.files.beside_models import MIN_CALL_PROBABILITY_FILE

K = 10
# Sums of these are exact, in whatever order.
GAINS = [-1.0, -0.25, 0.0, 0.25, 0.5]


class ReadText(NamedTuple):
    """A text with the gain of a call at each of its positions."""

    chances: list[CallChance]
    gains: list[float]
    call_positions: Set[int]

    def opened(self, threshold: float) -> int | None:
        return first_opening(self.chances, call_top_k=K, min_call_probability=threshold)

    def measured(self) -> MeasuredText:
        openings = [
            Opening(self.chances[at].probability or 0.0, self.gains[at], at in self.call_positions)
            for at in first_openings(self.chances, call_top_k=K)
        ]
        return MeasuredText(openings, bool(self.call_positions))


CHANCES = st.lists(
    st.one_of(
        st.just(CallChance(None, None)),
        st.builds(
            CallChance, st.integers(1, 12), st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0])
        ),
    ),
    max_size=6,
)
GAIN_OF_EACH = st.lists(st.sampled_from(GAINS), min_size=6, max_size=6)
KEPT = st.sets(st.integers(0, 6), min_size=1, max_size=2)
WITH_CALLS = st.builds(ReadText, CHANCES, GAIN_OF_EACH, KEPT)
WITHOUT = st.builds(ReadText, CHANCES, GAIN_OF_EACH, st.just(frozenset()))


def mean_gain(texts: list[ReadText], threshold: float) -> float:
    opened = [text.opened(threshold) for text in texts]
    gains = [0 if at is None else text.gains[at] for at, text in zip(opened, texts, strict=True)]
    return sum(gains) / max(len(gains), 1)


def literal_choice(with_calls: list[ReadText], without: list[ReadText]) -> float | None:
    """Every probability that occurs, and one above them all, tried on every text."""

    def score(threshold: float) -> float:
        return mean_gain(with_calls, threshold) + mean_gain(without, threshold)

    distinct = {
        chance.probability
        for text in (*with_calls, *without)
        for chance in text.chances
        if chance.rank is not None and chance.probability is not None and chance.rank <= K
    }
    if distinct and max(distinct) < 1:
        distinct.add(math.nextafter(max(distinct), 1))
    return max(distinct, key=lambda threshold: (score(threshold), threshold), default=None)


@given(st.lists(WITH_CALLS, min_size=8, max_size=12), st.lists(WITHOUT, max_size=6))
def test_the_choice_is_that_of_trying_every_probability(with_calls, without):
    texts = [text.measured() for text in (*with_calls, *without)]
    chosen = choose_min_call_probability(texts, call_top_k=K)
    assert chosen.min_call_probability == literal_choice(with_calls, without)
    assert (chosen.reason is None) == (chosen.min_call_probability is not None)
    assert (chosen.texts_with_calls, chosen.texts_without_calls) == (len(with_calls), len(without))
    for point in chosen.curve:
        opened = [text.opened(point.threshold) for text in with_calls]
        right = [at in text.call_positions for at, text in zip(opened, with_calls, strict=True)]
        assert point == CurvePoint(
            threshold=point.threshold,
            gain_with_calls=mean_gain(with_calls, point.threshold),
            gain_without_calls=mean_gain(without, point.threshold),
            opened_with_calls=sum(at is not None for at in opened),
            opened_without_calls=sum(text.opened(point.threshold) is not None for text in without),
            right=sum(right),
        )


@given(CHANCES)
def test_first_openings_are_those_that_some_threshold_has_first(chances):
    opened = {
        first_opening(chances, call_top_k=K, min_call_probability=chance.probability)
        for chance in chances
        if chance.probability is not None
    }
    assert first_openings(chances, call_top_k=K) == sorted(opened - {None})


LIKELY = MeasuredText([Opening(0.2, -0.5, False), Opening(0.4, 1.0, True)], has_calls=True)
UNLIKELY = MeasuredText([Opening(0.1, -1.0, False)], has_calls=False)


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        ([LIKELY] * 7 + [UNLIKELY], "at least 8"),
        ([MeasuredText([], has_calls=True)] * 8, "10 likeliest"),
    ],
)
def test_where_there_is_too_little_to_choose_by_nothing_is_chosen(texts, reason):
    chosen = choose_min_call_probability(texts, call_top_k=K)
    assert chosen.min_call_probability is None
    assert reason in str(chosen.reason)
    assert chosen.chosen is None


def test_of_equal_scores_the_largest_is_chosen():
    harmless = MeasuredText([Opening(0.3, 0.0, False)], has_calls=False)
    chosen = choose_min_call_probability([LIKELY] * 8 + [harmless], call_top_k=K)
    assert [point.score for point in chosen.curve if point.threshold in (0.3, 0.4)] == [1.0, 1.0]
    assert chosen.min_call_probability == 0.4


def test_what_was_chosen_is_read_back(tmp_path: Path):
    assert read_min_call_probability(tmp_path) is None
    assert read_min_call_probability(tmp_path / "nowhere") is None
    chosen = choose_min_call_probability([LIKELY] * 8 + [UNLIKELY], call_top_k=K)
    assert chosen.chosen == CurvePoint(0.4, 1.0, 0.0, 8, 0, 8)
    refused = CalibratedProbability(None, "why", K, 0, 0)
    for each in (dataclasses.replace(chosen, made_from={"fingerprint": "x"}), refused):
        (tmp_path / MIN_CALL_PROBABILITY_FILE).write_text(min_call_probability_text(each))
        assert read_min_call_probability(tmp_path) == each


def test_thousands_of_texts_are_looked_at_once():
    # A text for each threshold would take minutes.
    probabilities = np.random.default_rng(0).random((5000, 4)).cumsum(axis=1) / 4
    texts = [
        MeasuredText([Opening(at, number % 3 - 1, at == last) for at in row], number % 2 == 0)
        for number, row in enumerate(probabilities.tolist())
        for last in row[-1:]
    ]
    chosen = choose_min_call_probability(texts, call_top_k=K)
    assert len(chosen.curve) == 20_001
    first, last = chosen.curve[0], chosen.curve[-1]
    assert (first.opened_with_calls, first.opened_without_calls) == (2500, 2500)
    assert last == CurvePoint(last.threshold, 0.0, 0.0, 0, 0, 0)


@given(
    st.lists(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=4), min_size=8, max_size=12)
)
def test_mean_gains_are_exactly_rounded(gains_of):
    texts = [
        MeasuredText([Opening((n + 1) / 8, gain, False) for n, gain in enumerate(gains)], True)
        for gains in gains_of
    ]
    for point in choose_min_call_probability(texts, call_top_k=K).curve:
        place = math.ceil(point.threshold * 8) - 1
        opened = [gains[place] for gains in gains_of if place < len(gains)]
        assert point.gain_with_calls == math.fsum(opened) / len(texts)


@pytest.mark.parametrize("curve", [None, [7], [{"threshold": 0.5}], "x"])
def test_a_curve_that_is_none_is_damage(tmp_path: Path, curve):
    choice = dataclasses.asdict(CalibratedProbability(0.74, None, K, 9, 12))
    text = json.dumps({**choice, "curve": curve})
    (tmp_path / MIN_CALL_PROBABILITY_FILE).write_text(text)
    with pytest.raises(ToolformerError, match="is damaged"):
        read_min_call_probability(tmp_path)


@pytest.mark.parametrize("splits_opening", [False, True], ids=["one token", "two tokens"])
def test_chances_are_those_of_reading_each_beginning_alone(splits_opening):
    model = tiny_model(seed=3, splits_opening=splits_opening)
    windows = windows_of(model.tokenizer, "one two", "A ü [ and", "x")
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
