"""Opens the warehouse of a home."""

import os

from toolformer.home.home import Home
from toolformer.home.lost_shards import log_lost_shards
from warehouse.warehouse import Warehouse


def open_warehouse(home: Home) -> Warehouse:
    """The warehouse, ready for readers; what killed processes left half written is gone.

    In a home that may not be written it is as it lies there.

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


def open_to_read(home: Home) -> Warehouse:
    """Open the warehouse for a command that shows its rows.

    Damaged and lost shards are logged and left out.
    """
    log_lost_shards(home)
    return open_warehouse(home).skipping_damage()
