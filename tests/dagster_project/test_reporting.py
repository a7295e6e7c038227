"""The examples of kept calls that are printed: those of tools above chance."""

import pytest

from dagster_project.commands.reporting import show_examples
from tests.warehouse.rows import fill
from toolformer.home.report.verdicts import Verdict
from toolformer.scoring.chance_level import KeptAgainstChance
from warehouse.warehouse import Warehouse


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (KeptAgainstChance(30, 60, 0, 30, 0, 15), "⟦[Calculator(400 / 1400) -> 0.29]⟧"),
        (KeptAgainstChance(25, 144, 5, 30, 1, 5), "none of 25 kept calls is shown, since they"),
        (KeptAgainstChance(25, 144, 0, 0, 0, 0), "chance was not measured"),
        (KeptAgainstChance(0, 144, 0, 30, 0, 0), "Calculator: no call was kept"),
    ],
)
def test_a_tool_has_examples_only_where_it_is_above_chance(
    warehouse: Warehouse, capsys: pytest.CaptureFixture[str], found: KeptAgainstChance, line: str
):
    # One kept call of the Calculator, in round 1.
    fill(warehouse)
    show_examples(warehouse, [Verdict("Calculator", 1, 0.5, found)], per_tool=3)
    out = capsys.readouterr().out
    assert line in out
    assert ("⟦" in out) == ("⟦" in line)
