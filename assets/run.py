"""A Dagster run as an asset sees it: settings, home, warehouse, tools and model."""

from functools import cached_property
from pathlib import Path

import dagster as dg

from toolformer.home.home import Home
from toolformer.home.progress import ProgressCallback, progress_of
from toolformer.home.resources.settings import SettingsResource
from toolformer.home.resources.toolbox import ToolboxResource
from toolformer.home.wiring.model_holder import ModelHolder, base_model_directory, process_holder
from toolformer.home.wiring.toolbox import Toolbox
from toolformer.home.wiring.warehouse import open_warehouse
from toolformer.settings.sections import Settings
from warehouse.warehouse import Warehouse

# The resources that every asset asks for: none opens anything before it is used.
RESOURCES = {"settings", "toolbox"}


class Workspace:
    """What a command works with, and a run too.

    Attributes:
        settings: those of the home, with the changes for this command or run.
    """

    def __init__(self, settings: Settings, home: Home):
        self.settings, self.home = settings, home

    @cached_property
    def warehouse(self) -> Warehouse:
        """The rows; opened when they are first asked for."""
        return open_warehouse(self.home)

    @property
    def base_model(self) -> Path:
        """Directory of the base model; see `base_model_directory`."""
        return base_model_directory(self.settings, self.home)


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
        return resource.open(self.settings, self.home)

    @property
    def holder(self) -> ModelHolder:
        """The holder of this process's models."""
        return process_holder()

    def hold_device(self) -> str:
        """Wait for a device and keep it; returns its name."""
        return self.holder.hold_device(self.settings, self.home)

    def progress(self, work: str, *details: str) -> ProgressCallback:
        """Shows how far a long piece of work is; see `progress_of`."""
        return progress_of(work, self.log, detail=", ".join(details))
