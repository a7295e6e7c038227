import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toolformer.calibration import calibration_calls

from tests.fakes import tiny_model
from tests.toolformer.architectures import windows_of
from toolformer.calls import CallFormat, prefix_ids
from toolformer.filtering import CallLosses, decide, pruning_threshold
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.row_losses import common_opening
from toolformer.losses import ScoredCall, TextLosses, score_calls
from toolformer.rescoring import (
    first_pass_pruning,
    is_uncertain,
    is_uncertain_in_contrast,
    score_again,
    start_token_losses,
)
from tools.protocol import ToolCall

BAND = 0.1


def losses(reduction: float, *, baseline: float = 3.0) -> CallLosses:
    return CallLosses(baseline, baseline - reduction, baseline + 1.0, 5)


def bounded(bound: float, *, has_result: bool = True) -> CallLosses:
    """A pruned call: only an upper bound of its reduction is known."""
    if not has_result:
        return CallLosses(bound, None, None, 5)
    return CallLosses(3.0, 3.0 - bound, None, 5)


@pytest.mark.parametrize(
    ("reduction", "uncertain"),
    [(0.89, False), (0.91, True), (1.0, True), (1.09, True), (1.11, False), (-2.0, False)],
)
def test_a_call_is_uncertain_within_the_band_on_both_sides(reduction, uncertain):
    assert is_uncertain(losses(reduction), [1.0], band=BAND) == uncertain


@pytest.mark.parametrize("has_result", [True, False])
@pytest.mark.parametrize(
    ("bound", "uncertain"),
    # Above the band too: the bound says only that the reduction is not larger.
    [(0.3, False), (0.39, False), (0.41, True), (0.5, True), (0.7, True)],
)
def test_a_pruned_call_is_certain_only_below_the_band(bound, uncertain, has_result):
    assert is_uncertain(bounded(bound, has_result=has_result), [0.5], band=BAND) == uncertain


def test_any_of_several_thresholds_makes_a_call_uncertain():
    assert is_uncertain(losses(0.5), [0.5, 1.0, 2.0], band=BAND)
    assert is_uncertain(losses(2.05), [0.5, 1.0, 2.0], band=BAND)
    assert not is_uncertain(losses(1.5), [0.5, 1.0, 2.0], band=BAND)


def test_losses_that_are_no_numbers_are_uncertain_and_no_text_is_certain():
    assert is_uncertain(CallLosses(math.nan, None, None, 5), [1.0], band=BAND)
    assert is_uncertain(CallLosses(3.0, 2.0, math.inf, 5), [1.0], band=BAND)
    assert not is_uncertain(CallLosses(0.0, None, None, 0), [0.0], band=BAND)


@pytest.mark.parametrize(
    ("contrast", "uncertain"),
    [(0.39, False), (0.41, True), (0.59, True), (0.61, False), (math.inf, True), (math.nan, True)],
)
def test_a_contrast_is_uncertain_within_the_band_on_both_sides(contrast, uncertain):
    found = dataclasses.replace(losses(1.0), loss_with_foreign_result=2.0 + contrast)
    assert is_uncertain_in_contrast(found, 0.5, band=BAND) == uncertain


def test_without_a_foreign_result_no_contrast_is_uncertain():
    assert not is_uncertain_in_contrast(losses(1.0), 0.5, band=BAND)


def test_the_first_pass_prunes_only_what_lies_below_every_band():
    assert first_pass_pruning(0.5, [1.0], band=BAND) == 0.5
    assert first_pass_pruning(0.5, [0.5], band=BAND) == pytest.approx(0.4)
    assert first_pass_pruning(0.25, [0.25, 0.5, 1.0], band=BAND) == pytest.approx(0.15)


LOSS = st.floats(0, 4)
NOISE = st.floats(-BAND / 2, BAND / 2)


