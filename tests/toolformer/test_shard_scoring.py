"""All losses of a shard's calls, in one precision and in two."""

import pytest

from tests.fakes import tiny_model
from tests.toolformer.architectures import windows_of
from tests.toolformer.test_rescoring import bfloat16_copy
from toolformer.call_scorer import Pruning, ScoringParameters
from toolformer.calls import CallFormat
from toolformer.filtering import decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.losses import ScoredCall, scorer_for
from toolformer.shard_scoring import LossesWanted, ShardScoring, ToolScores
from tools.protocol import ToolCall

TEXTS = ("Six crates of 24 make 144 bottles, sold before noon.", "Rain, and 12 more of it.")
PARAMETERS = ScoringParameters(CallFormat(), token_budget=200)
WANTED = LossesWanted(lowest_threshold=0.0, chance_calls=6, seed=0, is_rescored=True)


def calls_with(results: list[str]) -> list[ScoredCall]:
    return [
        ScoredCall(
            f"call-{number}",
            (f"document-{number % 2}", 0),
            number,
            ToolCall("Calculator", f"{number} * 24"),
            result,
        )
        for number, result in enumerate(results)
    ]


CALLS = calls_with([str(number * 24) for number in range(22)])


def scored(folder, calls=CALLS, *, precision: str = "bfloat16", wanted=WANTED) -> ToolScores:
    float32 = tiny_model()
    models = {"float32": float32, "bfloat16": bfloat16_copy(float32)}
    models[None] = models[precision]
    scoring = ShardScoring(
        load_in=lambda name: models[name],
        cut_windows=lambda tokenizer: windows_of(tokenizer, *TEXTS),
        parameters=PARAMETERS,
        wanted=wanted,
        progress=lambda stage, tool: lambda done, total: None,
    )
    return scoring.score(
        "Calculator", calls, lambda name, state: Checkpoint(folder / name, fingerprint=state)
    )


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    model = tiny_model()
    windows = windows_of(model.tokenizer, *TEXTS)
    by_key = {(window.document_id, window.index): window for window in windows}
    return scorer_for(model, by_key, PARAMETERS).score(
        CALLS,
        pruning=Pruning(0.0, {call.call_id for call in CALLS}),
        checkpoint=Checkpoint(tmp_path_factory.mktemp("exact"), fingerprint="x"),
        progress=lambda done, total: None,
    )


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
    assert 0 < len(reached) < len(CALLS)
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
