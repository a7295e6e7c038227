"""Gives an asset its Dagster run: a workspace with the context and the tools of the run."""

import dagster as dg

from toolformer.home.home import Home
from toolformer.home.progress import ProgressCallback, progress_of
from toolformer.home.resources.settings import SettingsResource
from toolformer.home.resources.toolbox import ToolboxResource
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.home.wiring.workspace import Workspace

# Resources that every asset requires; none opens anything before it is used.
RESOURCES = {"settings", "toolbox"}


class Run(Workspace):
    """Workspace of an asset's run; `variant` overrides the setting `training.variant`."""

    def __init__(self, context: dg.AssetExecutionContext, *, variant: str | None = None):
        resource: SettingsResource = context.resources.settings
        self.context, self.log, self.force = context, context.log, resource.force
        self.overrides = resource.overrides
        super().__init__(resource.load(variant=variant), Home.find())

    @property
    def named_tools(self) -> list[str]:
        """Names of the tools to which the run is limited; empty for all tools."""
        resource: ToolboxResource = self.context.resources.toolbox
        return resource.tools

    def open_toolbox(self) -> Toolbox:
        resource: ToolboxResource = self.context.resources.toolbox
        return resource.open(self)

    def progress(self, work: str, *details: str) -> ProgressCallback:
        return progress_of(work, self.log, detail=", ".join(details))
