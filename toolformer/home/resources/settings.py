"""The settings of a run: the home's file, with what the Launchpad changes for this run.

One resource for all stages, so that two stages of a run never disagree.
"""

from typing import Any

import dagster as dg
from pydantic import Field

from toolformer.home.home import Home
from toolformer.settings.sections import Settings, merged
from toolformer.settings.settings_file import load_settings


class SettingsResource(dg.ConfigurableResource):
    """`toolformer.yaml`, and changes for one run.

    Example for the Launchpad: `overrides: {tools: {Calendar: {filtering_threshold: 0.5}}}`.
    """

    overrides: dict[str, Any] = Field(
        default={},
        description="settings that win over toolformer.yaml, nested as there (all: "
        "docs/reference/settings.md)",
    )
    force: bool = Field(default=False, description="compute also what is up to date")

    def load(self, *, variant: str | None = None) -> Settings:
        """The validated settings of this run.

        Args:
            variant: the partition of the model, which wins over the setting.
        """
        home = Home.find()
        overrides = self.overrides
        if variant is not None:
            overrides = merged(overrides, {"training": {"variant": variant}})
        return load_settings(home.settings_file, overrides=overrides)
