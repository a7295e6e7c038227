"""Prints the output of the command line: tables, progress bars and errors."""

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

# Width of output to a file or another program, which has no terminal width.
_FILE_WIDTH = 200
_OUT = Console(highlight=False, width=None if sys.stdout.isatty() else _FILE_WIDTH)
_ERR = Console(stderr=True, highlight=False)
_is_quiet = False


def _escaped(text: str) -> str:
    return escape(plain(text))


def say(text: str = "") -> None:
    """Print text without markup or wrapping."""
    _OUT.print(_escaped(text), soft_wrap=True)


def heading(text: str) -> None:
    _OUT.print(f"\n[bold]{_escaped(text)}[/bold]")


def show(*shown: RenderableType) -> None:
    """Print tables and texts that have their own colours."""
    _OUT.print(*shown, sep="\n")


def document(fields: Any) -> None:
    """Print an object or a list of objects as JSON, with null for NaN and infinity."""
    # People also read a single object, but only programs read a list of rows.
    indent = 2 if isinstance(fields, Mapping) else None
    text = json.dumps(_finite(fields), default=_plain, ensure_ascii=False, indent=indent)
    _OUT.file.write(f"{text}\n")


def note(text: str) -> None:
    """Print a remark to standard error."""
    _ERR.print(_escaped(text), soft_wrap=True)


def error(text: str) -> None:
    """Print an error to standard error."""
    _ERR.print(f"[bold red]Error:[/bold red] {_escaped(text)}", soft_wrap=True)


def be_quiet(context: typer.Context, is_asked: bool) -> None:
    global _is_quiet
    _is_quiet = is_asked or (context.parent is not None and _is_quiet)


def is_quiet() -> bool:
    return _is_quiet


def frame(rows: "pl.DataFrame", *, as_json: bool = False) -> None:
    table(rows.columns, rows.iter_rows(), "json" if as_json else "table")


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], output: str = "table") -> None:
    """Print rows as a `table`, as `csv`, or as `json` (one array)."""
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
    # DuckDB returns a literal such as 1.5 as a decimal.
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
    """Show a progress bar per stage inside the block; without a terminal, a line every 30 s."""
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
