"""One DuckDB file with all rows, which needs nothing beside it."""

import shutil
from pathlib import Path

import duckdb
import pytest

from tests.warehouse.rows import SHARD, put
from warehouse.errors import DamagedPartitionError, PartitionsChangingError
from warehouse.needs import STATISTICS_VIEWS
from warehouse.schema import tables
from warehouse.warehouse import Warehouse


def test_every_table_and_view_is_there_without_the_partitions(filled: Warehouse, tmp_path):
    select = "select columns(*)::varchar from"
    names = [*tables(), *STATISTICS_VIEWS]
    wanted = {name: filled.query(f'{select} "{name}"').rows() for name in names}
    file = tmp_path / "one.duckdb"
    assert filled.write_standalone(file) == dict.fromkeys(tables(), 1)
    shutil.rmtree(filled.folder)
    with duckdb.connect(str(file), read_only=True) as connection:
        for name, rows in wanted.items():
            stored = connection.sql(f'{select} "{name}"').fetchall()
            assert sorted(map(repr, stored)) == sorted(map(repr, rows)), name


def test_partitions_that_go_meanwhile_are_told(filled: Warehouse, tmp_path, monkeypatch):
    from warehouse import standalone

    def replaced(folder: Path, names: object) -> object:
        files = chosen(folder, names)
        (path,) = (folder / "filtered_calls" / f"shard={SHARD}").iterdir()
        put(filled, "filtered_calls", {"call_id": "another"})
        path.unlink()
        return files

    chosen = standalone.chosen_files
    monkeypatch.setattr(standalone, "chosen_files", replaced)
    with pytest.raises(PartitionsChangingError, match="a build runs"):
        filled.write_standalone(tmp_path / "one.duckdb")


def test_a_partition_that_is_lost_is_named(filled: Warehouse, tmp_path):
    (path,) = (filled.folder / "filtered_calls" / f"shard={SHARD}").iterdir()
    path.unlink()
    with pytest.raises(DamagedPartitionError, match=f"missing: '{path}'"):
        filled.write_standalone(tmp_path / "one.duckdb")
