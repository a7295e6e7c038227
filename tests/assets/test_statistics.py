"""What `call_statistics` tells of the views."""

import polars as pl
import pytest

from assets.statistics import _money


def test_money_of_all_tools_is_shared_among_kept_calls():
    costs = pl.DataFrame({"money": [3.0, 1.0], "kept": [5, 3]})
    assert _money(costs) == {"money": 4.0, "money per kept call": pytest.approx(0.5)}
    assert _money(costs.with_columns(kept=pl.lit(0))) == {"money": 4.0}
    assert _money(costs.drop("money")) == {}
