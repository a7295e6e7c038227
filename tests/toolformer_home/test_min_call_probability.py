"""What `decoding.min_call_probability` comes to for a model."""

import logging
from pathlib import Path

import pytest

from toolformer.decoding.calibration import CalibratedProbability, min_call_probability_text
from toolformer.decoding.completions import CLOSED, MinCallProbability
from toolformer.errors import ToolformerError
from toolformer.files.beside_models import MIN_CALL_PROBABILITY_FILE
from toolformer_home.settings.sections import Settings, validated
from toolformer_home.wiring.live_calls import (
    decoding_parameters,
    min_call_probability,
    with_calls,
)


def settings_with(least: object) -> Settings:
    return validated({"decoding": {"min_call_probability": least}}, origin="test")


def write(directory: Path, *values: float | None, reason: str | None = None) -> None:
    chosen = CalibratedProbability(*values, reason, 10, 8, 8, made_from={"model": "x"})
    (directory / MIN_CALL_PROBABILITY_FILE).write_text(min_call_probability_text(chosen))


def test_a_number_is_taken_as_it_is_and_null_stands_for_the_models_own(tmp_path: Path):
    write(tmp_path, 0.25, 0.05)
    assert min_call_probability(tmp_path, settings_with(0.5)) == (0.5, 0.5)
    assert min_call_probability(tmp_path, settings_with(0)) == (0, 0)
    assert min_call_probability(tmp_path, settings_with(None)) == MinCallProbability(
        in_text=0.25, behind_prompt=0.05
    )
    mode = with_calls(tmp_path, settings_with(None))
    assert (mode.name, mode.call_top_k, mode.min_call_probability) == ("enabled", 10, (0.25, 0.05))


@pytest.mark.parametrize(
    "reason", [None, "1 development texts have calls, expected at least 8 to choose by"]
)
def test_a_model_without_a_calibrated_value_opens_no_call_unless_it_is_told_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, reason: str | None
):
    if reason is not None:
        write(tmp_path, None, None, reason=reason)
    closed = settings_with(None)
    with caplog.at_level(logging.WARNING):
        # What is evaluated, and what a command decodes.
        assert with_calls(tmp_path, closed).min_call_probability == CLOSED
        assert min_call_probability(tmp_path, closed) == CLOSED
    (line,) = caplog.messages
    assert "No call opens" in line
    assert (reason or "the model has no min_call_probability.json") in line
    assert "set decoding.min_call_probability to a number" in line
    parameters = decoding_parameters(closed, ["Calculator"], min_call_probability=CLOSED)
    assert parameters.is_disabled
    assert with_calls(tmp_path, settings_with(0)).min_call_probability == (0, 0)


@pytest.mark.parametrize(
    "content", ["{}", min_call_probability_text(CalibratedProbability(None, None, None, 10, 8, 8))]
)
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, content: str):
    (tmp_path / MIN_CALL_PROBABILITY_FILE).write_text(content)
    with pytest.raises(ToolformerError, match=r"min_call_probability\.json' is damaged.*Delete it"):
        min_call_probability(tmp_path, settings_with(None))
