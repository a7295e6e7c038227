"""What the command line prints: tables, progress bars, errors. The only place that does.

Does not compute.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from dagster_project.commands.findings import Finding
from dagster_project.progress import LogReporter, ProgressCallback, shown_by

if TYPE_CHECKING:
    import polars as pl

# Output that goes to a file or another program is not cut to the width of a terminal.
_WIDTH_OF_FILES = 200
_OUT = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_FILES)
_ERR = Console(stderr=True, highlight=False)
_FINDING_COLOURS = {"ok": "green", "warning": "yellow", "missing": "red"}


def say(text: str = "") -> None:
    """Print a line as it is."""
    _OUT.print(escape(text), soft_wrap=True)


def heading(text: str) -> None:
    """Print a heading."""
    _OUT.print(f"\n[bold]{escape(text)}[/bold]")


def show(*shown: RenderableType) -> None:
    """Print tables and texts that have colours of their own."""
    _OUT.print(*shown, sep="\n")


def document(fields: Mapping[str, Any]) -> None:
    """Print fields as one JSON object; numbers that JSON does not have are null."""
    text = json.dumps(_finite(fields), default=_plain, ensure_ascii=False, indent=2)
    _OUT.file.write(f"{text}\n")


def error(text: str) -> None:
    """Print an error to the error output."""
    _ERR.print(f"[bold red]Error:[/bold red] {escape(text)}", soft_wrap=True)


def findings(found: list[Finding], *, as_json: bool) -> None:
    """Print what `doctor` found."""
    if as_json:
        _OUT.print_json(
            json.dumps(
                [
                    {
                        "name": each.name,
                        "status": each.status,
                        "detail": each.detail,
                        "remedy": each.remedy,
                        "files": each.files,
                    }
                    for each in found
                ]
            )
        )
        return
    table = Table("what", "state", "detail", "remedy", show_lines=False)
    for each in found:
        colour = _FINDING_COLOURS[each.status]
        table.add_row(
            escape(each.name),
            f"[{colour}]{each.status}[/{colour}]",
            escape(each.detail),
            escape(each.remedy or ""),
        )
    _OUT.print(table)


def frame(rows: "pl.DataFrame", output: str = "table") -> None:
    """Print rows as a table, as JSON (one array) or as CSV.

    Written without wrapping where the output is not a terminal, so that it can be read on.
    """
    if output == "json":
        _OUT.file.write(json.dumps(_finite(rows.to_dicts()), default=_plain, ensure_ascii=False))
        _OUT.file.write("\n")
    elif output == "csv":
        import csv

        writer = csv.writer(_OUT.file)
        writer.writerow(rows.columns)
        writer.writerows(rows.iter_rows())
    else:
        table = Table()
        for name in rows.columns:
            table.add_column(escape(name), overflow="fold")
        for row in rows.iter_rows():
            table.add_row(*(escape(_cell(value)) for value in row))
        _OUT.print(table)


def _plain(value: Any) -> float | str:
    # DuckDB takes 1.5 in a query for a decimal.
    return float(value) if isinstance(value, Decimal) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class _Bars:
    """Progress bars with the time left."""

    def __init__(self, progress: Progress):
        self._progress = progress

    def start(self, description: str) -> ProgressCallback:
        """Begin a bar; it is done when all steps are."""
        task = self._progress.add_task(escape(description), total=None)

        def report(done: int, total: int | None) -> None:
            self._progress.update(task, completed=done, total=total)

        return report


@contextmanager
def progress_bars() -> Iterator[None]:
    """Show the progress of what happens inside the block: bars, or lines without a screen."""
    if not _ERR.is_terminal:
        with shown_by(LogReporter(lambda line: _ERR.print(escape(line), soft_wrap=True))):
            yield
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_ERR) as progress, shown_by(_Bars(progress)):
        yield
