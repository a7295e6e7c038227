"""The workspace of a command or run: settings, home, warehouse and models."""

import os
from functools import cached_property

from toolformer.home.home import Home
from toolformer.home.lost_shards import log_lost_shards
from toolformer.home.wiring.model_holder import PROCESS_HOLDER, ModelHolder
from toolformer.settings.sections import Settings
from warehouse.warehouse import Warehouse


class Workspace:
    """Settings (with overrides), home, warehouse and models of a command or run.

    Tools load their models through the same holder, since only one can hold a device.
    """

    def __init__(self, settings: Settings, home: Home, holder: ModelHolder | None = None):
        self.settings, self.home, self.holder = settings, home, holder or PROCESS_HOLDER

    @cached_property
    def warehouse(self) -> Warehouse:
        return open_warehouse(self.home)

    def hold_device(self) -> str:
        """Wait for a device, hold its lock, and return its name."""
        return self.holder.hold_device(self.settings.language_model.device, self.home)


def open_warehouse(home: Home) -> Warehouse:
    """Open the warehouse; if the home is writable, remove leftovers of killed processes.

    Raises LockError if the home is shared and its locks do not exclude other machines.
    """
    warehouse = Warehouse(home.warehouse, home.database, home.output_lock)
    if os.access(home.root, os.W_OK) or not home.warehouse.exists():
        home.check_locks()
        home.remove_abandoned_files()
        warehouse.prepare()
    return warehouse


def open_for_reading(home: Home) -> Warehouse:
    """Open the warehouse for queries that skip, and log, damaged and lost shards."""
    log_lost_shards(home)
    return open_warehouse(home).skipping_damage()
