"""What the preset `paper` tells the engine: the paper's forms, and nothing of what came later."""

import pytest

from assets.dataset.sampling import proposed_calls
from tests.fakes import byte_tokenizer
from toolformer.decoding.calibration import min_call_probability
from toolformer.decoding.completions import BY_RANK_ONLY
from toolformer.forward.windows import split_into_windows
from toolformer.settings.sections import Settings, validated
from toolformer.settings.settings_file import preset_values
from tools.calculator import Calculator
from tools.protocol import Document
from tools.registry import TOOL_NAMES


@pytest.fixture(scope="module")
def paper() -> Settings:
    return validated(preset_values("paper"), origin="paper")


def test_losses_are_those_in_front_of_the_text_over_five_falling_weights(paper: Settings):
    scoring = paper.scoring
    # Equal to the last bit, or stored losses would not be those of today.
    assert scoring.token_weights == (5 / 15, 4 / 15, 3 / 15, 2 / 15, 1 / 15)
    assert (scoring.placement, scoring.baseline) == ("prefix", "minimum")
    assert scoring.empty_result_keeps_arrow
    uniform = validated({"scoring": {"window_weights": "uniform"}}, origin="test")
    assert uniform.scoring.token_weights == (0.2,) * 5


def test_the_model_chooses_the_positions_with_the_prompt_in_one_round(paper: Settings):
    text = Document("d", "Now 6 * 7 = 42.")
    windows = list(split_into_windows("d", text.text, byte_tokenizer(), window_tokens=20))
    kind = paper.sampling.proposals
    assert proposed_calls(Calculator(), {"d": text}, windows, "calls")
    assert proposed_calls(Calculator(), {"d": text}, windows, kind) is None
    assert paper.sampling.uses_prompt
    assert paper.sampling.shards is None
    assert paper.rounds == ()
    sampling = paper.sampling
    assert (sampling.temperature, sampling.is_constrained, sampling.round) == (1.0, True, 1)
    for name in TOOL_NAMES:
        of_tool = paper.tools.of(name)
        assert (of_tool.contrast_threshold, of_tool.prompt) == (None, None)


def test_rank_alone_opens_calls_whatever_was_calibrated(paper: Settings, tmp_path):
    (tmp_path / "min_call_probability.json").write_text("not read")
    least = min_call_probability(tmp_path, paper.decoding.min_call_probability)
    assert (paper.decoding.call_top_k, least) == (10, BY_RANK_ONLY)
