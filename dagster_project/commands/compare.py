"""`toolformer compare`: the calls that two homes or rounds keep, and why they differ."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import polars as pl
import typer

from dagster_project.commands import console
from dagster_project.commands.options import AsJson
from toolformer.home.reading import Home
from warehouse.comparison import Comparison

# Printed rows per table. JSON has all rows.
_ROWS = 30
_REASONS = {
    "threshold": "same losses, but another threshold or baseline",
    "losses": "different losses",
    "result": "the tool returned another result, or failed",
    "candidate": "not sampled, or dropped before the tool was called",
    "text": "the text is missing, or has no calls of the tool",
}

app = typer.Typer()


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="Folder of the first home.", metavar="HOME_A")],
    second: Annotated[
        str, typer.Argument(help="Folder of the second home; may be the first.", metavar="HOME_B")
    ],
    rounds: Annotated[
        tuple[int, int], typer.Option(min=1, help="Round to compare in each home.", metavar="A B")
    ] = (1, 1),
    as_json: AsJson = False,
) -> None:
    """Compare the kept calls of two homes, and show why they differ."""
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
            console.say(f"{frame.height - _ROWS:,} more rows: --json prints all.")
    console.heading("Calls that only one home keeps, in their texts")
    for row in found.examples.iter_rows(named=True):
        call = f"⟦{row['tool']}({row['arguments']}) -> {row['result']}⟧"
        context = " ".join(f"{row['text_before']}{call}{row['text_after']}".split())
        console.say(f"… {context} …\n  {row['call_id']}: {_reason_of(row, found)}")


def _kept_calls(found: Comparison, by: str) -> pl.DataFrame:
    """Count kept calls by tool or shard and home; each reason of the other home has a column."""
    calls = pl.col("calls")
    reasons = {why: calls.filter(pl.col("why") == why).sum() for why in _REASONS}
    counted = found.counts.group_by(by, "kept_by").agg(calls.sum(), **reasons)
    # The rows with the most differences come first.
    num_differences = pl.sum_horizontal(*_REASONS).sum().over(by)
    return counted.sort(-num_differences, by, "kept_by")


def _notes_of(found: Comparison) -> Iterator[str]:
    if not found.is_same_model:
        yield (
            "Different models annotated the two homes, so their losses are not comparable. Calls "
            "sampled in both are counted as `different losses`."
        )
    if found.unfinished:
        shard, tool = found.unfinished[0]
        yield (
            f"{len(found.unfinished):,} partitions, such as {tool} of {shard}, are left out: their "
            "inputs are missing, or a build is remaking them."
        )
    yield (
        f"Partitions that both homes made from the same inputs, and whose rows were not read: "
        f"{found.equal:,}. Other partitions, whose rows were compared: {found.read:,}."
    )


def _reason_of(example: Mapping[str, Any], found: Comparison) -> str:
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
