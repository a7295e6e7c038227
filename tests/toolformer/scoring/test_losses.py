import contextlib
import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import literal
from tests.toolformer.architectures import windows_of
from toolformer import reference
from toolformer.errors import SequenceTooLongError
from toolformer.filtering import CallLosses, FilterReason, decide
from toolformer.forward.batching import is_regrouped
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.forward.prefill import ReadTexts
from toolformer.scoring import losses as losses_module
from toolformer.scoring.call_scorer import ScoredCall
from toolformer.scoring.losses import TextLosses, scorer_for
from toolformer.settings.annotation_sections import ScoringSettings
from tools.protocol import ToolCall
from tools.syntax import call_pieces

TEXTS = ("Six crates of 24 make 144 bottles, sold before noon.", "Rain.", "„É“ 🌋 [sic] 2021", "Q")
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
    full_losses=True,
    progress=lambda done, total: None,
    scoring=ScoringSettings(),  # noqa: B008 (it is frozen)
    **changes,
):
    by_key = {(window.document_id, window.index): window for window in windows}
    # A copy is not checked: any budget and threshold will do.
    limits = {"token_budget": 200, "lowest_threshold": 0.5, **changes}
    scorer = scorer_for(model, by_key, scoring.model_copy(update=limits))
    if text_losses is not None:
        scorer.text_losses = text_losses
    return scorer.score(
        calls,
        exact={call.call_id for call in calls} if full_losses else set(),
        checkpoint=Checkpoint(folder, fingerprint="x"),
        progress=progress,
    )


def test_a_call_that_needs_all_losses_has_the_third_whatever_it_has_to_be_better_than(
    llama, windows, tmp_path
):
    for needs_all in (True, False):
        options = {"full_losses": needs_all, "baseline": "without_call"}
        found = score(llama, windows, tmp_path / str(needs_all), **options)
        assert {each.loss_call_without_result is None for each in found.values()} == {not needs_all}


def assert_close(losses: dict[str, CallLosses], others: dict[str, CallLosses], tolerance: float):
    assert losses.keys() == others.keys()
    for key, of_call in losses.items():
        assert dataclasses.astuple(of_call) == pytest.approx(
            dataclasses.astuple(others[key]), abs=tolerance
        )


FORMS = [
    ScoringSettings(),
    # Also windows longer than the paper's, and of one token.
    ScoringSettings(window_tokens=1),
    ScoringSettings(window_tokens=3, window_weights="uniform"),
    ScoringSettings(window_tokens=40),
    ScoringSettings(placement="inline"),
    ScoringSettings(placement="inline", window_tokens=32, window_weights="uniform"),
]
INLINE, LONG_INLINE = FORMS[-2:]


@pytest.mark.parametrize(
    ("scoring", "keeps_arrow"), [*((f, True) for f in FORMS), (FORMS[0], False)]
)
def test_losses_equal_the_literal_ones(each_model, each_windows, tmp_path, scoring, keeps_arrow):
    scored = score(
        each_model, each_windows, tmp_path, scoring=scoring, empty_result_keeps_arrow=keeps_arrow
    )
    for call, (document, position, tool_call, result) in zip(CALLS, CASES, strict=True):
        ids, got = list(each_windows[document].ids), scored[call.call_id]
        for pieces, loss in (
            ([], got.loss_without_call),
            (call_pieces(tool_call, result), got.loss_with_result),
            (
                call_pieces(tool_call, None, empty_result_keeps_arrow=keeps_arrow),
                got.loss_call_without_result,
            ),
        ):
            expected = literal.form_loss(
                each_model,
                each_model.tokenizer.encode_pieces(pieces),
                ids,
                position,
                reference.WEIGHTS if scoring is FORMS[0] else list(scoring.token_weights),
                is_inline=scoring.placement == "inline",
            )
            assert loss == pytest.approx(expected, abs=1e-4)
        assert got.tokens_used == min(scoring.window_tokens, len(ids) - position)


@pytest.mark.parametrize("placement", ["prefix", "inline"])
def test_a_row_that_does_not_fit_the_context_is_refused_with_its_counts(
    llama, windows, tmp_path, monkeypatch, placement
):
    scoring, call = ScoringSettings(placement=placement, window_tokens=2), CALLS[4]
    ids = llama.tokenizer.encode_pieces(call_pieces(call.call, call.result))
    # It stands in front of the last token, in whose place the start token is fed.
    text = len(windows[0].ids)
    needed = len(ids) + text
    monkeypatch.setattr(llama, "context_length", needed)
    expected = score(llama, windows, tmp_path / "fits", [call], scoring=scoring)
    assert expected[call.call_id].loss_with_result is not None
    monkeypatch.setattr(llama, "context_length", needed - 1)
    counts = f"Calculator .* {needed} tokens: {len(ids)} .* {text} .* {needed - 1},"
    with pytest.raises(SequenceTooLongError, match=counts):
        score(llama, windows, tmp_path / "long", [call], scoring=scoring)


