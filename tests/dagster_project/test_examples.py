"""Which kept calls are shown as examples: those of tools that keep more than chance does."""

from pathlib import Path

import pytest

from dagster_project.commands.reporting import show_examples
from dagster_project.report.verdicts import Verdict
from tests.warehouse.rows import fill
from toolformer.chance_level import KeptAgainstChance
from warehouse.warehouse import Warehouse

ABOVE = KeptAgainstChance(30, 60, 0, 30, 0, 15)
AS_CHANCE = KeptAgainstChance(25, 144, 5, 30, 1, 5)
NOT_MEASURED = KeptAgainstChance(25, 144, 0, 0, 0, 0)
NONE_KEPT = KeptAgainstChance(0, 144, 0, 30, 0, 0)


@pytest.fixture
def store(tmp_path: Path) -> Warehouse:
    """One kept call of the Calculator, in round 1."""
    store = Warehouse(tmp_path / "warehouse", tmp_path / "warehouse.duckdb")
    store.prepare()
    fill(store)
    return store


def on_calculator(found: KeptAgainstChance) -> list[Verdict]:
    return [Verdict("Calculator", 1, 0.5, found)]


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (ABOVE, "⟦[Calculator(400 / 1400) -> 0.29]⟧"),
        (AS_CHANCE, "none of 25 kept calls is shown, since they cannot be told from"),
        (NOT_MEASURED, "none of 25 kept calls is shown, since chance was not measured"),
        (NONE_KEPT, "Calculator: no call was kept"),
    ],
)
def test_a_tool_has_examples_only_where_it_is_above_chance(
    store: Warehouse, capsys: pytest.CaptureFixture[str], found: KeptAgainstChance, line: str
):
    show_examples(store, on_calculator(found), per_tool=3)
    out = capsys.readouterr().out
    assert line in out
    assert ("⟦" in out) == (found is ABOVE)
