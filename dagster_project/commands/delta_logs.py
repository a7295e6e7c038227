"""`toolformer export delta`: Delta Lake logs over the rows as they are.

Does not parse the command line, and does not know what stands in a log: `warehouse.delta_log` does.
"""

from dagster_project.commands import console
from dagster_project.home import Home
from dagster_project.wiring.warehouse import open_warehouse
from toolformer.errors import ExportError
from warehouse.schema import tables


def refresh_delta_logs(home: Home) -> None:
    """Bring the Delta Lake logs of all tables up to date, and say what was committed.

    Raises:
        ExportError: no table has rows yet.
        WarehouseError: a log cannot be read or written, or a slice is damaged.
    """
    warehouse = open_warehouse(home)
    if not any(warehouse.slices(table) for table in tables()):
        raise ExportError(
            f"The home '{home.root}' has no rows yet. Expected those of a build. Run `toolformer "
            "build` first, or set TOOLFORMER_HOME to a home that was built."
        )
    commits = warehouse.refresh_delta_logs()
    added, removed = sum(each.added for each in commits), sum(each.removed for each in commits)
    console.say(
        f"Delta Lake logs of {len(tables())} tables, {len(commits)} of them changed: {added:,} "
        f"files added and {removed:,} removed, in {home.warehouse}/TABLE/_delta_log."
    )
