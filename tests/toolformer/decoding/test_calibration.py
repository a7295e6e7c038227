"""The choice against all others and by hand, and what it is fed against decoding."""

import dataclasses
import itertools
import json
import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fakes import tiny_model
from tests.toolformer.architectures import windows_of
from toolformer.base.model_files import MIN_CALL_PROBABILITY_FILE
from toolformer.decoding.calibration import (
    CalibratedProbability,
    ToolThresholds,
    choose_min_call_probability,
    min_call_probability_text,
    read_min_call_probability,
)
from toolformer.decoding.call_gains import call_chances
from toolformer.decoding.completions import MinCallProbability
from toolformer.decoding.opening_thresholds import (
    Opening,
    best_threshold,
    prompt_threshold,
    sampled,
)
from toolformer.errors import ToolformerError

K = 10
PROBABILITIES = [0.0, 0.01, 0.05, 0.1, 0.2, 0.5]
# Sums of these are exact, in whatever order.
OPENINGS = st.lists(
    st.builds(
        Opening,
        st.sampled_from(PROBABILITIES),
        st.sampled_from([-1.0, -0.25, 0.0, 0.25, 0.5]),
        st.booleans(),
        st.integers(1, 5),
    ),
    min_size=1,
    max_size=12,
)
KEPT_WEIGHTS = st.sampled_from([0.5, 1.0, 8.0])


def total_gain(openings: list[Opening], threshold: float, kept_weight: float) -> float:
    return sum(
        opening.weight * (kept_weight if opening.is_kept else 1) * opening.gain
        for opening in openings
        if opening.probability >= threshold
    )


@given(OPENINGS, KEPT_WEIGHTS)
def test_no_other_threshold_gains_more_and_none_that_is_larger_as_much(openings, kept_weight):
    chosen = best_threshold(openings, kept_weight=kept_weight)
    gained = total_gain(openings, chosen, kept_weight)
    assert gained >= 0
    for other in (*PROBABILITIES, 1.0):
        others_gain = total_gain(openings, other, kept_weight)
        assert others_gain < gained if gained and other > chosen else others_gain <= gained


@given(OPENINGS, KEPT_WEIGHTS)
# The middle is itself the probability of an opening.
@example(
    [Opening(0.05, 0.25, False, 2), Opening(0.1, -0.25, True), Opening(0.2, -0.25, False)], 0.5
)
def test_behind_a_prompt_the_threshold_is_in_the_middle_of_those_that_gain_alike(
    openings, kept_weight
):
    best = best_threshold(openings, kept_weight=kept_weight)
    gained = total_gain(openings, best, kept_weight)
    alike = [best]
    for other in {opening.probability for opening in openings if opening.probability > best}:
        between = [opening for opening in openings if best <= opening.probability < other]
        gains = [total_gain([opening], 0, kept_weight) for opening in between]
        # The root of an exact sum, unlike `hypot`, is rounded once.
        standard_error = math.sqrt(sum(gain**2 for gain in gains))
        if gained - total_gain(openings, other, kept_weight) <= standard_error:
            alike.append(other)
    chosen = prompt_threshold(openings, kept_weight=kept_weight)
    middle = math.sqrt(best * max(alike))
    # A threshold opens the openings that are as likely as itself.
    opened = [each.probability for each in openings if each.probability >= middle]
    # Of 0 the middle is the best itself.
    if not best or max(alike) == best:
        assert chosen == best
    elif min(opened) in alike:
        assert chosen == middle
    else:
        assert chosen == max(each for each in alike if each <= middle)


def test_threshold_behind_a_prompt_keeps_openings_that_gain_though_one_heavy_opening_is_noisy():
    # Of the kept calls one at 0.93 counts 100 times: to give it up is within its standard error.
    kept = {0.99: 3.0, 0.96: 2.2, 0.94: -0.1, 0.93: 2.7}
    likely = [Opening(probability, gain, True) for probability, gain in kept.items()]
    others = [Opening(each, 1.0, False) for each in (0.9, 0.5, 0.3, 0.2, 0.1, 0.05)]
    assert prompt_threshold([*likely, *others], kept_weight=100) == 0.1


def test_no_threshold_behind_a_prompt_closes_calls_that_gain():
    assert prompt_threshold([Opening(1.0, 0.5, True)], kept_weight=1) < 1


