"""What two homes keep, as `toolformer compare` shows it and as a page in the look of the report."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from toolformer.home.report.page import rendered
from warehouse.comparison import Comparison

_REASONS = {
    "threshold": "same losses, another threshold or baseline",
    "losses": "other losses",
    "result": "its tool gave another result, or failed",
    "candidate": "not sampled, or dropped before its tool was asked",
    "text": "no such text, or no calls of the tool in it",
}


def kept_calls(found: Comparison, by: str) -> pl.DataFrame:
    """How many calls of each tool or shard are kept, by which home, and why not by the other."""
    calls = pl.col("calls")
    reasons = {why: calls.filter(pl.col("why") == why).sum() for why in _REASONS}
    counted = found.counts.group_by(by, "kept_by").agg(calls.sum(), **reasons)
    # Those first that differ most.
    alone = pl.sum_horizontal(*_REASONS).sum().over(by)
    return counted.sort(-alone, by, "kept_by")


def notes_of(found: Comparison) -> Iterator[str]:
    """What a reader has to know of the numbers, a sentence each."""
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
        f"Partitions that both made of the same, counted by their footers: {found.equal:,}; "
        f"others, whose rows were read: {found.read:,}."
    )


def reason_of(example: Mapping[str, Any], found: Comparison) -> str:
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


def page_of_comparison(found: Comparison, homes: Mapping[str, str]) -> str:
    """The page, with everything that it needs inside; the homes are named as they are given."""
    from toolformer.home.report.contents import table_of

    return rendered(
        "comparison.html.jinja",
        homes=homes,
        notes=notes_of(found),
        tables={by: table_of(kept_calls(found, by)) for by in ("tool", "shard")},
        examples=[(row, reason_of(row, found)) for row in found.examples.iter_rows(named=True)],
    )
