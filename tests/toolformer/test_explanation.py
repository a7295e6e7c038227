"""Losses token by token: their weighted sums are the losses of the filter, and the literal ones."""

import dataclasses

import pytest

from tests import literal
from tests.toolformer import test_losses
from tests.toolformer.test_losses import CALLS, CASES, QUESTION, score
from toolformer.call_scorer import ScoringParameters
from toolformer.calls import CallFormat, call_ids
from toolformer.explanation import CallExplanation, ExplainedToken, explain_call
from toolformer.filtering import Baseline, CallLosses, decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.loss_form import PAPERS_FORM, LossForm, Placement
from toolformer.loss_weights import weighted_loss, window_weights
from toolformer.losses import ScoredCall, scorer_for

# Of which the fixtures make windows.
TEXTS = test_losses.TEXTS
FORMS = [
    PAPERS_FORM,
    LossForm(weights=window_weights(7, are_linear=False)),
    LossForm(Placement.INLINE),
    LossForm(Placement.INLINE, window_weights(32, are_linear=False)),
]


def explain(model, windows, call, form, *, swapped_result=None, call_format=None):
    window = next(each for each in windows if (each.document_id, each.index) == call.window)
    return explain_call(
        model,
        window,
        call,
        swapped_result=swapped_result,
        call_format=call_format or CallFormat(),
        form=form,
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_sums_are_the_losses_of_the_filter(each_model, each_windows, tmp_path, form):
    scored = score(each_model, each_windows, tmp_path / "own", form=form)
    by_key = {(window.document_id, window.index): window for window in each_windows}
    parameters = ScoringParameters(CallFormat(), form, 200)
    swapped = scorer_for(each_model, by_key, parameters).score_results(
        [dataclasses.replace(call, result="elsewhere") for call in CALLS],
        checkpoint=Checkpoint(tmp_path / "swapped", fingerprint="x"),
        progress=lambda *_: None,
    )
    for call in CALLS:
        found = explain(each_model, each_windows, call, form, swapped_result="elsewhere")
        expected = dataclasses.replace(
            scored[call.call_id], loss_with_swapped_result=swapped[call.call_id]
        )
        assert dataclasses.astuple(found.losses) == pytest.approx(
            dataclasses.astuple(expected), abs=1e-4
        )
        for name, loss in (
            ("without_call", expected.loss_without_call),
            ("call_without_result", expected.loss_call_without_result),
            ("with_result", expected.loss_with_result),
            ("with_swapped_result", expected.loss_with_swapped_result),
        ):
            weighted = [token.weight * -getattr(token, name) for token in found.tokens]
            assert sum(weighted) == pytest.approx(loss, abs=1e-4)


@pytest.mark.parametrize("is_inline", [False, True])
def test_each_token_is_the_literal_one(each_model, each_windows, is_inline):
    form = LossForm(Placement.INLINE if is_inline else Placement.PREFIX)
    for call, (document, position, tool_call, result) in zip(CALLS, CASES, strict=True):
        found = explain(each_model, each_windows, call, form)
        ids = list(each_windows[document].ids)
        assert [token.position for token in found.tokens] == list(
            range(position, min(position + 5, len(ids)))
        )
        for t, token in enumerate(found.tokens):
            # All weight on this token.
            alone = [0.0] * t + [1.0]
            for of_call, score_of_token in (
                ([], token.without_call),
                (_ids(each_model, tool_call, None), token.call_without_result),
                (_ids(each_model, tool_call, result), token.with_result),
            ):
                loss = literal.form_loss(
                    each_model, of_call, ids, position, alone, is_inline=is_inline
                )
                assert score_of_token == pytest.approx(-loss, abs=1e-4)


def _ids(model, call, result) -> list[int]:
    return call_ids(model.tokenizer, call, result, call_format=CallFormat())


@pytest.mark.parametrize("form", [PAPERS_FORM, LossForm(Placement.INLINE)])
def test_behind_the_last_token_there_is_nothing_to_explain(llama, windows, form):
    behind = ScoredCall("behind", ("document-1", 0), 5, QUESTION, "here")
    found = explain(llama, windows, behind, form, swapped_result="there")
    assert found == CallExplanation((), CallLosses(0.0, 0.0, 0.0, 0, 0.0))
    assert found.gains() == []


@pytest.mark.parametrize("alone", [(-1.0, -1.0), (-5.0, -0.5)])
def test_the_gains_of_the_tokens_are_the_loss_reduction(alone):
    # The call alone is better, or worse at one token and better at another.
    columns = {
        "without_call": (-2.0, -3.0),
        "call_without_result": alone,
        "with_result": (-0.5, -4.0),
    }
    weights = (0.5, 0.25)
    tokens = tuple(
        ExplainedToken(
            position=t,
            text="x",
            weight=weights[t],
            **{name: column[t] for name, column in columns.items()},
            with_swapped_result=None,
        )
        for t in range(2)
    )
    losses = CallLosses(
        tokens_used=2,
        **{
            f"loss_{name}": weighted_loss([-score for score in column], weights)
            for name, column in columns.items()
        },
    )
    explained = CallExplanation(tokens, losses)
    for baseline in Baseline:
        decision = decide(losses, filtering_threshold=0.0, baseline=baseline)
        assert sum(explained.gains(baseline)) == pytest.approx(decision.loss_reduction)
