"""All losses of a shard that decisions can ask for."""

import math
from copy import deepcopy
from dataclasses import replace
from statistics import stdev

import pytest
import torch

from tests.fakes import tiny_model
from tests.toolformer.architectures import windows_of
from tests.toolformer.scoring.test_losses import score
from toolformer.filtering import CallLosses, decide
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.scoring import shard_scoring
from toolformer.scoring.call_scorer import ScoredCall
from toolformer.scoring.shard_scoring import ShardScoring, ToolScores
from toolformer.settings.annotation_sections import ScoringSettings
from tools.protocol import ToolCall

LOWEST = 0.5

TEXTS = ("Six crates of 24 make 144 bottles, sold before noon.", "Rain, and 12 more of it.")
CALLS = [
    ScoredCall(
        f"call-{number}",
        (f"document-{number % 2}", 0),
        number,
        ToolCall("Calculator", f"{number} * 24"),
        str(number * 24),
    )
    for number in range(22)
]


# Of six texts, each with 11 calls.
MORE_CALLS = [
    replace(
        call,
        call_id=f"{call.call_id}-{copy}",
        window=(f"document-{2 * copy + number % 2}", 0),
        result=str(24 * number + copy),
    )
    for copy in range(3)
    for number, call in enumerate(CALLS)
]


def copy_in(dtype: torch.dtype, model: LanguageModel) -> LanguageModel:
    copy = deepcopy(model.model)
    return LanguageModel(copy.to(dtype=dtype), model.tokenizer, name=model.name)


SCORING = ScoringSettings(lowest_threshold=LOWEST, chance_calls=6, token_budget=200)


def scoring_with(load, *texts: str) -> ShardScoring:
    return ShardScoring(
        load=load,
        cut_windows=lambda tokenizer: windows_of(tokenizer, *texts),
        scoring=SCORING,
        seed=0,
        progress=lambda stage, tool: lambda done, total: None,
    )


def below(folder):
    return lambda name, state: Checkpoint(folder / name, fingerprint=state)


@pytest.mark.parametrize("threshold", [LOWEST, 0.51, 0.55, 0.7, 1.5])
def test_decisions_at_any_threshold_are_those_of_all_losses(tmp_path, threshold):
    model = tiny_model()
    windows = windows_of(model.tokenizer, *TEXTS * 3)
    exact = score(model, windows, tmp_path / "exact", MORE_CALLS, lowest_threshold=LOWEST)
    found = scoring_with(lambda: model, *TEXTS * 3).score("Calculator", MORE_CALLS, below(tmp_path))
    assert found.scores.keys() == exact.keys()
    for call_id, losses in exact.items():
        expected = decide(losses, filtering_threshold=threshold).is_kept
        own = found.scores[call_id].losses
        assert decide(own, filtering_threshold=threshold).is_kept == expected


def test_what_reaches_the_lowest_threshold_has_a_swapped_loss(tmp_path):
    scoring = scoring_with(tiny_model, *TEXTS * 3)
    found = scoring.score("Calculator", MORE_CALLS, below(tmp_path))
    reached = {
        key
        for key, each in found.scores.items()
        if decide(each.losses, filtering_threshold=LOWEST).is_kept
    }
    sample = {key for key, each in found.scores.items() if each.is_in_chance_sample}
    assert 0 < len(reached) < len(MORE_CALLS)
    assert len(sample) == 6
    for call_id, each in found.scores.items():
        is_wanted = call_id in reached | sample
        assert (each.losses.loss_with_swapped_result is not None) == is_wanted
        assert (each.swapped_call_id is not None) == is_wanted
        assert each.precision == "float32"
        if call_id in sample:
            assert each.losses.loss_call_without_result is not None
    assert [cost.stage for cost in found.costs] == ["scoring", "swapped_results"]


def all_losses(model: LanguageModel, folder, calls) -> ToolScores:
    """Without pruning, so that each call has its reduction."""
    scoring = scoring_with(lambda: model, *TEXTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_scoring, "chance_sample_size", lambda calls, max_size: calls)
        found = scoring.score("Calculator", calls, below(folder))
    assert {each.precision for each in found.scores.values()} == {model.precision}
    return found


def reduction(losses: CallLosses) -> float:
    found = decide(losses, filtering_threshold=-math.inf).loss_reduction
    assert found is not None
    return found


def pairs_in(dtype: torch.dtype, reference: LanguageModel, folder, calls):
    """The losses of each call in a precision and in float32."""
    exact = all_losses(reference, folder / f"beside-{dtype}", calls).scores
    found = all_losses(copy_in(dtype, reference), folder / str(dtype), calls).scores
    return [(found[key].losses, exact[key].losses) for key in exact]


def spread(pairs) -> float:
    """How far reductions are off."""
    return stdev(reduction(own) - reduction(whole) for own, whole in pairs)


def test_float16_decides_as_float32(tmp_path):
    model = tiny_model()
    pairs = pairs_in(torch.float16, model, tmp_path, CALLS)
    for threshold in (0.0, 0.05, 0.2, 0.5, 1.0):
        for own, whole in pairs:
            decisions = [decide(each, filtering_threshold=threshold) for each in (own, whole)]
            assert decisions[0].is_kept == decisions[1].is_kept
    assert 0 < 4 * spread(pairs) < spread(pairs_in(torch.bfloat16, model, tmp_path, CALLS))


def test_no_calls_load_no_model():
    # Texts are cut with its tokenizer.
    scoring = scoring_with(lambda: pytest.fail("a model was loaded"), *TEXTS)
    assert scoring.score("Calculator", [], lambda *_: pytest.fail("kept")) == ToolScores({})
