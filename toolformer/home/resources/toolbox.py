"""The tools of a run, as Dagster hands them to the stages."""

import dagster as dg
from pydantic import Field, PrivateAttr

from toolformer.home.home import Home
from toolformer.home.settings.sections import Settings
from toolformer.home.wiring.toolbox import Toolbox, open_toolbox


class ToolboxResource(dg.ConfigurableResource):
    """The tools of a run, one field read by all stages."""

    tools: list[str] = Field(
        default=[], description="names of the tools to use; by default all that can run"
    )

    # With the settings that they were opened by. Tools from outside are processes of their own.
    _opened: tuple[Settings, Toolbox] | None = PrivateAttr(default=None)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002
        """End the processes of tools with the run, whoever still holds this resource."""
        self._opened = None

    def open(self, settings: Settings, home: Home) -> Toolbox:
        """The tools that this run uses; the same ones for all its stages."""
        if self._opened is None or self._opened[0] != settings:
            self._opened = settings, open_toolbox(settings, home, named=self.tools or None)
        return self._opened[1]
