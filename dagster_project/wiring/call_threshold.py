"""The least probability with which a model opens calls: the settings' own, or the calibrated one.

Does not calibrate; the asset `call_threshold` does.
"""

import logging
from pathlib import Path

from dagster_project.settings.sections import Settings
from toolformer.decoding.call_threshold import CLOSED, NOT_LOOKED_AT, read_call_threshold
from toolformer.evaluation.modes import Mode, enabled

_LOGGER = logging.getLogger(__name__)
# The models of which this process has said that they have no value of their own.
_told: set[Path] = set()


def least_call_probability(directory: Path, settings: Settings) -> float:
    """What `decoding.least_call_probability` comes to for the model of a directory.

    Where it is None, a model that was calibrated without a choice opens no calls, and of one that
    nobody calibrated k alone decides. A line of the log says either.

    Raises:
        ToolformerError: the model's calibration is damaged.
    """
    chosen = settings.decoding.least_call_probability
    if chosen is not None:
        return chosen
    stored = read_call_threshold(directory)
    if stored is None:
        _tell_once(
            directory,
            f"{directory.name} opens calls by rank alone (decoding.call_top_k): {NOT_LOOKED_AT}. "
            "`toolformer train` calibrates a least probability for the models that it trains; "
            "decoding.least_call_probability sets one.",
        )
        return 0.0
    if stored.least_call_probability is None:
        _tell_once(directory, f"{directory.name}: {stored.told}")
        return CLOSED
    return stored.least_call_probability


def _tell_once(directory: Path, line: str) -> None:
    if directory not in _told:
        _told.add(directory)
        _LOGGER.warning("%s", line)


def with_calls(directory: Path, settings: Settings) -> Mode:
    """The mode `enabled` of the model of a directory, as the settings want it."""
    return enabled(settings.decoding.call_top_k, least_call_probability(directory, settings))
