"""The second look at what bfloat16 scored, and all losses of a shard in one precision or two."""

import dataclasses
import math

import pytest
import torch

from tests.fakes import tiny_model
from tests.toolformer.architectures import windows_of
from toolformer.call_scorer import Pruning, ScoringParameters
from toolformer.calls import CallFormat, call_ids
from toolformer.filtering import CallLosses, decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.loss_form import PAPERS_FORM
from toolformer.losses import ScoredCall, scorer_for
from toolformer.rescoring import MARGIN, cut_windows, needs_second_look, start_token_losses
from toolformer.shard_scoring import LossesWanted, ShardScoring, ToolScores
from toolformer.text_losses import TextLosses
from tools.protocol import ToolCall

LOWEST = 0.5


@pytest.mark.parametrize(
    ("reduction", "is_needed"),
    [(-1.0, False), (-0.01, False), (0.01, True), (MARGIN, True), (5.0, True)],
)
def test_what_comes_near_the_lowest_threshold_or_above_it_has_a_second_look(reduction, is_needed):
    at = LOWEST - MARGIN + reduction
    assert needs_second_look(CallLosses(6.0, 6.0 - at, 7.0, 5), LOWEST) == is_needed


def test_a_pruned_call_is_certain_and_losses_that_are_no_numbers_are_not():
    assert not needs_second_look(CallLosses(0.3, None, None, 5), LOWEST)
    assert not needs_second_look(CallLosses(3.0, 2.8, None, 5), LOWEST)
    assert not needs_second_look(CallLosses(0.0, 0.0, 0.0, 0), LOWEST)
    assert needs_second_look(CallLosses(math.nan, None, None, 5), LOWEST)
    assert needs_second_look(CallLosses(3.0, 2.0, math.inf, 5), LOWEST)


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


@pytest.fixture(scope="module")
def by_key(windows):
    return {(window.document_id, window.index): window for window in windows}


def score(model, windows, calls, folder, *, token_budget: int, tau_f: float = 0.5):
    parameters = ScoringParameters(CallFormat(), token_budget=token_budget)
    return scorer_for(model, windows, parameters).score(
        calls,
        pruning=Pruning(tau_f, {call.call_id for call in calls}),
        checkpoint=Checkpoint(folder, fingerprint="x"),
        progress=lambda done, total: None,
    )


def bfloat16_copy(model: LanguageModel) -> LanguageModel:
    copy = tiny_model(seed=0)
    copy.model.load_state_dict(model.model.state_dict())
    return LanguageModel(copy.model.to(torch.bfloat16), copy.tokenizer, name="tiny")


def test_scoring_again_gives_the_losses_of_a_single_pass_and_feeds_less(by_key, tmp_path):
    model = tiny_model()
    whole = score(model, by_key, CALLS, tmp_path / "a", token_budget=200)
    early = [call for call in CALLS if call.position in (0, 3)]
    before = model.tokens_fed
    # One row a batch: no padding.
    again = score(
        model, cut_windows(by_key, early, PAPERS_FORM), early, tmp_path / "b", token_budget=1
    )
    assert again.keys() == {call.call_id for call in early}
    for call_id, of_call in again.items():
        assert dataclasses.astuple(of_call) == pytest.approx(
            dataclasses.astuple(whole[call_id]), abs=1e-5
        )
    # Three rows a call, each up to the last token but one of the text that carries weight.
    expected = sum(
        1 + len(prefix) + call.position + 4
        for call in early
        for prefix in (
            [],
            *(
                call_ids(model.tokenizer, call.call, result, call_format=CallFormat())
                for result in (call.result, None)
            ),
        )
    )
    assert model.tokens_fed - before == expected


def test_only_the_loss_of_a_texts_first_token_is_taken_from_float32(by_key):
    reference = tiny_model()
    model = bfloat16_copy(reference)
    texts = list(by_key.values())
    start_losses = start_token_losses(reference)
    mended = TextLosses(model, texts, token_budget=200, start_losses=start_losses)
    rough = TextLosses(model, texts, token_budget=200)
    exact = TextLosses(reference, texts, token_budget=200)
    assert len(start_losses) == model.tokenizer.vocabulary_size
    for key, window in by_key.items():
        found = mended.token_losses(key)
        assert found[0] == start_losses[window.ids[0]]
        assert found[0] == pytest.approx(exact.token_losses(key)[0], abs=1e-5)
        assert found[0] != rough.token_losses(key)[0]
        assert found[1:] == rough.token_losses(key)[1:]


PARAMETERS = ScoringParameters(CallFormat(), token_budget=200)
WANTED = LossesWanted(lowest_threshold=0.0, chance_calls=6, seed=0, is_rescored=True)


EXECUTED = [
    ScoredCall(
        f"call-{number}",
        (f"document-{number % 2}", 0),
        number,
        ToolCall("Calculator", f"{number} * 24"),
        str(number * 24),
    )
    for number in range(22)
]


def scored(folder, *, precision: str = "bfloat16") -> ToolScores:
    float32 = tiny_model()
    models = {"float32": float32, "bfloat16": bfloat16_copy(float32)}
    models[None] = models[precision]
    scoring = ShardScoring(
        load_in=lambda name: models[name],
        cut_windows=lambda tokenizer: windows_of(tokenizer, *TEXTS),
        parameters=PARAMETERS,
        wanted=WANTED,
        progress=lambda stage, tool: lambda done, total: None,
    )
    return scoring.score(
        "Calculator", EXECUTED, lambda name, state: Checkpoint(folder / name, fingerprint=state)
    )


@pytest.fixture(scope="module")
def exact(by_key, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exact")
    return score(tiny_model(), by_key, EXECUTED, folder, token_budget=200, tau_f=0.0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_decisions_at_any_threshold_are_those_of_float32(tmp_path, exact, precision):
    found = scored(tmp_path, precision=precision)
    assert found.scores.keys() == exact.keys()
    for threshold in (0.0, 0.01, 0.05, 0.2, 1.0):
        for call_id, losses in exact.items():
            expected = decide(losses, filtering_threshold=threshold).is_kept
            own = found.scores[call_id].losses
            assert decide(own, filtering_threshold=threshold).is_kept == expected


def test_what_reaches_the_lowest_threshold_is_of_float32_and_has_a_swapped_loss(tmp_path):
    found = scored(tmp_path)
    reached = {key for key, each in found.scores.items() if WANTED.is_reached(each.losses)}
    sample = {key for key, each in found.scores.items() if each.is_in_chance_sample}
    assert 0 < len(reached) < len(EXECUTED)
    assert len(sample) == 6
    for call_id, score in found.scores.items():
        is_wanted = call_id in reached | sample
        assert (score.losses.loss_with_swapped_result is not None) == is_wanted
        assert (score.swapped_call_id is not None) == is_wanted
        if is_wanted:
            assert score.precision == "float32"
        if call_id in sample:
            assert score.losses.loss_call_without_result is not None
    assert "bfloat16" in {score.precision for score in found.scores.values()}
    assert [cost.stage for cost in found.costs] == ["scoring", "rescoring", "swapped_results"]


def test_no_calls_load_no_model(tmp_path):
    scoring = ShardScoring(
        load_in=lambda name: pytest.fail("a model was loaded"),
        cut_windows=lambda tokenizer: pytest.fail("texts were cut"),
        parameters=PARAMETERS,
        wanted=WANTED,
        progress=lambda stage, tool: lambda done, total: None,
    )
    assert scoring.score("Calculator", [], lambda *_: pytest.fail("kept")) == ToolScores({})
