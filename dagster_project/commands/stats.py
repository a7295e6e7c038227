"""`toolformer stats`: print statistics and examples of the calls."""

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
    """Show how many calls are kept, why others are dropped, and examples."""
    home = Home.find()
    with open_for_reading(home).with_counts() as warehouse:
        show_statistics(warehouse, records_read(warehouse))


def show_statistics(
    warehouse: Warehouse, tally: Tally, *, examples: bool = True, is_of_all: bool = True
) -> None:
    if not is_of_all:
        console.say("Counts of the named shards only. `toolformer stats` counts all shards.")
    if tally.rejected:
        console.say(f"{tally} (the table rejected_records lists them)")
    console.heading("Calls by tool")
    console.frame(_readable(warehouse.view("call_statistics")))
    console.heading("Kept calls by threshold")
    console.frame(_readable(warehouse.view("threshold_sweep")))
    console.heading("Kept calls against chance")
    verdicts = verdicts_of(warehouse)
    say_verdicts(verdicts)
    if not examples:
        return
    console.heading("Dropped calls")
    console.frame(_readable(warehouse.view("drop_reasons")))
    show_examples(warehouse, verdicts)


def show_losses(warehouse: Warehouse, entries: Sequence[ShardEntry]) -> None:
    """Print a table per source of what was lost from its texts, or wrongly left in them."""
    by_source = dict[str, list[ShardEntry]]()
    for entry in entries:
        by_source.setdefault(entry.source, []).append(entry)
    for source, of_source in by_source.items():
        if losses := reading_losses(warehouse, of_source):
            title = f"possible problems: {source}" if len(by_source) > 1 else "possible problems"
            console.table([title, "count"], [(words, f"{count:,}") for words, count in losses])


def say_verdicts(verdicts: Iterable[Verdict]) -> None:
    for verdict in verdicts:
        console.say(f"{verdict.of}: {verdict.against_chance.sentence}")


def _readable(rows: "pl.DataFrame") -> "pl.DataFrame":
    return rows if rows["round"].n_unique() > 1 else rows.drop("round")


def show_examples(warehouse: Warehouse, verdicts: Sequence[Verdict]) -> None:
    """Print the most helpful kept calls of each tool whose calls are kept more than by chance."""
    console.heading("Kept calls of tools above chance, in their text")
    console.say(
        "The number is how many nats the result lowers the loss of the text after it. In brackets: "
        "how many nats more than another call's result, if the tool has a contrast threshold."
    )
    above = [(row.round, row.tool) for row in verdicts if row.against_chance.is_above_chance]
    rows = warehouse.best_examples(above, per_tool=_EXAMPLES_PER_TOOL)
    for verdict in verdicts:
        examples = rows.filter(tool=verdict.tool, round=verdict.round)
        if examples.is_empty():
            console.say(f"{verdict.of}: no example; {verdict.against_chance.sentence}")
        for row in examples.iter_rows(named=True):
            context = " ".join(f"{row['text_before']}⟦{row['call']}⟧{row['text_after']}".split())
            contrast = "" if row["contrast"] is None else f" ({row['contrast']:.2f})"
            console.say(f"{verdict.of}  {row['loss_reduction']:.2f}{contrast}  … {context} …")
