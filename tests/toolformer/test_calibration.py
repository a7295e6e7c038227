import math

import pytest
import torch

from tests.fakes import tiny_model
from toolformer.calibration import calibrate, calibration_calls, measure
from toolformer.calls import CallFormat
from toolformer.errors import CalibrationError
from toolformer.forward.checkpoint import Checkpoint
from toolformer.forward.language_model import LanguageModel
from toolformer.loss_weights import TOKEN_WEIGHTS


def test_the_band_is_three_deviations_and_says_what_it_covers():
    differences = [0.02, -0.02] * 49 + [0.3, 0.04]
    found = calibrate(differences)
    sigma = math.sqrt((98 * 0.02**2 + 0.3**2 + 0.04**2) / 100)
    assert found.sigma == pytest.approx(sigma)
    assert found.band == pytest.approx(3 * sigma, abs=1e-4)
    assert (found.calls, found.largest, found.coverage) == (100, 0.3, 0.99)


def test_a_bias_widens_the_band_as_a_spread_does():
    assert calibrate([0.02] * 50).band == calibrate([0.02, -0.02] * 25).band > 0


def test_models_of_equal_losses_have_no_band():
    assert calibrate([0.0] * 20).band == 0.0
    assert calibrate([0.0] * 20).coverage == 1.0


def test_no_finite_difference_is_an_error_that_says_what_to_do():
    with pytest.raises(CalibrationError, match="precision to float32"):
        calibrate([])


@pytest.mark.parametrize("window_tokens", [8, 64, 512])
def test_the_sample_is_fixed_and_every_position_has_its_five_tokens(tokenizer, window_tokens):
    windows, calls = calibration_calls(tokenizer, count=60, window_tokens=window_tokens)
    assert calibration_calls(tokenizer, count=60, window_tokens=window_tokens) == (windows, calls)
    assert len({call.call_id for call in calls}) == len(calls) == 60
    assert {call.window for call in calls} == windows.keys()
    for call in calls:
        window = windows[call.window]
        assert len(window.ids) <= window_tokens
        assert window.offsets[call.position] is not None
        assert call.position + len(TOKEN_WEIGHTS) <= len(window.ids)
        assert call.result
        assert not set("[]()\n") & set(call.result + call.call.arguments)
    _, more = calibration_calls(tokenizer, count=90, window_tokens=window_tokens)
    assert more[:60] == calls


def test_the_same_model_twice_has_no_noise_and_bfloat16_has_some(tmp_path):
    exact = tiny_model()
    copy = tiny_model()
    rough = LanguageModel(copy.model.to(torch.bfloat16), copy.tokenizer, name="rough")

    def measured(model, folder):
        found, cost = measure(
            model,
            exact,
            count=20,
            window_tokens=64,
            call_format=CallFormat(),
            token_budget=512,
            checkpoint=lambda name: Checkpoint(tmp_path / folder / name, fingerprint="x"),
            progress=lambda *_: None,
        )
        assert cost.candidates == found.calls
        assert cost.tokens_fed > 0
        return found

    assert measured(exact, "same").largest == 0.0
    noisy = measured(rough, "rough")
    assert noisy.calls == 20
    assert 0 < noisy.sigma < noisy.largest < 1
    # From the checkpoint: fed again is the start token alone.
    before = rough.tokens_fed + exact.tokens_fed
    assert measured(rough, "rough") == noisy
    assert rough.tokens_fed + exact.tokens_fed == before + 1
