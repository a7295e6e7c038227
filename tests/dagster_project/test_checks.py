"""What is told of kept calls beside chance: by the asset checks, and by the examples shown."""

from collections.abc import Sequence

import dagster as dg
import pytest

from dagster_project.checks import (
    kept_calls_are_above_chance,
    share_of_kept_calls_is_plausible,
)
from dagster_project.commands.reporting import show_examples
from tests.warehouse.rows import SAMPLED, SHARD, fill, frame
from toolformer.scoring.chance_level import KeptAgainstChance
from toolformer_home.report.verdicts import Verdict
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


def outcome(check: dg.AssetChecksDefinition) -> dg.AssetCheckResult:
    result = check()
    assert isinstance(result, dg.AssetCheckResult)
    return result


def test_a_round_that_keeps_most_calls_is_seen_beside_one_that_does_not(warehouse: Warehouse):
    assert outcome(share_of_kept_calls_is_plausible).passed
    put(warehouse, 1, kept=1, dropped=9)
    assert outcome(share_of_kept_calls_is_plausible).passed
    put(warehouse, 2, kept=3, dropped=1)
    result = outcome(share_of_kept_calls_is_plausible)
    assert not result.passed
    assert result.metadata["share of kept calls"].value == 0.1
    assert result.metadata["share of kept calls, round 2"].value == 0.75


def test_calls_that_are_kept_by_chance_warn(warehouse: Warehouse):
    put(warehouse, 1, kept=10, dropped=90)
    # Nobody measured what swapped results keep.
    assert outcome(kept_calls_are_above_chance).passed
    put(warehouse, 1, kept=10, dropped=90, by_chance=[True] * 3 + [False] * 27)
    found = outcome(kept_calls_are_above_chance)
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert "not told apart from chance" in str(found.metadata["Calculator"].value)


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
