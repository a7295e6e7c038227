"""A Dagster run as an asset sees it: a workspace, with the context and the tools of the run."""

import dagster as dg

from toolformer.home.home import Home
from toolformer.home.progress import ProgressCallback, progress_of
from toolformer.home.resources.settings import SettingsResource
from toolformer.home.resources.toolbox import ToolboxResource
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.home.wiring.workspace import Workspace

# The resources that every asset asks for: none opens anything before it is used.
RESOURCES = {"settings", "toolbox"}


class Run(Workspace):
    """The run of an asset.

    Args:
        variant: variant of the finetuned model, which wins over the setting.

    Raises:
        SettingsError: the settings are not valid.
    """

    def __init__(self, context: dg.AssetExecutionContext, *, variant: str | None = None):
        resource: SettingsResource = context.resources.settings
        self.context, self.log, self.force = context, context.log, resource.force
        self.overrides = resource.overrides
        super().__init__(resource.load(variant=variant), Home.find())

    @property
    def named_tools(self) -> list[str]:
        """The tools that the run names; none for all."""
        resource: ToolboxResource = self.context.resources.toolbox
        return resource.tools

    def open_toolbox(self) -> Toolbox:
        """The tools, as a build uses them."""
        resource: ToolboxResource = self.context.resources.toolbox
        return resource.open(self)

    def progress(self, work: str, *details: str) -> ProgressCallback:
        """Shows how far a long piece of work is; see `progress_of`."""
        return progress_of(work, self.log, detail=", ".join(details))
