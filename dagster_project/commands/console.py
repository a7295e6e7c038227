"""Output of the command line: tables, progress bars, errors."""

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import typer
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

from toolformer.base.untrusted_text import plain
from toolformer.home.progress import LogReporter, ProgressCallback, show_progress_with

if TYPE_CHECKING:
    import polars as pl

# Output that goes to a file or another program is not cut to the width of a terminal.
_WIDTH_OF_FILES = 200
_OUT = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_FILES)
_ERR = Console(stderr=True, highlight=False)
_is_quiet = False


def _escaped(text: str) -> str:
    return escape(plain(text))


def say(text: str = "") -> None:
    """Print a line as it is."""
    _OUT.print(_escaped(text), soft_wrap=True)


def heading(text: str) -> None:
    """Print a heading."""
    _OUT.print(f"\n[bold]{_escaped(text)}[/bold]")


def show(*shown: RenderableType) -> None:
    """Print tables and texts that have colours of their own."""
    _OUT.print(*shown, sep="\n")


def document(fields: Any) -> None:
    """Print an object or a list of them as JSON; numbers that JSON does not have are null."""
    # Many rows are for programs alone; one object is also read by people.
    indent = 2 if isinstance(fields, Mapping) else None
    text = json.dumps(_finite(fields), default=_plain, ensure_ascii=False, indent=indent)
    _OUT.file.write(f"{text}\n")


def note(text: str) -> None:
    """Print a remark to the error output."""
    _ERR.print(_escaped(text), soft_wrap=True)


def error(text: str) -> None:
    """Print an error to the error output."""
    _ERR.print(f"[bold red]Error:[/bold red] {_escaped(text)}", soft_wrap=True)


def be_quiet(context: typer.Context, is_asked: bool) -> None:
    """Show no progress in this command."""
    global _is_quiet
    _is_quiet = is_asked or (context.parent is not None and _is_quiet)


def is_quiet() -> bool:
    """Return whether progress is hidden."""
    return _is_quiet


def frame(rows: "pl.DataFrame", *, as_json: bool = False) -> None:
    """Print a frame as a table."""
    table(rows.columns, rows.iter_rows(), "json" if as_json else "table")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], output: str = "table") -> None:
    """Print rows as a table, as JSON (one array) or as CSV.

    Written without wrapping where the output is not a terminal, so that it can be read on.
    """
    if output == "json":
        document([dict(zip(columns, row, strict=True)) for row in rows])
    elif output == "csv":
        import csv

        writer = csv.writer(_OUT.file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    else:
        shown = Table()
        for name in columns:
            shown.add_column(_escaped(name), overflow="fold")
        for row in rows:
            shown.add_row(*(_escaped(_cell(value)) for value in row))
        _OUT.print(shown)


def _plain(value: Any) -> float | str:
    # DuckDB takes 1.5 in a query for a decimal.
    return float(value) if isinstance(value, Decimal) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(element) for name, element in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(element) for element in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@contextmanager
def progress_bars() -> Iterator[None]:
    """Show the progress of what happens inside the block: a bar for each stage.

    Without a screen it is a line for each stage, and one every 30 seconds while it takes longer.
    """
    if _is_quiet:
        yield
        return
    if not _ERR.is_terminal:
        lines = LogReporter(
            lambda line: _ERR.print(_escaped(line), soft_wrap=True), names_stages=True, seconds=30
        )
        with show_progress_with(lines):
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
    tasks: dict[str, TaskID] = {}

    def start(stage: str, detail: str) -> ProgressCallback:
        if stage not in tasks:
            tasks[stage] = progress.add_task(_escaped(stage), total=None, detail="")
        progress.update(tasks[stage], completed=0, total=None, detail=_escaped(detail))
        return lambda done, total: progress.update(tasks[stage], completed=done, total=total)

    with Progress(*columns, console=_ERR) as progress, show_progress_with(start):
        yield
