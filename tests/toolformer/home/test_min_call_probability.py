"""What `decoding.min_call_probability` comes to for a model."""

import json
import logging
from pathlib import Path

import pytest

from toolformer.base.model_files import MIN_CALL_PROBABILITY_FILE
from toolformer.decoding import calibration
from toolformer.decoding.calibration import (
    CalibratedProbability,
    ToolThresholds,
    min_call_probability_text,
)
from toolformer.decoding.completions import CLOSED, Decoding, MinCallProbability
from toolformer.evaluation.modes import enabled
from toolformer.settings.errors import SettingsError
from toolformer.settings.sections import Settings, validated


def settings_with(least: object) -> Settings:
    return validated({"decoding": {"min_call_probability": least}}, origin="test")


def min_call_probability(directory: Path, settings: Settings) -> MinCallProbability:
    return calibration.min_call_probability(directory, settings.decoding.min_call_probability)


def write(
    directory: Path, *values: float | None, reason: str | None = None, by_tool: dict | None = None
) -> None:
    chosen = CalibratedProbability(
        *values,
        reason,
        *(10, 8, 8),
        made_from={"model": "x"},
        min_call_probability_by_tool=by_tool or {},
    )
    (directory / MIN_CALL_PROBABILITY_FILE).write_text(min_call_probability_text(chosen))


def test_a_number_is_taken_as_it_is_and_null_stands_for_the_models_own(tmp_path):
    write(tmp_path, 0.25, 0.05)
    assert min_call_probability(tmp_path, settings_with(0.5)) == (0.5, 0.5, {})
    assert min_call_probability(tmp_path, settings_with(0)) == (0, 0, {})
    assert min_call_probability(tmp_path, settings_with(None)) == MinCallProbability(
        in_text=0.25, behind_prompt=0.05
    )


def test_a_number_by_tool_is_for_that_tool_and_the_others_have_the_models_own(tmp_path, caplog):
    by_hand = settings_with({"Calculator": 0.5, "WikiSearch": 0})
    found = min_call_probability(tmp_path, by_hand)
    tools = ("Calculator", "WikiSearch", "Calendar")
    # Nothing was calibrated, so that others open nothing; whoever sets numbers knows that.
    assert found.at(1, tools) == {"Calculator": 0.5, "WikiSearch": 0, "Calendar": 1}
    assert caplog.messages == []
    own = {name: ToolThresholds(0.4, 0.3, 9) for name in ("Calculator", "Calendar")}
    write(tmp_path, 0.25, 0.05, by_tool=own)
    found = min_call_probability(tmp_path, by_hand)
    assert found.at(0, tools) == {"Calculator": 0.5, "WikiSearch": 0, "Calendar": 0.3}
    assert found.at(7, [*tools, "MT"])["MT"] == 0.25
    columns = enabled(10, min_call_probability(tmp_path, settings_with(None))).entries
    told = json.loads(columns.pop("min_call_probability_by_tool"))
    assert told["Calendar"] == {"in_text": 0.4, "behind_prompt": 0.3}
    assert columns["min_call_probability_behind_prompt"] == 0.05


@pytest.mark.parametrize("least", [{"Calculater": 0.5}, {"Calculator": 1.5}, 1.5])
def test_no_other_tools_and_no_other_numbers_can_be_set(least: object):
    with pytest.raises(SettingsError, match=r"decoding\.min_call_probability"):
        settings_with(least)


@pytest.mark.parametrize(
    "reason", [None, "1 development texts have calls, expected at least 8 to choose by"]
)
def test_a_model_without_a_calibrated_value_opens_no_call_unless_it_is_told_to(
    tmp_path, caplog, reason: str | None
):
    if reason is not None:
        write(tmp_path, None, None, reason=reason)
    closed = settings_with(None)
    with caplog.at_level(logging.WARNING):
        assert min_call_probability(tmp_path, closed) == CLOSED
        assert min_call_probability(tmp_path, closed) == CLOSED
    (line,) = caplog.messages
    assert "No call opens" in line
    assert (reason or "the model has no min_call_probability.json") in line
    assert "set decoding.min_call_probability to a number" in line
    decoding = Decoding(closed.decoding, 1, ("Calculator",), min_call_probability=CLOSED)
    assert decoding.is_disabled
    assert min_call_probability(tmp_path, settings_with(0)) == (0, 0, {})