@given(
    exact=st.tuples(LOSS, LOSS, LOSS),
    noise=st.tuples(NOISE, NOISE, NOISE),
    threshold=st.sampled_from([0.2, 0.5, 0.55, 1.0, 2.0]),
    is_decided_again=st.booleans(),
)
def test_no_decision_differs_from_float32_while_the_noise_stays_within_the_band(
    exact, noise, threshold, is_decided_again
):
    """Each loss is off by at most half the band, so that no reduction is off by more than it."""
    rough = [max(0.0, loss + off) for loss, off in zip(exact, noise, strict=True)]
    pruning = pruning_threshold(threshold)
    # Losses that were stored for a higher threshold are pruned without regard to the band.
    if not is_decided_again:
        pruning = first_pass_pruning(pruning, [threshold], band=BAND)
    found = CallLosses(rough[0], None, None, 5)
    if rough[0] >= pruning:
        found = dataclasses.replace(found, loss_with_result=rough[1])
        if rough[0] - rough[1] >= pruning:
            found = dataclasses.replace(found, loss_call_without_result=rough[2])
    if not is_uncertain(found, [threshold], band=BAND):
        wanted = decide(CallLosses(*exact, 5), filtering_threshold=threshold)
        assert decide(found, filtering_threshold=threshold).is_kept == wanted.is_kept


TEXTS = ("Six crates of 24 make 144 bottles, sold before noon.", "Rain, and 12 more of it.")
CALLS = [
    ScoredCall(
        f"call-{number}",
        (f"document-{number % 2}", 0),
        position,
        ToolCall("Calculator", f"{number} * 24"),
        str(number * 24),
    )
    for number, position in enumerate((0, 3, 8, 11, 16, 17, 5, 23))
]


def arguments(folder) -> dict:
    return {
        "call_format": CallFormat(),
        "token_budget": 200,
        "checkpoint": Checkpoint(folder, fingerprint="x"),
        "progress": lambda done, total: None,
    }


@pytest.fixture(scope="module")
def windows(tokenizer):
    return {(window.document_id, window.index): window for window in windows_of(tokenizer, *TEXTS)}


def bfloat16_copy(model: LanguageModel) -> LanguageModel:
    copy = tiny_model(seed=0)
    copy.model.load_state_dict(model.model.state_dict())
    return LanguageModel(copy.model.to(torch.bfloat16), copy.tokenizer, name="tiny")


def test_scoring_again_gives_the_losses_of_a_single_pass_and_feeds_less(windows, tmp_path):
    model = tiny_model()
    whole = score_calls(
        model,
        windows,
        TextLosses(model, list(windows.values()), token_budget=200),
        CALLS,
        pruning_threshold=0.5,
        full_losses=True,
        **arguments(tmp_path / "a"),
    )
    early = [call for call in CALLS if call.position in (0, 3)]
    before = model.tokens_fed
    again = score_again(
        model,
        windows,
        early,
        pruning_threshold=0.5,
        full_losses=True,
        # One row a batch: no padding.
        **{**arguments(tmp_path / "b"), "token_budget": 1},
    )
    assert again.keys() == {call.call_id for call in early}
    for call_id, of_call in again.items():
        assert dataclasses.astuple(of_call) == pytest.approx(
            dataclasses.astuple(whole[call_id]), abs=1e-5
        )
    # Three rows a call, each up to the last token but one of the text that carries weight; what the
    # rows with or without result begin with is fed once.
    expected = sum(call.position + 5 for call in early)
    for kind in ("with", "without"):
        rows = [
            [
                model.bos_id,
                *prefix_ids(
                    model.tokenizer,
                    call.call,
                    call.result if kind == "with" else None,
                    call_format=CallFormat(),
                ),
            ]
            for call in early
        ]
        shared = len(common_opening([row[:-1] for row in rows]))
        expected += shared + sum(
            len(row) - shared + call.position + 4 for row, call in zip(rows, early, strict=True)
        )
    assert model.tokens_fed - before == expected


