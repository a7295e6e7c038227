import contextlib
import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import literal
from tests.toolformer.architectures import windows_of
from toolformer import losses as losses_module
from toolformer import text_losses as text_losses_module
from toolformer.call_scorer import Pruning, ScoringParameters
from toolformer.calls import CallFormat, call_ids
from toolformer.filtering import Baseline, CallLosses, FilterReason, decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.geometry import is_regrouped
from toolformer.losses import ScoredCall, scorer_for
from toolformer.text_losses import TextLosses, token_losses
from tools.protocol import ToolCall

TEXTS = (
    "Six crates of 24 make 144 bottles, sold before noon.",
    "Rain.",
    "„É“ 🌋 [sic] 2021",
    "Q",
)
QUESTION = ToolCall("QA", "Where?")
SUM = ToolCall("Calculator", "6 * 24")
# Document, position, call, result: ends of texts, equal calls, equal positions.
CASES = [
    (0, 0, SUM, "144"),
    (0, 22, SUM, "144"),
    (0, 23, SUM, "144"),
    (0, 22, QUESTION, "here"),
    (0, 51, SUM, "145"),
    (1, 0, QUESTION, "here"),
    (1, 4, QUESTION, "there and back again"),
    (1, 2, ToolCall("Calendar", ""), "Today is Friday."),
    (2, 0, QUESTION, "é 🌋"),
    (2, 12, QUESTION, "é 🌋"),
    (3, 0, SUM, "144"),
]
CALLS = [
    ScoredCall(f"call-{number}", (f"document-{document}", 0), position, call, result)
    for number, (document, position, call, result) in enumerate(CASES)
]


def score(
    model,
    windows,
    folder,
    calls=CALLS,
    *,
    text_losses=None,
    start_losses=None,
    pruning_threshold=0.5,
    full_losses=True,
    baseline=Baseline.MINIMUM,
    progress=lambda done, total: None,
    **parameters,
):
    exact = {call.call_id for call in calls} if full_losses else set()
    scorer = scorer_for(
        model,
        {(window.document_id, window.index): window for window in windows},
        ScoringParameters(**{"call_format": CallFormat(), "token_budget": 200, **parameters}),
        start_losses,
    )
    if text_losses is not None:
        scorer.text_losses = text_losses
    return scorer.score(
        calls,
        pruning=Pruning(pruning_threshold, exact, baseline),
        checkpoint=Checkpoint(folder, fingerprint="x"),
        progress=progress,
    )


def assert_close(losses: dict[str, CallLosses], others: dict[str, CallLosses], tolerance: float):
    assert losses.keys() == others.keys()
    for key, of_call in losses.items():
        assert dataclasses.astuple(of_call) == pytest.approx(
            dataclasses.astuple(others[key]), abs=tolerance
        )


def test_losses_equal_the_literal_ones(each_model, each_windows, tmp_path):
    scored = score(each_model, each_windows, tmp_path / "a")
    for call, (document, position, tool_call, result) in zip(CALLS, CASES, strict=True):
        expected = literal.call_losses(each_model, TEXTS[document], position, tool_call, result)
        got = scored[call.call_id]
        assert got.loss_without_call == pytest.approx(expected.loss_without_call, abs=1e-4)
        assert got.loss_with_result == pytest.approx(expected.loss_with_result, abs=1e-4)
        assert got.loss_call_without_result == pytest.approx(
            expected.loss_call_without_result, abs=1e-4
        )
        assert got.tokens_used == min(5, len(each_windows[document].ids) - position)


def test_batches_and_order_do_not_change_losses(each_model, each_windows, tmp_path):
    scored = score(each_model, each_windows, tmp_path / "a")
    one_by_one = score(each_model, each_windows, tmp_path / "b", token_budget=1)
    backwards = score(
        each_model, each_windows[::-1], tmp_path / "c", CALLS[::-1], token_budget=100_000
    )
    assert_close(scored, one_by_one, 1e-5)
    assert_close(scored, backwards, 1e-5)


def test_batches_of_text_losses_do_not_depend_on_who_asks(llama, windows):
    keys = [(window.document_id, window.index) for window in windows]
    for budget in (1, 30, 1000):
        in_order = TextLosses(llama, windows, token_budget=budget)
        expected = {key: in_order.token_losses(key) for key in keys}
        for asked in (keys[::-1], keys[2:3], keys[3:] + keys[:1]):
            fresh = TextLosses(llama, windows, token_budget=budget)
            # Bit for bit.
            assert {key: fresh.token_losses(key) for key in asked} == {
                key: expected[key] for key in asked
            }


def test_equal_calls_share_a_row_and_no_row_goes_past_the_last_weighted_token(
    llama, windows, tmp_path
):
    text_losses = TextLosses(llama, windows, token_budget=1000)
    text_losses.token_losses(("document-0", 0))
    before = llama.tokens_fed
    score(llama, windows, tmp_path / "a", CALLS[1:3], text_losses=text_losses, token_budget=1)
    expected = sum(
        1 + len(call_ids(llama.tokenizer, SUM, result, call_format=CallFormat())) + 23 + 4
        for result in ("144", None)
    )
    assert llama.tokens_fed - before == expected


