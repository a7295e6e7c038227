"""What an asset works with: settings, home, warehouse, tools and model of a Dagster run."""

from typing import Protocol, TypeVar

import dagster as dg

from dagster_project.home import Home
from dagster_project.resources.language_model import LanguageModelResource
from dagster_project.resources.settings import SettingsResource
from dagster_project.resources.toolbox import ToolboxResource
from dagster_project.resources.warehouse import WarehouseResource
from dagster_project.wiring.model_holder import ModelHolder
from dagster_project.wiring.toolbox import Toolbox
from warehouse.warehouse import Warehouse

# The resources that an asset asks for, as far as it needs them.
WITHOUT_MODEL = {"settings", "warehouse"}
WITH_MODEL = {"settings", "warehouse", "toolbox", "language_model"}


class OutputRun(Protocol):
    """What an output asks of the run that makes it."""

    @property
    def home(self) -> Home:
        """The folders."""
        ...

    @property
    def force(self) -> bool:
        """Whether outputs are made though they are up to date."""
        ...

    @property
    def warehouse(self) -> Warehouse:
        """The rows."""
        ...


OutputRunT = TypeVar("OutputRunT", bound=OutputRun)


class Run:
    """The run of an asset.

    Args:
        context: of Dagster, with the resources that are asked for.
        variant: of the finetuned model, which wins over the setting.

    Attributes:
        context: as given.
        log: of the run.
        home: the folders.
        settings: those of the home, with the changes for this run.
        force: whether outputs are made though they are up to date.

    Raises:
        SettingsError: the settings are not valid.
    """

    def __init__(self, context: dg.AssetExecutionContext, *, variant: str | None = None):
        resource: SettingsResource = context.resources.settings
        self.context, self.log = context, context.log
        self.home, self.force = resource.home(), resource.force
        self.settings = resource.load(variant=variant)
        self._warehouse: Warehouse | None = None

    @property
    def warehouse(self) -> Warehouse:
        """The rows; opened when they are first asked for."""
        if self._warehouse is None:
            resource: WarehouseResource = self.context.resources.warehouse
            self._warehouse = resource.open()
        return self._warehouse

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
        """Of the models of this process."""
        resource: LanguageModelResource = self.context.resources.language_model
        return resource.holder()
