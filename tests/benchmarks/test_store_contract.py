"""The trial of the store's contract counts what it says."""

from pathlib import Path

import pytest

from benchmarks import store_contract
from benchmarks.store_contract import Trial, _number, _rows, run
from warehouse.warehouse import Warehouse


def test_rows_that_disagree_are_torn():
    assert _number(_rows("shard-00000", 3)) == 3
    mixed = _rows("shard-00000", 3).head(49).vstack(_rows("shard-00000", 4).tail(1))
    assert _number(mixed) is None
    assert _number(_rows("shard-00000", 3).head(49)) is None


@pytest.mark.slow
def test_nothing_is_lost_in_a_folder_under_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with store_contract._place("folder", tmp_path, None) as environment:
        for name in environment:
            monkeypatch.setenv(name, "")
        figures = run(Trial(environment, True, writers=2, readers=1, partitions=2, increments=2))
    assert (figures["lost"], figures["torn"], figures["back"]) == (0, 0, 0)
    assert figures["additions"] == 8
    assert figures["reads"] > 0


def test_an_addition_that_overwrites_another_is_counted_as_lost(tmp_path: Path):
    """As without locks: both read 0 and write 1."""
    warehouse = Warehouse(tmp_path / "warehouse", tmp_path / "warehouse.duckdb")
    warehouse.prepare()
    for number in (0, 1, 1):
        rows, metadata = _rows("shard-00000", number), {"number": str(number)}
        warehouse.replace_partition("documents", "shard-00000", "all", rows, metadata=metadata)
    assert store_contract._read_number(warehouse, "shard-00000") == 1
