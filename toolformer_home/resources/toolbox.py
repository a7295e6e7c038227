"""The tools of a run, as Dagster hands them to the stages."""

import dagster as dg
from pydantic import Field

from toolformer_home.home import Home
from toolformer_home.settings.sections import Settings
from toolformer_home.wiring.toolbox import Toolbox, open_toolbox


class ToolboxResource(dg.ConfigurableResource):
    """The tools of a run, one field read by all stages."""

    tools: list[str] = Field(
        default=[], description="names of the tools to use; by default all that can run"
    )

    def open(self, settings: Settings, home: Home) -> Toolbox:
        """The tools that this run uses."""
        return open_toolbox(settings, home, named=self.tools or None)
