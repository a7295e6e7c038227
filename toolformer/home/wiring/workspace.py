"""What a command or a run works with: settings, home, rows and models."""

import os
from functools import cached_property

from toolformer.home.home import Home
from toolformer.home.lost_shards import log_lost_shards
from toolformer.home.wiring.model_holder import PROCESS_HOLDER, ModelHolder
from toolformer.settings.sections import Settings
from warehouse.warehouse import Warehouse


class Workspace:
    """What a command or a run works with.

    Attributes:
        settings: those of the home, with the changes for this command or run.
        holder: holder of its models, and of those of its tools, since a device has one holder.
    """

    def __init__(self, settings: Settings, home: Home, holder: ModelHolder | None = None):
        self.settings, self.home, self.holder = settings, home, holder or PROCESS_HOLDER

    @cached_property
    def warehouse(self) -> Warehouse:
        """The rows; opened when they are first asked for."""
        return open_warehouse(self.home)

    def hold_device(self) -> str:
        """Wait for a device and keep it; returns its name."""
        return self.holder.hold_device(self.settings.language_model.device, self.home)


def open_warehouse(home: Home) -> Warehouse:
    """Open the warehouse, and remove what killed processes left if the home is writable.

    Raises:
        LockError: machines that share the home would not exclude each other.
        LayoutError: its rows were written with another layout.
    """
    warehouse = Warehouse(home.warehouse, home.database, home.output_lock)
    if os.access(home.root, os.W_OK) or not home.warehouse.exists():
        home.check_locks()
        home.remove_abandoned_files()
        warehouse.prepare()
    return warehouse


def open_for_reading(home: Home) -> Warehouse:
    """Open the warehouse to show its rows; damaged and lost shards are logged and left out."""
    log_lost_shards(home)
    return open_warehouse(home).skipping_damage()