def test_only_the_loss_of_a_texts_first_token_is_taken_from_float32(windows):
    reference = tiny_model()
    model = bfloat16_copy(reference)
    texts = list(windows.values())
    start_losses = start_token_losses(reference)
    mended = TextLosses(model, texts, token_budget=200, start_losses=start_losses)
    rough = TextLosses(model, texts, token_budget=200)
    exact = TextLosses(reference, texts, token_budget=200)
    assert len(start_losses) == model.tokenizer.vocabulary_size
    for key, window in windows.items():
        found = mended.token_losses(key)
        assert found[0] == start_losses[window.ids[0]]
        assert found[0] == pytest.approx(exact.token_losses(key)[0], abs=1e-5)
        assert found[0] != rough.token_losses(key)[0]
        assert found[1:] == rough.token_losses(key)[1:]


@pytest.mark.model
@pytest.mark.slow
def test_the_embedded_model_in_bfloat16_with_a_band_decides_as_in_float32(
    embedded_model, embedded_model_path, tmp_path
):
    model = LanguageModel.load(embedded_model_path, precision="bfloat16", device="cpu")
    found, calls = calibration_calls(model.tokenizer, count=24, window_tokens=64)
    # A call in front of each text, where the model expects one most.
    calls += [
        dataclasses.replace(call, call_id=f"{call.call_id} in front", position=0)
        for call in calls[::4]
    ]
    texts = list(found.values())
    options = {
        "call_format": CallFormat(),
        "full_losses": False,
        "token_budget": 1024,
        "progress": lambda *_: None,
    }

    def scored(of_model, text_losses, pruning, folder):
        return score_calls(
            of_model,
            found,
            text_losses,
            calls,
            pruning_threshold=pruning,
            checkpoint=Checkpoint(tmp_path / folder, fingerprint="x"),
            **options,
        )

    exact = scored(
        embedded_model, TextLosses(embedded_model, texts, token_budget=1024), 0.0, "exact"
    )
    mended = TextLosses(
        model, texts, token_budget=1024, start_losses=start_token_losses(embedded_model)
    )
    band = 0.12
    rough = scored(model, mended, -band, "rough")
    for threshold in (0.5, 1.0):
        uncertain = [
            call for call in calls if is_uncertain(rough[call.call_id], [threshold], band=band)
        ]
        assert 0 < len(uncertain) < len(calls) / 3
        again = score_again(
            embedded_model,
            found,
            uncertain,
            pruning_threshold=threshold - band,
            checkpoint=Checkpoint(tmp_path / f"again-{threshold}", fingerprint="x"),
            **options,
        )
        decisions = {
            call_id: decide(losses, filtering_threshold=threshold).is_kept
            for call_id, losses in {**rough, **again}.items()
        }
        wanted = {
            call_id: decide(losses, filtering_threshold=threshold).is_kept
            for call_id, losses in exact.items()
        }
        assert decisions == wanted
        assert 0 < sum(wanted.values()) < len(wanted)


@pytest.mark.parametrize("threshold", [0.0, 0.02, 0.1])
def test_two_passes_decide_as_float32_does(windows, tmp_path, threshold):
    reference = tiny_model()
    model = bfloat16_copy(reference)
    assert model.precision == "bfloat16"

    def scored(of_model, pruning, folder):
        return score_calls(
            of_model,
            windows,
            TextLosses(of_model, list(windows.values()), token_budget=200),
            CALLS,
            pruning_threshold=pruning,
            full_losses=False,
            **arguments(tmp_path / folder),
        )

    exact = scored(reference, threshold, "exact")
    band = 0.2
    pruning = first_pass_pruning(threshold, [threshold], band=band)
    mixed = scored(model, pruning, "rough")
    uncertain = [
        call for call in CALLS if is_uncertain(mixed[call.call_id], [threshold], band=band)
    ]
    assert uncertain
    mixed |= score_again(
        reference,
        windows,
        uncertain,
        pruning_threshold=pruning,
        full_losses=False,
        **arguments(tmp_path / "again"),
    )
    for call_id, of_call in exact.items():
        wanted = decide(of_call, filtering_threshold=threshold)
        assert decide(mixed[call_id], filtering_threshold=threshold).is_kept == wanted.is_kept
