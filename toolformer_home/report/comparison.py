"""What two homes keep, as `toolformer compare` shows it and as a page in the look of the report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from toolformer_home.reading import Home
from toolformer_home.report.page import rendered
from warehouse.comparison import Comparison

# Why one home keeps a call and the other does not.
REASONS = {
    "threshold": "same losses, another threshold or baseline",
    "losses": "other losses",
    "result": "its tool gave another result, or failed",
    "candidate": "not sampled, or dropped before its tool was asked",
    "text": "no such text, or no calls of the tool in it",
}
_HOMES = ("first", "second")
# Shards that are looked at for the model's name.
_FEW = 3


@dataclass(frozen=True, slots=True)
class ComparedHomes:
    """A comparison, and what it is of.

    Attributes:
        found: what was found.
        sides: of each home facts by name.
        notes: what a reader has to know of the figures, a sentence each.
    """

    found: Comparison
    sides: Sequence[Mapping[str, str]]
    notes: Sequence[str]

    def calls(self, by: str) -> pl.DataFrame:
        """How many calls are kept of each tool or shard.

        Those first of which most are kept by one home alone.
        """

        def kept_by(*homes: str) -> pl.Expr:
            return pl.col("calls").filter(pl.col("kept_by").is_in(homes)).sum()

        counted = self.found.counts.group_by(by).agg(
            first=kept_by("both", "first"),
            second=kept_by("both", "second"),
            both=kept_by("both"),
            only_first=kept_by("first"),
            only_second=kept_by("second"),
        )
        return counted.sort(-pl.col("only_first") - pl.col("only_second"), by)

    def reasons(self) -> pl.DataFrame:
        """Why only one home keeps calls, for each tool and home."""
        of_reason = {why: pl.col("calls").filter(pl.col("why") == why).sum() for why in REASONS}
        alone = self.found.counts.filter(pl.col("why").is_not_null())
        return alone.group_by("tool", "kept_by").agg(**of_reason).sort("tool", "kept_by")

    def reason_of(self, example: Mapping[str, Any]) -> str:
        """Who keeps a call, and why the other home does not, in a line."""
        keeper, other = _HOMES if example["home"] == 1 else _HOMES[::-1]
        why = REASONS[example["why"]]
        if example["why"] == "losses" and not self.found.is_same_model:
            why += " (another model)"
        facts = [example["reason"]]
        if example["other_loss_reduction"] is not None:
            facts.append(
                _gain(example["other_loss_reduction"], example["other_filtering_threshold"])
            )
        if example["why"] == "result":
            facts.append(example["other_result"])
        behind = "; ".join(filter(None, facts))
        gain = _gain(example["loss_reduction"], example["filtering_threshold"])
        return f"only the {keeper} keeps it ({gain}); the {other}: {why}" + (
            f" ({behind})" if behind else ""
        )


def _gain(loss_reduction: float, threshold: float) -> str:
    return f"{loss_reduction:.2f} nats, threshold {threshold:g}"


def compared_homes(
    first: Home, second: Home, rounds: tuple[int, int], *, examples: int
) -> ComparedHomes:
    """Compare two homes, or two rounds of one.

    Args:
        first, second: the homes.
        rounds: round of annotation of each.
        examples: so many calls that only one keeps.

    Raises:
        ComparisonError: there is nothing to compare.
    """
    found = first.warehouse.compare(second.warehouse, rounds=rounds, examples=examples)
    shards = set(found.counts["shard"].unique().sort().head(_FEW))
    sides = []
    for name, home, number in zip(_HOMES, (first, second), rounds, strict=True):
        alone = found.counts.filter(kept_by=name)["calls"].sum()
        both = found.counts.filter(kept_by="both")["calls"].sum()
        models = home.warehouse.ask("annotators", shards=shards, round=number)
        named = (f"{model} ({precision})" for model, precision in models.iter_rows())
        sides.append(
            {
                "home": str(home.places.root),
                "round": str(number),
                "model": ", ".join(named) or "unknown",
                "kept calls": f"{both + alone:,}, {alone:,} of them alone",
            }
        )
    return ComparedHomes(found, sides, list(_notes(found)))


def _notes(found: Comparison) -> Iterator[str]:
    if not found.is_same_model:
        yield (
            "The two were annotated by different models: their losses are not comparable, and a "
            "call that both sampled is put down to other losses."
        )
    if found.unfinished:
        named = ", ".join(f"{tool} of {shard}" for shard, tool in found.unfinished[:_FEW])
        more = ", …" if len(found.unfinished) > _FEW else ""
        yield (
            f"Left out, since a build makes them anew: {len(found.unfinished):,} partitions "
            f"({named}{more})."
        )
    yield (
        "Partitions that both made of the same, counted by their footers: "
        f"{found.equal_partitions:,}; others, whose rows were read: {found.read_partitions:,}."
    )


def page_of_comparison(compared: ComparedHomes) -> str:
    """The page, with everything that it needs inside."""
    from toolformer_home.report.contents import table_of

    return rendered(
        "comparison.html.jinja",
        compared=compared,
        reasons=REASONS,
        tables={
            name: table_of(frame)
            for name, frame in {
                "tools": compared.calls("tool"),
                "why": compared.reasons(),
                "shards": compared.calls("shard"),
            }.items()
        },
        examples=[
            (row, compared.reason_of(row)) for row in compared.found.examples.iter_rows(named=True)
        ],
    )
