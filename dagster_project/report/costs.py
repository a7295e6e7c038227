"""What the calls of each tool cost, in tokens and seconds, and in money where there is a price."""

import polars as pl

from dagster_project.settings.sections import Settings
from warehouse.warehouse import Warehouse

_MONEY = ("money", "money_per_candidate", "money_per_kept")


def cost_of_tools(store: Warehouse, settings: Settings) -> pl.DataFrame:
    """One row per round and tool; with columns of money where `costs.price_per_hour` is set.

    Raises: see `Warehouse.query`.
    """
    price = settings.costs.price_per_hour
    rows = store.ask("cost_of_tools", price_per_hour=price)
    return rows.drop(_MONEY) if price is None else rows
