"""Rows of a query, batch by batch."""

import errno

import polars as pl
import pytest

from tests.warehouse.rows import SHARD, put
from warehouse.errors import DamagedPartitionError, PartitionsChangingError, QueryError
from warehouse.query import stream_query
from warehouse.warehouse import Warehouse

SQL = "select call_id from filtered_calls where round = $round order by call_id"


@pytest.fixture
def filled(warehouse: Warehouse) -> Warehouse:
    put(warehouse, "filtered_calls", *({"call_id": f"c{number:05}"} for number in range(10_000)))
    return warehouse


def test_all_rows_come_in_order_in_several_batches(filled: Warehouse):
    with stream_query(filled.reader, SQL, {"round": 1}) as batches:
        sizes, ids = [], []
        for batch in batches:
            sizes.append(batch.num_rows)
            ids += batch.column(0).to_pylist()
    assert ids == filled.query(SQL, {"round": 1})["call_id"].to_list()
    assert len(sizes) > 1


def test_no_rows_have_a_schema(filled: Warehouse):
    with pytest.raises(QueryError), stream_query(filled.reader, "select nothing from documents"):
        pass
    with stream_query(filled.reader, SQL, {"round": 7}) as batches:
        assert batches.schema.names == ["call_id"]
        assert pl.DataFrame(pl.from_arrow(batches.read_all())).is_empty()


def test_a_damaged_partition_is_named(filled: Warehouse):
    (path,) = (filled.folder / "filtered_calls" / f"shard={SHARD}").iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    with (
        pytest.raises(DamagedPartitionError, match="filtered_calls"),
        stream_query(filled.reader, SQL, {"round": 1}),
    ):
        pass


@pytest.mark.parametrize("is_named", [False, True], ids=["swept", "lost"])
def test_partitions_that_go_meanwhile_are_told_from_lost_ones(filled: Warehouse, is_named: bool):
    def read() -> None:
        with stream_query(filled.reader, SQL, {"round": 1}):
            if not is_named:
                put(filled, "filtered_calls", {"call_id": "another"})
            path.unlink()
            raise OSError("cannot open file")

    (path,) = (filled.folder / "filtered_calls" / f"shard={SHARD}").iterdir()
    error = DamagedPartitionError if is_named else PartitionsChangingError
    with pytest.raises(error, match=path.name if is_named else "a build is running"):
        read()


def test_a_partition_that_is_lost_before_is_named(filled: Warehouse):
    (path,) = (filled.folder / "filtered_calls" / f"shard={SHARD}").iterdir()
    path.unlink()
    with (
        pytest.raises(DamagedPartitionError, match=f"'{path}' is missing"),
        stream_query(filled.reader, SQL, {"round": 1}),
    ):
        pass


def test_an_error_of_the_reader_is_its_own(filled: Warehouse):
    with pytest.raises(OSError, match="No space"), stream_query(filled.reader, SQL, {"round": 1}):
        raise OSError(errno.ENOSPC, "No space left on device")
