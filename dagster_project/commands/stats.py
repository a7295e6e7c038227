"""`toolformer stats`: print what the views say of the calls."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from dagster_project.commands import console
from toolformer.home.home import Home
from toolformer.home.report.records import reading_losses, records_read
from toolformer.home.report.verdicts import Verdict, verdicts_of
from toolformer.home.wiring.workspace import open_for_reading
from toolformer.sources.manifest import ShardEntry
from toolformer.sources.reasons import Tally
from warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import polars as pl

_EXAMPLES_PER_TOOL = 3

app = typer.Typer()


@app.command()
def stats() -> None:
    """Show how many calls were kept and why, at which thresholds, with examples."""
    home = Home.find()
    with open_for_reading(home).with_counts() as warehouse:
        show_statistics(warehouse, records_read(warehouse))


def show_statistics(
    warehouse: Warehouse, tally: Tally, *, examples: bool = True, is_of_all: bool = True
) -> None:
    """Print the statistics views; the round of annotation only where there are several."""
    if not is_of_all:
        console.say("Of the named shards alone; `toolformer stats` counts all:")
    if tally.rejected:
        console.say(f"{tally} (the table rejected_records names them)")
    console.heading("Calls by tool")
    console.frame(_readable(warehouse.view("call_statistics")))
    console.heading("Kept calls by threshold")
    console.frame(_readable(warehouse.view("threshold_sweep")))
    console.heading("Kept calls against chance")
    verdicts = verdicts_of(warehouse)
    say_verdicts(verdicts)
    if not examples:
        return
    console.heading("Dropped")
    console.frame(_readable(warehouse.view("drop_reasons")))
    show_examples(warehouse, verdicts)


def show_losses(warehouse: Warehouse, entries: Sequence[ShardEntry]) -> None:
    """Print what was lost of the records of some shards or was left in, a table for each source."""
    by_source = dict[str, list[ShardEntry]]()
    for entry in entries:
        by_source.setdefault(entry.source, []).append(entry)
    for source, of_source in by_source.items():
        if losses := reading_losses(warehouse, of_source):
            title = f"lost or left in: {source}" if len(by_source) > 1 else "lost or left in"
            console.table([title, "count"], [(words, f"{count:,}") for words, count in losses])


def say_verdicts(verdicts: Iterable[Verdict]) -> None:
    """Print for each tool whether its calls are kept more often than by chance."""
    for verdict in verdicts:
        console.say(f"{verdict.of}: {verdict.against_chance.sentence}")


def _readable(rows: "pl.DataFrame") -> "pl.DataFrame":
    return rows if rows["round"].n_unique() > 1 else rows.drop("round")


def show_examples(warehouse: Warehouse, verdicts: Sequence[Verdict]) -> None:
    """Print the calls that help most of tools above chance, and of which tools there are none."""
    console.heading("Kept calls above chance, in their text")
    console.say(
        "First by how many nats the result lowers the loss of what follows, and in brackets by "
        "how many more than the result of another call, where the tool has a contrast threshold."
    )
    above = [(row.round, row.tool) for row in verdicts if row.against_chance.is_above_chance]
    rows = warehouse.best_examples(above, per_tool=_EXAMPLES_PER_TOOL)
    for verdict in verdicts:
        examples = rows.filter(tool=verdict.tool, round=verdict.round)
        if examples.is_empty():
            console.say(f"{verdict.of}: none is shown; {verdict.against_chance.sentence}")
        for row in examples.iter_rows(named=True):
            context = " ".join(f"{row['text_before']}⟦{row['call']}⟧{row['text_after']}".split())
            contrast = "" if row["contrast"] is None else f" ({row['contrast']:.2f})"
            console.say(f"{verdict.of}  {row['loss_reduction']:.2f}{contrast}  … {context} …")
