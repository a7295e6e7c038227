"""`toolformer export delta`: Delta Lake logs over the rows as they are."""

from dagster_project.commands import console
from toolformer.errors import ExportError
from toolformer_home.home import Home
from toolformer_home.wiring.warehouse import open_warehouse


def refresh_delta_logs(home: Home) -> None:
    """Bring the Delta Lake logs of all tables up to date, and say what was committed.

    Raises:
        ExportError: no table has rows yet.
        WarehouseError: a log cannot be read or written.
    """
    commits = open_warehouse(home).refresh_delta_logs()
    if commits is None:
        raise ExportError(
            f"The home '{home.root}' has no rows yet. Expected those of a build. Run `toolformer "
            "build` first, or set TOOLFORMER_HOME to a home that was built."
        )
    changed = [commit for commit in commits.values() if commit is not None]
    added, removed = map(sum, zip(*changed, strict=True)) if changed else (0, 0)
    console.say(
        f"Delta Lake logs of {len(commits)} tables, {len(changed)} of them changed: {added:,} "
        f"files added and {removed:,} removed, in {home.warehouse}/TABLE/_delta_log."
    )
