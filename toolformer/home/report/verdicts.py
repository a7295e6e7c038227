"""For each tool and round: did the filter keep more calls than it would by chance, at what cost?

Where it did not, no kept call is an example of what the tool is good for.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from toolformer.scoring.chance_level import ChanceComparison
from warehouse.warehouse import Warehouse


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the filter kept of a tool's calls in a round, against chance."""

    tool: str
    round: int
    against_chance: ChanceComparison

    @property
    def of(self) -> str:
        """The tool, and the round where it is a later one."""
        return self.tool if self.round == 1 else f"{self.tool}, round {self.round}"


def verdicts_of(store: Warehouse) -> list[Verdict]:
    """The verdicts on all calls so far, at the thresholds in force."""
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
    """The verdicts as a list."""
    lines = [f"- **{verdict.of}**: {verdict.against_chance.sentence}" for verdict in verdicts]
    return "\n".join(lines) or "*No call was scored yet.*"
