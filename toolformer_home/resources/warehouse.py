"""The warehouse of the home."""

import dagster as dg

from toolformer_home.home import Home
from toolformer_home.wiring.warehouse import open_warehouse
from warehouse.warehouse import Warehouse


class WarehouseResource(dg.ConfigurableResource):
    """Parquet partitions with DuckDB views over them, in `$TOOLFORMER_HOME/warehouse`."""

    def open(self) -> Warehouse:
        """The warehouse, ready for readers."""
        return open_warehouse(Home.find())
