"""What `call_statistics` tells of the views."""

import polars as pl
import pytest

from assets.statistics import _money, _results
from dagster_project.report.verdicts import Verdict
from toolformer.chance_level import KeptAgainstChance


def test_shares_and_verdict_of_each_tool_come_first():
    found = KeptAgainstChance(107, 464, 3, 44, 2, 11)
    rows = _results([Verdict(tool, 1, 0.5, found) for tool in ("Calculator", "QA")])
    assert list(rows)[:3] == ["kept share", "chance share", "verdict"]
    assert rows["kept share"] == "Calculator 23 %, QA 23 %"
    assert rows["chance share: QA"] == 0.0682


def test_money_of_all_tools_is_shared_among_kept_calls():
    costs = pl.DataFrame({"money": [3.0, 1.0], "kept": [5, 3]})
    assert _money(costs) == {"money": 4.0, "money per kept call": pytest.approx(0.5)}
    assert _money(costs.with_columns(kept=pl.lit(0))) == {"money": 4.0}
    assert _money(costs.drop("money")) == {}
