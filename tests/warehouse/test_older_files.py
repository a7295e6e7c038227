"""Partitions that were written before their table had all the columns that it has now."""

from dataclasses import replace
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet
import pytest

from tests.warehouse.rows import SHARD, TEXT, put
from warehouse import reading
from warehouse.errors import LayoutError
from warehouse.layout import EMPTY_SHARD, put_in_place
from warehouse.published import path_of, read_catalogue, shards_in
from warehouse.query import stream_query
from warehouse.schema import ALL, table_schema
from warehouse.warehouse import Warehouse

RESULTS = "evaluation_results"
OLD, NEW = "benchmark.old", "benchmark.new"


def age(warehouse: Warehouse, table: str, *columns: str) -> list[Path]:
    """Make the files of a table those of a version that had no such columns."""
    for shard in (*shards_in(warehouse.folder), EMPTY_SHARD):
        for entry in read_catalogue(warehouse.folder, shard).entries(table):
            path = path_of(warehouse.folder, entry, shard)
            assert path is not None
            rows = pyarrow.parquet.ParquetFile(path).read().drop_columns(list(columns))
            path.unlink()
            if shard == EMPTY_SHARD:
                continue
            pyarrow.parquet.write_table(rows, path)
            older = replace(entry, file=put_in_place(path, path.parent, entry.name).name)
            warehouse.store.publish(shard, [older])
    return [info.path for info in warehouse.partitions(table) if info.path]


def store_results(warehouse: Warehouse, name: str, **values: object) -> None:
    row = {"benchmark": "benchmark", "item_id": name, "is_result_right": True, **values}
    put(warehouse, RESULTS, row, name=name)


@pytest.mark.parametrize("has_new", [True, False])
def test_column_that_may_be_null_is_null_in_older_files(
    warehouse: Warehouse, tmp_path: Path, *, has_new: bool
):
    store_results(warehouse, OLD)
    age(warehouse, RESULTS, "is_result_right", "without_tool")
    if has_new:
        store_results(warehouse, NEW)
    statement = f"select item_id, is_result_right from {RESULTS} order by item_id desc"
    wanted = [(OLD, None), *([(NEW, True)] if has_new else [])]

    assert warehouse.query(statement).rows() == wanted
    assert warehouse.fetch_rows(statement)[1] == wanted
    assert warehouse.query(f"from {RESULTS} where is_result_right").height == has_new
    assert warehouse.query(f"from {RESULTS}").columns == list(table_schema(RESULTS).column_names)
    assert warehouse.view("answers_with_calls").height <= 1
    warehouse.prepare()
    with duckdb.connect(str(warehouse.database_file), read_only=True) as connection:
        assert connection.sql(statement).fetchall() == wanted
    copied = tmp_path / "one.duckdb"
    assert warehouse.write_standalone(copied)[RESULTS] == len(wanted)
    with duckdb.connect(str(copied), read_only=True) as connection:
        assert connection.sql(statement).fetchall() == wanted

    old = warehouse.read_partition(RESULTS, ALL, OLD)
    assert old.schema == table_schema(RESULTS).polars_schema
    assert old["is_result_right"].to_list() == [None]
    assert warehouse.read_partitions(RESULTS, ALL).height == len(wanted)
    files = pl.read_parquet(
        warehouse.files(RESULTS), hive_partitioning=False, missing_columns="insert"
    )
    assert files.select("item_id", "is_result_right").sort("item_id").rows() == sorted(wanted)


def test_older_rows_are_streamed(warehouse: Warehouse):
    put(warehouse, "documents", {"title": "A title"})
    age(warehouse, "documents", "title")
    with stream_query(warehouse.folder, "select text, title from documents") as batches:
        assert batches.read_all().to_pylist() == [{"text": TEXT, "title": None}]


def test_column_that_may_not_be_null_is_named_with_its_file(warehouse: Warehouse, tmp_path: Path):
    store_results(warehouse, OLD)
    [old] = age(warehouse, RESULTS, "min_call_probability", "is_result_right")
    store_results(warehouse, NEW)

    assert warehouse.query(f"select item_id from {RESULTS}").height == 2
    for read in (
        lambda: warehouse.query(f"select min_call_probability from {RESULTS}"),
        lambda: warehouse.query(f"from {RESULTS} where min_call_probability is null"),
        lambda: warehouse.read_partition(RESULTS, ALL, OLD),
        lambda: warehouse.write_standalone(tmp_path / "one.duckdb"),
    ):
        with pytest.raises(LayoutError, match="which every row needs") as error:
            read()
        for said in (str(old), "'min_call_probability'", f"'{RESULTS}'", "toolformer evaluate"):
            assert said in str(error.value)
    warehouse.prepare()
    store_results(warehouse, OLD)
    assert warehouse.query(f"select min_call_probability from {RESULTS}").height == 2


def test_files_with_all_columns_are_not_looked_at(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
):
    put(warehouse, "documents")

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(reading, "columns_lacking", refuse)
    assert warehouse.query("select title from documents", shards={SHARD}).height == 1
