"""The mode in which a model is used with calls, as the settings and its calibration want it.

Does not calibrate; the asset `call_threshold` does.
"""

from pathlib import Path

from dagster_project.settings.sections import Settings
from toolformer.decoding import call_threshold
from toolformer.evaluation.modes import Mode, enabled


def least_call_probability(directory: Path, settings: Settings) -> float:
    """What `decoding.least_call_probability` comes to for the model of a directory.

    Raises:
        ToolformerError: the model's calibration is damaged.
    """
    given = settings.decoding.least_call_probability
    return call_threshold.least_call_probability(directory, given)


def with_calls(directory: Path, settings: Settings) -> Mode:
    """The mode `enabled` of the model of a directory, as the settings want it."""
    return enabled(settings.decoding.call_top_k, least_call_probability(directory, settings))
