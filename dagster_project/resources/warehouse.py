"""The warehouse of the home."""

import dagster as dg

from dagster_project.home import Home
from warehouse.warehouse import Warehouse


class WarehouseResource(dg.ConfigurableResource):
    """Parquet slices with DuckDB views over them, in `$TOOLFORMER_HOME/warehouse`."""

    def open(self) -> Warehouse:
        """The warehouse, ready for readers."""
        home = Home.find()
        home.remove_abandoned_files()
        warehouse = Warehouse(home.warehouse, home.database)
        warehouse.prepare()
        return warehouse
