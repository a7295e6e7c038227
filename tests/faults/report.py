"""The table of what was tried and what came of it, for people and for programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.faults.comparison import Damage


@dataclass(slots=True)
class Outcome:
    """One kind of fault.

    Attributes:
        fault: what was done.
        tried: how often; 0 when it was not run.
        damage: of all tries together; each remark names its try.
        not_run: why, where this machine or version cannot have it.
        notes: worth knowing, and no fault.
        seconds: it took.
    """

    fault: str
    tried: int = 0
    damage: Damage = field(default_factory=Damage)
    not_run: str | None = None
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, name: str, damage: Damage) -> None:
        """Count a try."""
        self.tried += 1
        if name:
            damage.remarks = [f"{name}: {remark}" for remark in damage.remarks]
        self.damage.add(damage)

    @property
    def remark(self) -> str:
        """For the table."""
        if self.not_run is not None:
            return f"not run: {self.not_run}"
        told = [*self.damage.remarks, *self.notes]
        return "\n".join(told[:_MAX_REMARKS]) + (
            f"\n… and {len(told) - _MAX_REMARKS} more" if len(told) > _MAX_REMARKS else ""
        )


_MAX_REMARKS = 12


def print_table(outcomes: Sequence[Outcome]) -> None:
    """Print it as wide as it needs."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_lines=True)
    for name in ("fault", "tried", "lost", "doubled", "wrong", "running", "locks", "s", "remark"):
        table.add_column(name, overflow="fold")
    for outcome in outcomes:
        damage = outcome.damage
        numbers = (outcome.tried, damage.lost, damage.doubled, damage.wrong)
        table.add_row(
            outcome.fault,
            *map(str, (*numbers, damage.running, damage.locks)),
            f"{outcome.seconds:.0f}",
            escape(outcome.remark),
        )
    Console(width=180).print(table)


def write_json(outcomes: Sequence[Outcome], file: Path) -> None:
    """Write everything, the remarks uncut."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=2) + "\n")