@pytest.mark.parametrize("scoring", [ScoringSettings(), LONG_INLINE])
def test_batches_and_order_do_not_change_losses(each_model, each_windows, tmp_path, scoring):
    scored = score(each_model, each_windows, tmp_path / "a", scoring=scoring)
    one_by_one = score(each_model, each_windows, tmp_path / "b", scoring=scoring, token_budget=1)
    backwards = score(
        each_model,
        each_windows[::-1],
        tmp_path / "c",
        CALLS[::-1],
        scoring=scoring,
        token_budget=100_000,
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
        1 + len(llama.tokenizer.encode_pieces(call_pieces(SUM, result))) + 23 + 4
        for result in ("144", None)
    )
    assert llama.tokens_fed - before == expected


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
    score(llama, windows, tmp_path, calls, token_budget=1, scoring=INLINE)
    with_result, without = (
        len(llama.tokenizer.encode_pieces(call_pieces(QUESTION, result)))
        for result in ("here", None)
    )
    # BOS and the text but its last token; of the last call's window three tokens are there.
    text = 1 + 51
    expected = text + 3 * (with_result + 4) + with_result + 2 + 2 * (without + 4) + without + 2
    assert len(windows[0].ids) == 52
    assert llama.tokens_fed - before == expected


def one_text_at_a_time(whole):
    def limited(model, *others, **named):
        # The windows or texts are the last of the arguments.
        if len(others[-1]) > 1:
            raise MemoryError
        return whole(model, *others, **named)

    return limited


@pytest.mark.parametrize(
    ("scoring", "owner", "name"),
    [
        (ScoringSettings(), losses_module, "token_losses"),
        (INLINE, LanguageModel, "read"),
        (INLINE, ReadTexts, "continuation_losses"),
    ],
)
def test_memory_that_runs_out_halves_the_texts_and_marks_the_partition(
    llama, windows, tmp_path, monkeypatch, scoring, owner, name
):
    undisturbed = score(llama, windows, tmp_path / "a", scoring=scoring)
    assert not is_regrouped(Checkpoint(tmp_path / "a", fingerprint="x"))
    monkeypatch.setattr(owner, name, one_text_at_a_time(getattr(owner, name)))
    assert_close(score(llama, windows, tmp_path / "b", scoring=scoring), undisturbed, 1e-5)
    assert is_regrouped(Checkpoint(tmp_path / "b", fingerprint="x"))


@pytest.mark.parametrize("scoring", [ScoringSettings(), INLINE])
@pytest.mark.parametrize("full_losses", [True, False])
def test_a_call_after_the_last_token_has_no_loss(llama, windows, tmp_path, scoring, full_losses):
    calls = [ScoredCall(str(at), ("document-1", 0), at, QUESTION, "here") for at in (4, 5)]
    scored = score(llama, windows, tmp_path, calls, scoring=scoring, full_losses=full_losses)
    behind = scored["5"]
    assert (behind.loss_without_call, behind.tokens_used) == (0.0, 0)
    assert behind.loss_with_result == (0.0 if full_losses else None)
    decision = decide(behind, filtering_threshold=0.0)
    assert decision.reason == FilterReason.NO_TEXT_AFTER_POSITION
    assert scored["4"].tokens_used == 1


ANY_LOSS = st.floats(0, 8) | st.sampled_from([math.inf, math.nan])


# Every example writes steps to the disk.
@settings(deadline=None)
@given(
    triples=st.lists(st.tuples(ANY_LOSS, ANY_LOSS, ANY_LOSS), min_size=1, max_size=6),
    lowest_threshold=st.floats(-1, 4),
    above=st.floats(0, 2),
)
def test_pruning_changes_no_decision_for_any_losses(
    tokenizer, tmp_path_factory, triples, lowest_threshold, above
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
                lowest_threshold=lowest_threshold,
            )
        return [
            decide(scored[call.call_id], filtering_threshold=lowest_threshold + above)
            for call in calls
        ]

    pruned = decisions(full_losses=False)
    assert asked[False] <= asked[True]
    for sparing, full in zip(pruned, decisions(full_losses=True), strict=True):
        assert sparing.is_kept == full.is_kept
        # A bound never hides a larger reduction.
        if sparing.loss_reduction is not None and full.loss_reduction is not None:
            assert sparing.loss_reduction >= full.loss_reduction


class KilledError(Exception):
    """Stands for a process that is killed."""


@pytest.mark.parametrize(
    ("scoring", "steps"), [*((ScoringSettings(), steps) for steps in (1, 4, 8, 11)), (INLINE, 1)]
)
def test_interrupted_scoring_goes_on_with_the_unfinished_batches(
    llama, windows, tmp_path, scoring, steps
):
    def attempt(folder, progress=lambda *counts: None):
        before = llama.tokens_fed
        scored = None
        with contextlib.suppress(KilledError):
            scored = score(
                llama, windows, folder, token_budget=60, progress=progress, scoring=scoring
            )
        return scored, llama.tokens_fed - before

    told = []
    undisturbed, full_cost = attempt(tmp_path / "a", lambda *counts: told.append(counts))
    assert len(told) >= steps
    assert told[-1][0] == told[-1][1]
    seen = []

    def die(*counts):
        seen.append(counts)
        if len(seen) == steps:
            raise KilledError

    killed, first_cost = attempt(tmp_path / "b", die)
    assert killed is None
    resumed, second_cost = attempt(tmp_path / "b")
    assert resumed == undisturbed
    assert 0 < first_cost <= full_cost
    assert first_cost + second_cost == full_cost
    assert attempt(tmp_path / "b") == (undisturbed, 0)


def test_losses_that_are_no_numbers_are_rejected_and_counted(llama, windows, tmp_path):
    class Broken:
        is_regrouped = False

        def read(self, windows):
            pass

        def token_losses(self, window):
            return [math.nan] * 60

    for full_losses in (True, False):
        folder = tmp_path / str(full_losses)
        scored = score(llama, windows, folder, text_losses=Broken(), full_losses=full_losses)
        decisions = [decide(of_call, filtering_threshold=0.5) for of_call in scored.values()]
        assert {decision.reason for decision in decisions} == {FilterReason.NOT_FINITE}