def test_memory_that_ran_out_for_the_texts_alone_marks_the_partition(
    llama, windows, tmp_path, monkeypatch
):
    def no_two_texts(model, texts):
        if len(texts) > 1:
            raise MemoryError
        return token_losses(model, texts)

    score(llama, windows, tmp_path / "a")
    assert not is_regrouped(Checkpoint(tmp_path / "a", fingerprint="x"))
    monkeypatch.setattr(text_losses_module, "token_losses", no_two_texts)
    score(llama, windows, tmp_path / "b")
    assert is_regrouped(Checkpoint(tmp_path / "b", fingerprint="x"))


def test_the_other_reading_of_the_paper_changes_the_prefix(llama, windows, tmp_path):
    call_format = CallFormat(empty_result_keeps_arrow=False)
    scored = score(llama, windows, tmp_path / "a", call_format=call_format)
    for call, (document, position, tool_call, result) in zip(CALLS, CASES, strict=True):
        ids = list(windows[document].ids)
        for wanted, got in (
            (result, scored[call.call_id].loss_with_result),
            (None, scored[call.call_id].loss_call_without_result),
        ):
            prefix = call_ids(llama.tokenizer, tool_call, wanted, call_format=call_format)
            expected = literal.prefix_loss(llama, prefix, ids, position)
            assert got == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("full_losses", [True, False])
def test_a_call_after_the_last_token_has_no_loss(llama, windows, tmp_path, full_losses):
    behind = ScoredCall("behind", ("document-1", 0), 5, QUESTION, "here")
    beside = ScoredCall("beside", ("document-1", 0), 4, QUESTION, "here")
    scored = score(llama, windows, tmp_path / "a", [behind, beside], full_losses=full_losses)
    assert (scored["behind"].loss_without_call, scored["behind"].tokens_used) == (0.0, 0)
    assert scored["behind"].loss_with_result in (0.0, None)
    decision = decide(scored["behind"], filtering_threshold=0.0)
    assert decision.reason == FilterReason.NO_TEXT_AFTER_POSITION
    assert scored["beside"].tokens_used == 1


ANY_LOSS = st.floats(0, 8) | st.sampled_from([math.inf, math.nan])


@given(
    triples=st.lists(st.tuples(ANY_LOSS, ANY_LOSS, ANY_LOSS), min_size=1, max_size=6),
    pruning_threshold=st.floats(-1, 4),
    above=st.floats(0, 2),
)
def test_pruning_changes_no_decision_for_any_losses(
    tokenizer, tmp_path_factory, triples, pruning_threshold, above
):
    (window,) = windows_of(tokenizer, "Twenty bytes of text")
    calls = [
        ScoredCall(str(number), ("document-0", 0), number, QUESTION, "here")
        for number in range(len(triples))
    ]
    asked = {True: set(), False: set()}

    def given_losses(_scorer, calls, _pass, *, has_result):
        asked[has_result] |= {call.call_id for call in calls}
        column = 1 if has_result else 2
        return {call.call_id: triples[int(call.call_id)][column] for call in calls}

    def decisions(*, full_losses):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(losses_module.PrefixScorer, "_losses", given_losses)
            patch.setattr(
                losses_module.PrefixScorer,
                "_losses_without_call",
                lambda *_: {call.call_id: triples[int(call.call_id)][0] for call in calls},
            )
            scored = score(
                None,
                [window],
                tmp_path_factory.mktemp("steps"),
                calls,
                text_losses=object(),
                full_losses=full_losses,
                pruning_threshold=pruning_threshold,
            )
        return [
            decide(scored[call.call_id], filtering_threshold=pruning_threshold + above).is_kept
            for call in calls
        ]

    pruned = decisions(full_losses=False)
    assert asked[False] <= asked[True]
    assert decisions(full_losses=True) == pruned


class KilledError(Exception):
    """Stands for a process that is killed."""


@pytest.mark.parametrize("steps", [1, 4, 8, 11])
def test_interrupted_scoring_goes_on_with_the_unfinished_batches(llama, windows, tmp_path, steps):
    def attempt(folder, progress):
        before = llama.tokens_fed
        scored = None
        with contextlib.suppress(KilledError):
            scored = score(llama, windows, folder, token_budget=60, progress=progress)
        return scored, llama.tokens_fed - before

    told = []
    undisturbed, full_cost = attempt(tmp_path / "a", lambda *counts: told.append(counts))
    assert len(told) >= 11
    assert told[-1][0] == told[-1][1]
    seen = []

    def die(*counts):
        seen.append(counts)
        if len(seen) == steps:
            raise KilledError

    _, first_cost = attempt(tmp_path / "b", die)
    resumed, second_cost = attempt(tmp_path / "b", lambda *counts: None)
    assert resumed == undisturbed
    assert 0 < first_cost <= full_cost
    assert first_cost + second_cost == full_cost
    again, third_cost = attempt(tmp_path / "b", lambda *counts: None)
    assert (again, third_cost) == (undisturbed, 0)


def test_losses_that_are_no_numbers_are_rejected_and_counted(llama, windows, tmp_path):
    class Broken:
        is_regrouped = False

        def read(self, windows):
            pass

        def token_losses(self, window):
            return [math.nan] * 60

    for full_losses in (True, False):
        scored = score(
            llama,
            windows,
            tmp_path / str(full_losses),
            text_losses=Broken(),
            full_losses=full_losses,
        )
        decisions = [decide(of_call, filtering_threshold=0.5) for of_call in scored.values()]
        assert {decision.reason for decision in decisions} == {FilterReason.NOT_FINITE}
