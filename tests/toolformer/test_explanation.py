"""Losses token by token: their weighted sums are the losses of the filter, and the literal ones."""

import dataclasses
from typing import get_args

import pytest

from tests import literal
from tests.toolformer.scoring import test_losses
from tests.toolformer.scoring.test_losses import CALLS, CASES, QUESTION, score
from toolformer.explanation import CallExplanation, explain_call
from toolformer.filtering import Baseline, CallLosses, decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.scoring.call_scorer import ScoredCall
from toolformer.scoring.losses import scorer_for
from toolformer.settings.annotation_sections import ScoringSettings
from tools.syntax import call_pieces

# Of which the fixtures make windows.
TEXTS = test_losses.TEXTS
FORMS = [
    ScoringSettings(),
    ScoringSettings(window_tokens=7, window_weights="uniform"),
    ScoringSettings(placement="inline"),
    ScoringSettings(placement="inline", window_tokens=32, window_weights="uniform"),
]


def explain(model, windows, call, scoring, *, swapped_result=None):
    window = next(each for each in windows if (each.document_id, each.index) == call.window)
    return explain_call(model, window, call, swapped_result=swapped_result, scoring=scoring)


@pytest.mark.parametrize("scoring", FORMS)
def test_the_sums_are_the_losses_of_the_filter_and_its_reduction(
    each_model, each_windows, tmp_path, scoring
):
    scored = score(each_model, each_windows, tmp_path / "own", scoring=scoring)
    by_key = {(window.document_id, window.index): window for window in each_windows}
    swapped = scorer_for(each_model, by_key, scoring).score_results(
        [dataclasses.replace(call, result="elsewhere") for call in CALLS],
        checkpoint=Checkpoint(tmp_path / "swapped", fingerprint="x"),
        progress=lambda *_: None,
    )
    for call in CALLS:
        found = explain(each_model, each_windows, call, scoring, swapped_result="elsewhere")
        expected = dataclasses.replace(
            scored[call.call_id], loss_with_swapped_result=swapped[call.call_id]
        )
        assert dataclasses.astuple(found.losses) == pytest.approx(
            dataclasses.astuple(expected), abs=1e-4
        )
        for name in ("without_call", "call_without_result", "with_result", "with_swapped_result"):
            weighted = [token.weight * -getattr(token, name) for token in found.tokens]
            assert sum(weighted) == pytest.approx(getattr(expected, f"loss_{name}"), abs=1e-4)
        for baseline in get_args(Baseline):
            decision = decide(found.losses, filtering_threshold=0.0, baseline=baseline)
            assert sum(found.gains(baseline)) == pytest.approx(decision.loss_reduction)


@pytest.mark.parametrize("scoring", [ScoringSettings(), ScoringSettings(placement="inline")])
def test_each_token_is_the_literal_one(each_model, each_windows, scoring):
    encode = each_model.tokenizer.encode_pieces
    for call, (document, position, tool_call, result) in zip(CALLS, CASES, strict=True):
        found = explain(each_model, each_windows, call, scoring)
        ids = list(each_windows[document].ids)
        assert [token.position for token in found.tokens] == list(
            range(position, min(position + 5, len(ids)))
        )
        for t, token in enumerate(found.tokens):
            for of_call, score_of_token in (
                ([], token.without_call),
                (encode(call_pieces(tool_call, None)), token.call_without_result),
                (encode(call_pieces(tool_call, result)), token.with_result),
            ):
                loss = literal.form_loss(
                    each_model,
                    of_call,
                    ids,
                    position,
                    # All weight on this token.
                    [0.0] * t + [1.0],
                    is_inline=scoring.placement == "inline",
                )
                assert score_of_token == pytest.approx(-loss, abs=1e-4)


@pytest.mark.parametrize("scoring", [ScoringSettings(), ScoringSettings(placement="inline")])
def test_behind_the_last_token_there_is_nothing_to_explain(llama, windows, scoring):
    behind = ScoredCall("behind", ("document-1", 0), 5, QUESTION, "here")
    found = explain(llama, windows, behind, scoring, swapped_result="there")
    assert found == CallExplanation((), CallLosses(0.0, 0.0, 0.0, 0, 0.0))
    assert found.gains() == []
