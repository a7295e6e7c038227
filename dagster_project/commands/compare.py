"""`toolformer compare`: what two homes keep, or two rounds of one, and why not the same."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import polars as pl
import typer

from dagster_project.commands import console
from dagster_project.commands.options import AsJson
from toolformer.home.reading import Home
from warehouse.comparison import Comparison

# Rows of a table that are printed; JSON has all.
_ROWS = 30
_REASONS = {
    "threshold": "same losses, another threshold or baseline",
    "losses": "other losses",
    "result": "its tool gave another result, or failed",
    "candidate": "not sampled, or dropped before its tool was asked",
    "text": "no such text, or no calls of the tool in it",
}

app = typer.Typer()


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="Folder of a home.", metavar="HOME_A")],
    second: Annotated[str, typer.Argument(help="Another, or the same.", metavar="HOME_B")],
    rounds: Annotated[
        tuple[int, int], typer.Option(min=1, help="Round of annotation of each.", metavar="A B")
    ] = (1, 1),
    as_json: AsJson = False,
) -> None:
    """Show which calls two homes keep, and why only one keeps the others."""
    found = Home(first).warehouse.compare(Home(second).warehouse, rounds)
    homes = {"first": f"{first}, round {rounds[0]}", "second": f"{second}, round {rounds[1]}"}
    notes, tables = list(_notes_of(found)), {by: _kept_calls(found, by) for by in ("tool", "shard")}
    if as_json:
        rows = {f"by_{by}": frame.to_dicts() for by, frame in tables.items()}
        examples = found.examples.to_dicts()
        console.document({**homes, "notes": notes, **rows, "examples": examples})
        return
    console.say("\n".join([*(f"{name}: {home}" for name, home in homes.items()), *notes]))
    for by, frame in tables.items():
        console.heading(f"Kept calls by {by}, and why only one home keeps them")
        console.frame(frame.head(_ROWS).rename({"kept_by": "kept by"}))
        if frame.height > _ROWS:
            console.say(f"{frame.height - _ROWS:,} further rows: --json has them.")
    console.heading("Calls that only one keeps, in their texts")
    for row in found.examples.iter_rows(named=True):
        call = f"⟦{row['tool']}({row['arguments']}) -> {row['result']}⟧"
        context = " ".join(f"{row['text_before']}{call}{row['text_after']}".split())
        console.say(f"… {context} …\n  {row['call_id']}: {_reason_of(row, found)}")


def _kept_calls(found: Comparison, by: str) -> pl.DataFrame:
    """Count the kept calls by tool or shard, by home, and by why the other home drops them."""
    calls = pl.col("calls")
    reasons = {why: calls.filter(pl.col("why") == why).sum() for why in _REASONS}
    counted = found.counts.group_by(by, "kept_by").agg(calls.sum(), **reasons)
    # Those first that differ most.
    alone = pl.sum_horizontal(*_REASONS).sum().over(by)
    return counted.sort(-alone, by, "kept_by")


def _notes_of(found: Comparison) -> Iterator[str]:
    """Yield the remarks without which the numbers mislead, one sentence each."""
    if not found.is_same_model:
        yield (
            "The two were annotated by different models: their losses are not comparable, and a "
            "call that both sampled is put down to other losses."
        )
    if found.unfinished:
        shard, tool = found.unfinished[0]
        yield (
            "Left out, since what they were made of is missing or made anew by a build: "
            f"{len(found.unfinished):,} partitions, such as {tool} of {shard}."
        )
    yield (
        f"Partitions that both made of the same, counted by their catalogues: {found.equal:,}; "
        f"others, whose rows were read: {found.read:,}."
    )


def _reason_of(example: Mapping[str, Any], found: Comparison) -> str:
    """Who keeps a call, and why the other home does not, in a line."""

    def gain(of: str = "") -> str:
        reduction, threshold = example[f"{of}loss_reduction"], example[f"{of}filtering_threshold"]
        return "" if reduction is None else f"{reduction:.2f} nats, threshold {threshold:g}"

    why, facts = _REASONS[example["why"]], [example["other_reason"], gain("other_")]
    if example["why"] == "losses" and not found.is_same_model:
        why += " (another model)"
    if example["why"] == "result":
        facts.append(example["other_result"])
    other = f"{why} ({'; '.join(filter(None, facts))})"
    return f"only the {example['kept_by']} keeps it ({gain()}); the other: {other}"
