"""The settings of a run: the home's file, with what the Launchpad changes for this run.

One resource for all stages, so that two stages of a run never disagree.
"""

from typing import Any

import dagster as dg
from pydantic import Field

from toolformer.home.home import Home
from toolformer.settings.errors import SettingsError
from toolformer.settings.sections import Settings, merged
from toolformer.settings.settings_file import load_settings, settings_of_rounds


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

    def load_rounds(self) -> list[Settings]:
        """The settings of each round that the file lists, as this run would have them.

        Overrides that are not valid in all of them concern the round of this run alone.
        """
        file = Home.find().settings_file
        own = self.load()
        if not own.rounds:
            return [own]
        try:
            return settings_of_rounds(file, overrides=self.overrides)
        except SettingsError:
            rounds = settings_of_rounds(file)
        rounds[own.sampling.round - 1] = own
        return rounds
