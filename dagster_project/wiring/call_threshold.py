"""The least probability with which a model opens calls: the settings' own, or the calibrated one.

Does not calibrate; the asset `call_threshold` does.
"""

import logging
from pathlib import Path

from dagster_project.settings.sections import Settings
from toolformer.decoding.call_threshold import NOT_LOOKED_AT, read_call_threshold
from toolformer.evaluation.modes import Mode, enabled

_LOGGER = logging.getLogger(__name__)
# The models that this process has said of that k alone decides.
_told: set[Path] = set()


def least_call_probability(directory: Path, settings: Settings) -> float:
    """What `decoding.least_call_probability` comes to for the model of a directory.

    Where it is None and no value was calibrated, k alone decides, and a line of the log says so.

    Raises:
        ToolformerError: the model's calibration is damaged.
    """
    chosen = settings.decoding.least_call_probability
    if chosen is not None:
        return chosen
    stored = read_call_threshold(directory)
    if stored is not None and stored.least_call_probability is not None:
        return stored.least_call_probability
    if directory not in _told:
        _told.add(directory)
        _LOGGER.warning(
            "decoding.call_top_k alone decides where %s opens calls: %s. `toolformer train` "
            "calibrates a least probability for the model that it trains; for another one set "
            "decoding.least_call_probability to a number (0 is the paper's).",
            directory.name,
            NOT_LOOKED_AT if stored is None else stored.reason,
        )
    return 0.0


def with_calls(directory: Path, settings: Settings) -> Mode:
    """The mode `enabled` of the model of a directory, as the settings want it."""
    return enabled(settings.decoding.call_top_k, least_call_probability(directory, settings))