@given(OPENINGS, st.randoms())
def test_an_opening_counts_by_its_weight_wherever_it_stands(openings, random):
    each = [
        dataclasses.replace(opening, weight=1)
        for opening in openings
        for _ in range(opening.weight)
    ]
    random.shuffle(each)
    assert best_threshold(each) == best_threshold(openings)


@pytest.mark.parametrize(
    ("openings", "expected"),
    [
        ([(0.3, 0.0)], math.nextafter(0.3, 1)),
        ([(0.3, -0.5), (0.1, -0.25)], math.nextafter(0.3, 1)),
        # 1 opens nothing, so it is chosen only where nothing gains.
        ([(1.0, 0.5)], math.nextafter(1, 0)),
        ([(1.0, -0.5)], 1.0),
        # Sums are exact.
        ([(0.5, 0.3), (0.4, -0.1), (0.3, -0.2), (0.2, 0.3)], 0.5),
    ],
)
def test_thresholds_worked_out_by_hand(openings, expected):
    made = [Opening(probability, gain, False) for probability, gain in openings]
    assert best_threshold(made) == expected
    assert best_threshold(made[::-1]) == expected


@given(st.lists(st.integers(), max_size=60), st.integers(1, 40))
def test_a_sample_stands_for_every_item_once_and_is_dense_at_the_beginning(ranked, count):
    taken = sampled(ranked, count=count)
    weights = [weight for _, weight in taken]
    assert sum(weights) == len(ranked)
    assert len(taken) <= count or len(taken) == len(ranked) <= count
    assert len(taken) >= min(len(ranked), count) / 2
    end = 0
    for item, weight in taken:
        assert item in ranked[end : end + weight]
        end += weight
    # But for rounding, sizes grow.
    assert all(later >= earlier - 1 for earlier, later in itertools.pairwise(weights))


KEPT = [Opening(0.4, 1.0, True), Opening(0.1, 0.5, True), Opening(0.02, 0.0, True)]
OTHERS = [Opening(0.2, -0.5, False, 2), Opening(0.1, -0.25, False, 20)]


def chosen_of(openings: list[Opening], **texts_by_tool: int) -> CalibratedProbability:
    return choose_min_call_probability(
        openings,
        call_top_k=K,
        texts_with_calls=8,
        texts_without_calls=5,
        kept_places=10,
        other_places=400,
        texts_by_tool=texts_by_tool,
    )


def test_behind_a_prompt_kept_places_count_as_much_as_all_others():
    chosen = chosen_of([*KEPT, *OTHERS])
    # In a text 0.1 loses 20 * 0.25 and gains 0.5; behind a prompt it gains 40 times as much. But
    # 15 nats more than at 0.4 are within one standard error, the root of 20² + 1² + 5².
    assert best_threshold([*KEPT, *OTHERS], kept_weight=40) == 0.1
    assert chosen.min_call_probability == 0.4
    assert chosen.min_call_probability_behind_prompt == pytest.approx(0.2)
    assert chosen.summary == (
        "Minimum call probability in running text: 0.4, which opens a call at 1 of 10 positions "
        "with kept calls in development texts and at 0 of 400 others. After a prompt: 0.2, which "
        "opens a call at 1 of 10 positions with kept calls in development texts and at 2 of 400 "
        "others."
    )


def test_each_tool_has_the_thresholds_of_its_own_openings_where_enough_texts_have_its_calls():
    facts = [Opening(0.05, 1.0, True, tool="Facts"), Opening(0.01, -1.0, False, tool="Facts")]
    sums = [Opening(0.6, 0.5, True, tool="Sums"), Opening(0.2, -2.0, False, tool="Sums")]
    rare = [Opening(0.3, 0.5, True, tool="Rare")]
    openings = [*facts, *sums, *rare]
    chosen = chosen_of(openings, Facts=8, Sums=9, Rare=7, Unwritten=9)
    assert chosen.min_call_probability_by_tool == {
        name: ToolThresholds(value, value, texts)
        for name, value, texts in (("Facts", 0.05, 8), ("Sums", 0.6, 9))
    }
    # One for all closes the tool that gains at 0.05.
    assert chosen.min_call_probability == best_threshold(openings) == 0.3
    assert chosen.values is not None
    named = ("Facts", "Sums", "Rare")
    assert chosen.values.at(1, named) == {"Facts": 0.05, "Sums": 0.6, "Rare": 0.3}
    # The total of both is as large as it can be with any two thresholds.
    gained = total_gain(facts, 0.05, 1) + total_gain(sums, 0.6, 1)
    assert gained == max(
        total_gain(facts, of_facts, 1) + total_gain(sums, of_sums, 1)
        for of_facts, of_sums in itertools.product((0.01, 0.05, 0.2, 0.6, 1.0), repeat=2)
    )
    said = chosen.summary
    assert "probability of Facts in running text: 0.05, which opens a call at 1 of 10" in said
    assert "probability of other tools in running text: 0.3, which opens a call at 1 of" in said


