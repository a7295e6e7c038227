import random
from contextlib import suppress
from pathlib import Path

import duckdb
import pytest

from tests.warehouse.rows import SHARD, frame
from warehouse.errors import DamagedPartitionError
from warehouse.warehouse import Warehouse


@pytest.fixture
def partition_file(warehouse: Warehouse) -> Path:
    rows = frame("documents", *({"document_id": f"d{n}", "url": str(n * n)} for n in range(500)))
    warehouse.replace_partition("documents", SHARD, "all", rows, metadata={})
    [info] = warehouse.partitions("documents")
    return info.path


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def emptied(content: bytes) -> bytes:
    return b""


def without_last_byte(content: bytes) -> bytes:
    return content[:-1]


def flipped_in_the_first_page(content: bytes) -> bytes:
    return content[:40] + bytes([content[40] ^ 1]) + content[41:]


def replaced_by_text(content: bytes) -> bytes:
    return b"This is not a Parquet file." * 20


def zeroed_inside(content: bytes) -> bytes:
    return content[:60] + bytes(100) + content[160:]


DAMAGES = [truncated, emptied, without_last_byte, replaced_by_text, zeroed_inside]
UNREADABLE = [truncated, emptied, without_last_byte, replaced_by_text]


def query_everything(warehouse: Warehouse) -> object:
    return warehouse.query("select max(document_id), max(url) as u, max(text) as t from documents")


def read_the_partition(warehouse: Warehouse) -> object:
    return warehouse.read_partition("documents", SHARD, "all")


def read_the_shard(warehouse: Warehouse) -> object:
    return warehouse.read_partitions("documents", SHARD)


def read_the_metadata(warehouse: Warehouse) -> object:
    return warehouse.partition_metadata("documents", SHARD, "all")


@pytest.mark.parametrize("damage", [*DAMAGES, flipped_in_the_first_page])
@pytest.mark.parametrize("read", [read_the_partition, read_the_shard])
def test_damaged_partition_is_named_with_the_remedy_by_every_stage(
    warehouse: Warehouse, partition_file: Path, damage, read
) -> None:
    partition_file.write_bytes(damage(partition_file.read_bytes()))
    with pytest.raises(DamagedPartitionError) as caught:
        read(warehouse)
    assert str(partition_file) in str(caught.value)
    assert "Remove it, then run `toolformer build`" in str(caught.value)
    assert warehouse.damaged_partitions() == [partition_file]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_partition_is_named_by_a_query_that_meets_it(
    warehouse: Warehouse, partition_file: Path, damage
) -> None:
    partition_file.write_bytes(damage(partition_file.read_bytes()))
    with pytest.raises(DamagedPartitionError, match=partition_file.name):
        query_everything(warehouse)


@pytest.mark.parametrize("damage", UNREADABLE)
def test_metadata_of_a_damaged_partition_names_the_file(
    warehouse: Warehouse, partition_file: Path, damage
) -> None:
    partition_file.write_bytes(damage(partition_file.read_bytes()))
    with pytest.raises(DamagedPartitionError, match=partition_file.name):
        read_the_metadata(warehouse)


def test_no_flipped_bit_gives_other_rows_or_other_metadata(warehouse: Warehouse) -> None:
    rows = frame("candidate_calls", {"call_id": "a"}, {"call_id": "b"})
    metadata = {"fingerprint": "x" * 32, "parts": '{"seed": "0"}'}
    warehouse.replace_partition("candidate_calls", SHARD, "Calculator", rows, metadata=metadata)
    [info] = warehouse.partitions("candidate_calls")
    content = info.path.read_bytes()
    for bit in random.Random(5).sample(range(8 * len(content)), 400):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        info.path.write_bytes(flipped)
        with pytest.raises(DamagedPartitionError):
            warehouse.read_partition("candidate_calls", SHARD, "Calculator")
        # Without the rows only what is asked for is looked at.
        with suppress(DamagedPartitionError):
            assert warehouse.partition_metadata("candidate_calls", SHARD, "Calculator") == metadata
        assert warehouse.damaged_partitions(["candidate_calls"]) == [info.path]


@pytest.mark.parametrize("read", [read_the_partition, read_the_metadata, query_everything])
def test_folder_in_the_place_of_a_partition_is_damage(
    warehouse: Warehouse, partition_file: Path, read
) -> None:
    partition_file.unlink()
    partition_file.mkdir()
    with pytest.raises(DamagedPartitionError, match=partition_file.name):
        read(warehouse)
    assert warehouse.damaged_partitions() == [partition_file]


@pytest.mark.parametrize("name", ["all.parquet", "mine.parquet", "a@b.parquet"])
def test_foreign_file_is_no_partition(
    warehouse: Warehouse, partition_file: Path, name: str
) -> None:
    foreign = partition_file.with_name(name)
    rows = frame("documents", {"document_id": "foreign"})
    rows.write_parquet(foreign)
    warehouse.prepare()
    assert warehouse.query("select count(*) as n from documents")["n"].to_list() == [500]
    with duckdb.connect(str(warehouse.database_file), read_only=True) as connection:
        assert connection.execute("select count(*) from documents").fetchall() == [(500,)]
    assert [info.path for info in warehouse.partitions("documents")] == [partition_file]
    assert warehouse.damaged_partitions() == []


def test_view_over_a_damaged_table_names_the_partition(
    warehouse: Warehouse, partition_file: Path
) -> None:
    partition_file.write_bytes(truncated(partition_file.read_bytes()))
    with pytest.raises(DamagedPartitionError, match=partition_file.name):
        warehouse.query("select * from call_funnel")


def test_other_tables_are_readable_beside_a_damaged_partition(
    warehouse: Warehouse, partition_file: Path
) -> None:
    partition_file.write_bytes(truncated(partition_file.read_bytes()))
    assert warehouse.query("select * from candidate_calls").height == 0


@pytest.mark.parametrize("is_prepared", [True, False])
def test_damaged_zero_row_partition_is_made_again(
    warehouse: Warehouse, *, is_prepared: bool
) -> None:
    [empty] = (warehouse.folder / "documents" / "shard=none").iterdir()
    empty.write_bytes(b"PAR1")
    assert warehouse.damaged_partitions() == [empty]
    if is_prepared:
        warehouse.prepare()
    assert warehouse.query("select * from documents").height == 0


def test_prepare_names_a_damaged_partition_only_when_it_has_to_read_it(
    warehouse: Warehouse, partition_file: Path
) -> None:
    warehouse.prepare()
    partition_file.write_bytes(b"")
    warehouse.prepare()
    warehouse.database_file.unlink()
    with pytest.raises(DamagedPartitionError, match=partition_file.name):
        warehouse.prepare()
