"""Compares how many calls of a tool the filter kept with how many it would keep by chance."""

from collections.abc import Iterable
from dataclasses import dataclass

from toolformer.scoring.chance_level import ChanceComparison
from warehouse.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Verdict:
    tool: str
    round: int
    against_chance: ChanceComparison

    @property
    def of(self) -> str:
        return self.tool if self.round == 1 else f"{self.tool}, round {self.round}"


def verdicts_of(store: Warehouse) -> list[Verdict]:
    """Return a verdict per tool and round, at the thresholds of the stored decisions."""
    return [
        Verdict(
            row["tool"],
            row["round"],
            ChanceComparison(
                kept=row["kept_calls"],
                scored=row["scored_calls"],
                chance_kept=row["chance_kept"],
                chance_scored=row["chance_calls"],
                both_kept=row["both_kept"],
                sample_kept=row["sample_kept"],
            ),
        )
        for row in store.ask("kept_against_chance").iter_rows(named=True)
    ]


def verdicts_markdown(verdicts: Iterable[Verdict]) -> str:
    lines = [f"- **{verdict.of}**: {verdict.against_chance.sentence}" for verdict in verdicts]
    return "\n".join(lines) or "*No call was scored yet.*"