def test_one_tool_alone_needs_no_thresholds_beside_those_of_all():
    of_sums = [dataclasses.replace(each, tool="Sums") for each in (*KEPT, *OTHERS)]
    chosen = chosen_of(of_sums, Sums=9)
    assert chosen.min_call_probability_by_tool == {}
    assert chosen.values == chosen_of([*KEPT, *OTHERS]).values


def test_where_nothing_gains_no_call_opens_and_the_summary_says_so():
    chosen = chosen_of(OTHERS)
    assert chosen.values == MinCallProbability.everywhere(math.nextafter(0.2, 1))
    assert chosen.summary.count("No threshold gains anything there, so no call opens.") == 2
    assert chosen.summary.count("set decoding.min_call_probability to a number") == 1


def test_where_no_call_could_open_nothing_is_chosen():
    chosen = chosen_of([])
    assert chosen.values is None
    assert "among the 10 most likely tokens, followed by the name of a tool" in str(chosen.reason)
    assert str(chosen.reason) in chosen.summary


def test_what_was_chosen_is_read_back(tmp_path):
    assert read_min_call_probability(tmp_path) is None
    assert read_min_call_probability(tmp_path / "nowhere") is None
    sums = [dataclasses.replace(each, tool="Sums") for each in KEPT]
    chosen = chosen_of([*sums, *OTHERS], Sums=8)
    assert chosen.min_call_probability_by_tool
    refused = CalibratedProbability(None, None, "why", K, 0, 0)
    for each in (dataclasses.replace(chosen, made_from={"fingerprint": "x"}), refused):
        (tmp_path / MIN_CALL_PROBABILITY_FILE).write_text(min_call_probability_text(each))
        assert read_min_call_probability(tmp_path) == each


TOO_LARGE = {"in_text": 1.5, "behind_prompt": 0.5, "texts_with_calls": 9}


@pytest.mark.parametrize(
    "damage",
    [
        *({"openings": openings} for openings in (None, [7], [{"gain": 0.5}], "x")),
        {"min_call_probability": 1.5},
        {"min_call_probability_behind_prompt": -0.5},
        {"min_call_probability_behind_prompt": None},
        {"min_call_probability": None, "min_call_probability_behind_prompt": None},
        *(
            {"min_call_probability_by_tool": {"Sums": own}}
            for own in (0.5, {"in_text": 0.5}, TOO_LARGE)
        ),
    ],
)
def test_a_choice_that_is_none_is_damage(tmp_path, damage):
    choice = dataclasses.asdict(CalibratedProbability(0.74, 0.5, None, K, 9, 12))
    for content in ({**choice, **damage}, damage):
        (tmp_path / MIN_CALL_PROBABILITY_FILE).write_text(json.dumps(content))
        with pytest.raises(ToolformerError, match=r"(?s)json' is damaged.*Delete it"):
            read_min_call_probability(tmp_path)


def test_chances_are_those_of_reading_each_beginning_alone():
    model = tiny_model(seed=3)
    windows = windows_of(model.tokenizer, "one two", "A ü [ and", "x")
    seen = []
    of_windows = call_chances(
        model, windows, token_budget=12, progress=lambda *told: seen.append(told)
    )
    (opening,) = model.tokenizer.encode(" [")
    for window, chances in zip(windows, of_windows, strict=True):
        assert len(chances) == len(window.ids)
        for at, (offset, chance) in enumerate(zip(window.offsets, chances, strict=True)):
            if offset is None:
                assert chance == (None, None)
                continue
            ids = torch.tensor([[0, *window.ids[:at]]])
            with torch.no_grad():
                logits = model.model(ids, use_cache=False).logits[0, -1]
            probabilities = logits.float().softmax(dim=-1)
            probability = probabilities[opening]
            assert chance.probability == pytest.approx(float(probability), rel=1e-3)
            assert chance.rank == int((probabilities > probability).sum()) + 1
    assert seen[-1] == (3, 3)
    assert any(chance == (None, None) for chance in of_windows[1])
