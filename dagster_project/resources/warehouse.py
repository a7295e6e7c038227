"""The warehouse of the home."""

import dagster as dg

from dagster_project.home import Home
from dagster_project.wiring.warehouse import open_warehouse
from warehouse.warehouse import Warehouse


class WarehouseResource(dg.ConfigurableResource):
    """Parquet partitions with DuckDB views over them, in `$TOOLFORMER_HOME/warehouse`."""

    def open(self) -> Warehouse:
        """The warehouse, ready for readers."""
        return open_warehouse(Home.find())
