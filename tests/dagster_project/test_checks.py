"""What is told of kept calls beside chance: by the asset checks, and by the examples shown."""

from collections.abc import Sequence

import dagster as dg
import pytest

from dagster_project.checks import checks_of
from dagster_project.commands.reporting import show_examples
from tests.warehouse.rows import SAMPLED, SHARD, fill, frame
from toolformer.home.report.verdicts import Verdict
from toolformer.home.settings.sections import validated
from toolformer.scoring.chance_level import KeptAgainstChance
from warehouse.warehouse import Warehouse

DROPPED = {"is_kept": False, "reason": "below_threshold", "loss_reduction": 0.1}


def put(
    warehouse: Warehouse, number: int, kept: int, dropped: int, by_chance: Sequence[bool] = ()
) -> None:
    rows = [
        {"call_id": f"{number}-{index}", "round": number}
        | ({} if index < kept else DROPPED)
        | (SAMPLED | {"is_kept_by_chance": by_chance[index]} if index < len(by_chance) else {})
        for index in range(kept + dropped)
    ]
    name = "Calculator" if number == 1 else f"round-{number}.Calculator"
    warehouse.replace_partition(
        "filtered_calls", SHARD, name, frame("filtered_calls", *rows), metadata={}
    )


def outcomes(**tools: dict) -> dict[str, dg.AssetCheckResult]:
    """What the checks of the tools that are switched on say, by name."""
    [check] = checks_of(validated({"tools": tools}, origin="test").tools.switched_on)
    return {str(result.check_name): result for result in check()}


def is_calculator_fine() -> bool:
    result = outcomes()["Calculator_calls_help"]
    assert result.passed or result.severity is dg.AssetCheckSeverity.WARN
    return result.passed


def test_each_tool_that_is_switched_on_has_a_check_of_its_own(warehouse: Warehouse):
    put(warehouse, 1, kept=10, dropped=90, by_chance=[True] * 3 + [False] * 27)
    found = outcomes(WikiSearch={"is_enabled": False})
    assert {name: result.passed for name, result in found.items()} == {
        f"{tool}_calls_help": tool != "Calculator"
        for tool in ("QA", "Calculator", "MT", "Calendar")
    }
    told = found["Calculator_calls_help"].metadata["Calculator"].value
    assert "not told apart from chance" in str(told)


def test_a_tool_warns_where_enough_calls_say_that_it_helps_none(warehouse: Warehouse):
    # Nobody measured what swapped results keep.
    put(warehouse, 1, kept=10, dropped=90)
    assert is_calculator_fine()
    put(warehouse, 1, kept=0, dropped=30)
    assert not is_calculator_fine()
    # As in the demo: too few to tell, and a table that helps nearly everywhere.
    put(warehouse, 1, kept=0, dropped=29)
    assert is_calculator_fine()
    put(warehouse, 1, kept=4, dropped=14, by_chance=[True] * 2 + [False] * 8)
    assert is_calculator_fine()
    put(warehouse, 1, kept=62, dropped=2, by_chance=[False] * 30)
    assert is_calculator_fine()


def test_the_newest_round_of_a_tool_decides(warehouse: Warehouse):
    put(warehouse, 1, kept=0, dropped=30)
    put(warehouse, 2, kept=10, dropped=90)
    assert is_calculator_fine()
    assert len(outcomes()["Calculator_calls_help"].metadata) == 2


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (KeptAgainstChance(30, 60, 0, 30, 0, 15), "⟦[Calculator(400 / 1400) -> 0.29]⟧"),
        (KeptAgainstChance(25, 144, 5, 30, 1, 5), "none is shown; not told apart from chance"),
        (KeptAgainstChance(25, 144, 0, 0, 0, 0), "the chance level was not measured"),
        (
            KeptAgainstChance(0, 144, 0, 30, 0, 0),
            "Calculator: none is shown; 0 % of 144 calls kept",
        ),
    ],
)
def test_a_tool_has_examples_only_where_it_is_above_chance(
    warehouse: Warehouse, capsys, found: KeptAgainstChance, line: str
):
    # One kept call of the Calculator, in round 1.
    fill(warehouse)
    show_examples(warehouse, [Verdict("Calculator", 1, found)])
    out = capsys.readouterr().out
    assert line in out
    assert ("⟦" in out) == ("⟦" in line)
