"""The Dagster resource with the settings of a run; all of its stages share it."""

from typing import Any

import dagster as dg
from pydantic import Field

from toolformer.home.home import Home
from toolformer.settings.sections import Settings, merged
from toolformer.settings.settings_file import load_settings


class SettingsResource(dg.ConfigurableResource):
    """The settings of `toolformer.yaml`, with changes for one run.

    Example for the Launchpad: `overrides: {tools: {Calendar: {filtering_threshold: 0.5}}}`.
    """

    overrides: dict[str, Any] = Field(
        default={},
        description="Settings for this run that override toolformer.yaml, nested as in that file "
        "(list: docs/reference/settings.md).",
    )
    force: bool = Field(default=False, description="Recompute outputs that are up to date.")

    def load(self, *, variant: str | None = None) -> Settings:
        """Return the validated settings; a `variant` overrides `training.variant`."""
        home = Home.find()
        overrides = self.overrides
        if variant is not None:
            overrides = merged(overrides, {"training": {"variant": variant}})
        return load_settings(home.settings_file, overrides=overrides)
