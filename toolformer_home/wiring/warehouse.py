"""Opens the warehouse of a home."""

from toolformer_home.home import Home
from warehouse.warehouse import Warehouse


def open_warehouse(home: Home) -> Warehouse:
    """The warehouse, ready for readers; what killed processes left half written is gone.

    Raises:
        LockError: machines that share the home would not exclude each other.
        LayoutError: its rows were written with another layout.
    """
    home.check_locks()
    home.remove_abandoned_files()
    warehouse = Warehouse(home.warehouse, home.database, home.partition_store())
    warehouse.prepare()
    return warehouse
