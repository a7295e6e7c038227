"""What the command line prints: tables, progress bars, errors. The only place that does."""

import json
import logging
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
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


def show_log(name: str) -> None:
    """Write what a logger says to standard error, from `INFO` on."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger(name)
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)


def findings(found: list[Finding], *, as_json: bool) -> None:
    """Print what `doctor` found."""
    if as_json:
        _OUT.print_json(data=[asdict(each) for each in found])
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


def frame(rows: "pl.DataFrame") -> None:
    """Print a frame as a table."""
    table(rows.columns, rows.iter_rows())


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], output: str = "table") -> None:
    """Print rows as a table, as JSON (one array) or as CSV.

    Written without wrapping where the output is not a terminal, so that it can be read on.
    """
    if output == "json":
        objects = [dict(zip(columns, row, strict=True)) for row in rows]
        _OUT.file.write(json.dumps(_finite(objects), default=_plain, ensure_ascii=False))
        _OUT.file.write("\n")
    elif output == "csv":
        import csv

        writer = csv.writer(_OUT.file)
        writer.writerow(columns)
        writer.writerows(rows)
    else:
        shown = Table()
        for name in columns:
            shown.add_column(escape(name), overflow="fold")
        for row in rows:
            shown.add_row(*(escape(_cell(value)) for value in row))
        _OUT.print(shown)


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
    """A progress bar for each stage, with what it works on and the time left for that."""

    def __init__(self, progress: Progress):
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def start(self, stage: str, detail: str) -> ProgressCallback:
        """Show a piece of work by the bar of its stage."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(escape(stage), total=None, detail="")
        task = self._tasks[stage]
        self._progress.update(task, completed=0, total=None, detail=escape(detail))

        def report(done: int, total: int | None) -> None:
            self._progress.update(task, completed=done, total=total)

        return report


@contextmanager
def progress_bars() -> Iterator[None]:
    """Show the progress of what happens inside the block: a bar for each stage.

    Without a screen it is a line for each stage, and one every two minutes while it takes longer.
    """
    if not _ERR.is_terminal:
        lines = LogReporter(
            lambda line: _ERR.print(escape(line), soft_wrap=True), each_piece=False, seconds=120
        )
        with shown_by(lines):
            yield
        return
    columns = (
        TextColumn("{task.description}"),
        TextColumn("[dim]{task.fields[detail]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_ERR) as progress, shown_by(_Bars(progress)):
        yield
