"""Calls scored at their places, against the literal form: one whole sequence for each loss."""

import dataclasses

import pytest

from tests import literal
from tests.toolformer import test_losses
from tests.toolformer.test_losses import CALLS, CASES, QUESTION, assert_close, score
from toolformer import inline_losses
from toolformer.calls import CallFormat, call_ids
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.geometry import is_regrouped
from toolformer.forward.prefill import ReadTexts
from toolformer.loss_form import LossForm, Placement
from toolformer.loss_weights import window_weights
from toolformer.losses import ScoredCall

# Of which the fixtures make windows.
TEXTS = test_losses.TEXTS
PAPERS_WINDOW = LossForm(Placement.INLINE)
LONG_WINDOW = LossForm(Placement.INLINE, window_weights(32, are_linear=False))


@pytest.mark.parametrize("form", [PAPERS_WINDOW, LONG_WINDOW])
def test_losses_equal_the_literal_ones(each_model, each_windows, tmp_path, form):
    scored = score(each_model, each_windows, tmp_path / "a", form=form)
    for call, (document, position, tool_call, result) in zip(CALLS, CASES, strict=True):
        ids, got = list(each_windows[document].ids), scored[call.call_id]
        for of_call, loss in (
            ([], got.loss_without_call),
            (_ids(each_model, tool_call, result), got.loss_with_result),
            (_ids(each_model, tool_call, None), got.loss_call_without_result),
        ):
            expected = literal.inline_loss(each_model, of_call, ids, position, list(form.weights))
            assert loss == pytest.approx(expected, abs=1e-4)
        assert got.tokens_used == min(len(form.weights), len(ids) - position)


def _ids(model, call, result) -> list[int]:
    return call_ids(model.tokenizer, call, result, call_format=CallFormat())


def test_the_loss_of_a_first_token_is_the_one_that_is_known_better(
    each_model, each_windows, tmp_path
):
    calls = [
        ScoredCall(str(position), ("document-0", 0), position, QUESTION, "here")
        for position in (0, 1)
    ]
    known = [7.0] * each_model.tokenizer.vocabulary_size
    rough, mended = (
        score(
            each_model,
            each_windows,
            tmp_path / str(losses is None),
            calls,
            start_losses=losses,
            form=PAPERS_WINDOW,
        )
        for losses in (None, known)
    )
    first = literal.inline_loss(each_model, [], list(each_windows[0].ids[:1]), 0, [1.0])
    expected = rough["0"].loss_without_call + PAPERS_WINDOW.weights[0] * (7.0 - first)
    assert mended["0"].loss_without_call == pytest.approx(expected, abs=1e-4)
    assert mended["0"].loss_with_result == rough["0"].loss_with_result
    assert mended["1"] == rough["1"]


@pytest.mark.parametrize("window_tokens", [1, 3, 40])
def test_windows_of_other_lengths_count_in_front_of_the_text_too(
    llama, windows, tmp_path, window_tokens
):
    weights = window_weights(window_tokens, are_linear=window_tokens != 3)
    scored = score(llama, windows, tmp_path / "a", form=LossForm(weights=weights))
    for call, (document, position, tool_call, result) in zip(CALLS, CASES, strict=True):
        ids = list(windows[document].ids)
        for of_call, loss in (
            ([], scored[call.call_id].loss_without_call),
            (_ids(llama, tool_call, result), scored[call.call_id].loss_with_result),
        ):
            expected = literal.form_loss(
                llama, of_call, ids, position, list(weights), is_inline=False
            )
            assert loss == pytest.approx(expected, abs=1e-4)


def test_batches_and_order_do_not_change_losses(each_model, each_windows, tmp_path):
    scored = score(each_model, each_windows, tmp_path / "a", form=LONG_WINDOW)
    one_by_one = score(each_model, each_windows, tmp_path / "b", form=LONG_WINDOW, token_budget=1)
    backwards = score(
        each_model, each_windows, tmp_path / "c", CALLS[::-1], form=LONG_WINDOW, token_budget=5000
    )
    assert_close(scored, one_by_one, 1e-5)
    assert_close(scored, backwards, 1e-5)


def test_a_text_is_fed_once_for_all_its_calls_and_each_call_only_with_its_window(
    llama, windows, tmp_path
):
    calls = [
        ScoredCall(str(position), ("document-0", 0), position, QUESTION, "here")
        for position in (8, 22, 49)
    ]
    # The same call twice, and one that differs in its result alone.
    calls += [dataclasses.replace(calls[0], call_id="again")]
    calls += [dataclasses.replace(calls[0], call_id="other", result="hers")]
    before = llama.tokens_fed
    score(llama, windows, tmp_path / "a", calls, token_budget=1, form=PAPERS_WINDOW)
    with_result, without = (len(_ids(llama, QUESTION, result)) for result in ("here", None))
    # BOS and the text but its last token; of the last call's window three tokens are there.
    text = 1 + 51
    expected = text + 3 * (with_result + 4) + with_result + 2 + 2 * (without + 4) + without + 2
    assert len(windows[0].ids) == 52
    assert llama.tokens_fed - before == expected


def test_a_call_behind_the_last_token_has_no_loss(llama, windows, tmp_path):
    behind = ScoredCall("behind", ("document-1", 0), 5, QUESTION, "here")
    scored = score(llama, windows, tmp_path / "a", [behind], form=PAPERS_WINDOW)["behind"]
    assert (scored.loss_without_call, scored.loss_with_result, scored.tokens_used) == (0.0, 0.0, 0)


def test_interrupted_scoring_goes_on_and_memory_that_runs_out_halves_the_texts(
    llama, windows, tmp_path, monkeypatch
):
    undisturbed = score(llama, windows, tmp_path / "a", form=PAPERS_WINDOW)
    fed = llama.tokens_fed
    # All is stored, the losses without a call as well.
    assert score(llama, windows, tmp_path / "a", form=PAPERS_WINDOW) == undisturbed
    assert llama.tokens_fed == fed

    class OneText(ReadTexts):
        def __init__(self, model, prefix, windows, **others):
            if len(windows) > 1:
                raise MemoryError
            super().__init__(model, prefix, windows, **others)

    monkeypatch.setattr(inline_losses, "ReadTexts", OneText)
    halved = score(llama, windows, tmp_path / "b", form=PAPERS_WINDOW)
    assert_close(halved, undisturbed, 1e-5)
    assert is_regrouped(Checkpoint(tmp_path / "b", fingerprint="x"))
