import errno
import hashlib
import io
import os
import random
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.warehouse.rows import PARTITIONS, SHARD, frame, put, put_calls
from warehouse.errors import DamagedPartitionError, StorageError
from warehouse.layout import catalogue_file
from warehouse.warehouse import Warehouse


@pytest.fixture
def partition_file(warehouse: Warehouse) -> Path:
    rows = ({"document_id": f"d{n}", "url": str(n * n)} for n in range(500))
    put(warehouse, "documents", *rows)
    [info] = warehouse.partitions("documents")
    return info.path


READINGS = {
    "partition": lambda warehouse: warehouse.read_partition("documents", SHARD, "all"),
    "shard": lambda warehouse: warehouse.read_partitions("documents", SHARD),
    "query": lambda warehouse: warehouse.query("select max(url) as u, max(text) from documents"),
    "sql": lambda warehouse: warehouse.fetch_rows("select max(url) as u, max(text) from documents"),
}
DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "without the last byte": lambda content: content[:-1],
    "text": lambda content: b"This is not a Parquet file." * 20,
    "zeros": lambda content: content[:60] + bytes(100) + content[160:],
    # In the rows of the first column, which no statement here reads.
    "a bit": lambda content: content[:40] + bytes([content[40] ^ 1]) + content[41:],
    "of another home": lambda content: parquet_of_others(),
}


def parquet_of_others() -> bytes:
    """Return a file with the same columns and other rows."""
    content = io.BytesIO()
    frame("documents", {"url": "foreign"}).write_parquet(content)
    return content.getvalue()


def logged(caplog) -> str:
    text = caplog.text
    caplog.clear()
    return text


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_partition_is_named_set_aside_and_made_again(
    warehouse: Warehouse, partition_file: Path, name: str, reading: str
):
    damage, read = DAMAGES[name], READINGS[reading]
    partition_file.write_bytes(damage(partition_file.read_bytes()))
    assert list(warehouse.damage()) == [partition_file]
    for _ in range(2):
        with pytest.raises(DamagedPartitionError, match=partition_file.name):
            read(warehouse)
    # Other tables are readable beside it.
    assert warehouse.query("select * from candidate_calls").height == 0
    assert list(warehouse.damage()) == [partition_file]
    assert warehouse.partition_metadata("documents", SHARD, "all") is None
    put(warehouse, "documents", {"title": "again"})
    assert warehouse.query("select title from documents").item() == "again"
    assert warehouse.damage() == {}


def test_damage_of_one_shard_stops_only_who_needs_it(warehouse: Warehouse, caplog):
    warehouse.prepare()
    for shard in (SHARD, "shard-00001", "shard-00002"):
        put(warehouse, "documents", {"document_id": shard}, shard=shard)
        put(warehouse, "filtered_calls", {"call_id": shard}, shard=shard)
    [_, flipped_file, _] = [info.path for info in warehouse.partitions("documents")]
    flipped_file.write_bytes(flipped(flipped_file.read_bytes(), random.Random(1)))
    catalogue = Path(catalogue_file(warehouse.folder, "shard-00002"))
    catalogue.write_bytes(catalogue.read_bytes()[:-1])
    with pytest.raises(DamagedPartitionError, match="shard-0000"):
        warehouse.query("from documents")
    lenient = warehouse.skipping_damage()
    caplog.clear()
    assert lenient.query("select document_id from documents").item() == SHARD
    text = logged(caplog)
    assert "shard 'shard-00001'" in text
    assert "catalogue of shard 'shard-00002' is damaged" in text
    # Counts are in the catalogues.
    assert lenient.query("from decision_counts").height == 2
    assert [info.shard for info in lenient.partitions("filtered_calls")] == [SHARD, "shard-00001"]
    with duckdb.connect(str(warehouse.database_file), read_only=True) as connection:
        shards = connection.execute("select shard from filtered_calls order by all").fetchall()
    assert shards == [(SHARD,), ("shard-00001",)]
    # What a build would make again, and nothing else.
    missing = {
        (table, shard)
        for table in ("documents", "filtered_calls")
        for shard in (SHARD, "shard-00001", "shard-00002")
        if warehouse.partition_metadata(table, shard, PARTITIONS[table][1]) is None
    }
    assert missing == {
        ("documents", "shard-00001"),
        ("documents", "shard-00002"),
        ("filtered_calls", "shard-00002"),
    }
    put(warehouse, "documents", shard="shard-00002")
    assert warehouse.skipping_damage().query("from documents").height == 2


def flipped(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content)
    changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def test_no_flipped_bit_gives_other_rows(warehouse: Warehouse):
    for table in PARTITIONS:
        put(warehouse, table)
    chance = random.Random(5)
    for number in range(400):
        table = [*PARTITIONS][number % len(PARTITIONS)]
        [info] = warehouse.partitions(table)
        content = info.path.read_bytes()
        info.path.write_bytes(flipped(content, chance))
        with pytest.raises(DamagedPartitionError):
            warehouse.read_partition(table, info.shard, info.name)
        info.path.write_bytes(flipped(content, chance))
        with pytest.raises(DamagedPartitionError):
            warehouse.query(f"select * from {table}")
        assert [*warehouse.damage([table])] == [info.path]
        info.path.write_bytes(content)


def test_no_flipped_bit_gives_other_metadata_or_counts(warehouse: Warehouse):
    metadata = {"fingerprint": "x" * 32, "parts": '{"seed": "0"}'}
    for table in PARTITIONS:
        put(warehouse, table, **metadata)
    chance = random.Random(5)
    file = Path(catalogue_file(warehouse.folder, SHARD))
    content = file.read_bytes()
    count = warehouse.query("from decision_counts").rows()
    assert count
    of_shard = [(table, name) for table, (shard, name) in PARTITIONS.items() if shard == SHARD]
    for number in range(400):
        file.write_bytes(flipped(content, chance))
        for table, name in of_shard:
            assert warehouse.partition_metadata(table, SHARD, name) is None
        if number % 20:
            continue
        with pytest.raises(DamagedPartitionError, match=f"catalogue of shard '{SHARD}' is damaged"):
            warehouse.query("from decision_counts")
        assert warehouse.skipping_damage().query("from decision_counts").is_empty()
        assert [*warehouse.damage()] == [file]
    file.write_bytes(content)
    assert warehouse.query("from decision_counts").rows() == count


@pytest.mark.parametrize("damage", ["cut", "empty", "of another shard", "a folder", "no JSON"])
def test_a_catalogue_that_is_no_document_is_named_and_replaced(
    warehouse: Warehouse, caplog, damage: str
):
    for table in PARTITIONS:
        put(warehouse, table)
    file = Path(catalogue_file(warehouse.folder, SHARD))
    content = file.read_bytes()
    other = file.with_name("all.json").read_bytes()
    body = b'"shard":"' + SHARD.encode() + b'","partitions":[{"table":1}]}'
    checked = hashlib.sha256(body).hexdigest().encode()
    contents = {
        "cut": content[:-20],
        "empty": b"",
        "of another shard": other,
        "no JSON": b'{"sha256":"' + checked + b'",' + body,
    }
    file.unlink()
    if damage == "a folder":
        file.mkdir()
    else:
        file.write_bytes(contents[damage])
    with pytest.raises(DamagedPartitionError, match=f"catalogue of shard '{SHARD}' is damaged"):
        warehouse.query("from document_counts")
    if damage == "a folder":
        file.rmdir()
    put(warehouse, "documents", {"title": "again"})
    assert damage == "a folder" or "is replaced now" in logged(caplog)
    assert warehouse.query("select title from documents").item() == "again"
    assert warehouse.query("from candidate_calls").is_empty()


def refusing(patch: pytest.MonkeyPatch, name: str, error: OSError) -> None:
    """Let the system refuse a file that ends so."""
    genuine = os.open

    def refused(path: Any, *arguments: Any, **named: Any) -> int:
        if str(path).endswith(name):
            raise error
        return genuine(path, *arguments, **named)

    patch.setattr(os, "open", refused)


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ESTALE, errno.EACCES])
def test_a_catalogue_that_cannot_be_read_for_a_moment_is_not_replaced(
    warehouse: Warehouse, monkeypatch, number: int
):
    put(warehouse, "documents")
    put(warehouse, "candidate_calls")
    with monkeypatch.context() as patch:
        refusing(patch, f"{SHARD}.json", OSError(number, os.strerror(number)))
        with pytest.raises(StorageError, match=os.strerror(number)):
            put(warehouse, "documents", {"title": "later"})
    assert warehouse.query("from candidate_calls").height == 1
    put(warehouse, "documents", {"title": "later"})
    assert warehouse.query("select title from documents, candidate_calls").item() == "later"


def test_a_partition_whose_file_is_lost_is_made_again(warehouse: Warehouse, partition_file: Path):
    partition_file.unlink()
    assert warehouse.partition_metadata("documents", SHARD, "all") is None
    for read in READINGS.values():
        with pytest.raises(DamagedPartitionError, match=f"'{partition_file}' is missing"):
            read(warehouse)
    put(warehouse, "documents")
    assert warehouse.query("from documents").height == 1


@pytest.mark.parametrize("name", ["all.parquet", "mine.parquet", "all-0123456789abcdef.parquet"])
def test_foreign_file_is_no_partition(warehouse: Warehouse, partition_file: Path, name: str):
    foreign = partition_file.with_name(name)
    frame("documents", {"document_id": "foreign"}).write_parquet(foreign)
    warehouse.prepare()
    assert warehouse.query("select count(*) as n from documents")["n"].to_list() == [500]
    with duckdb.connect(str(warehouse.database_file), read_only=True) as connection:
        assert connection.execute("select count(*) from documents").fetchall() == [(500,)]
    assert [info.path for info in warehouse.partitions("documents")] == [partition_file]
    assert warehouse.damage() == {}


@pytest.mark.parametrize("is_prepared", [True, False])
def test_a_damaged_file_without_rows_is_made_again(warehouse: Warehouse, *, is_prepared: bool):
    [empty] = (warehouse.folder / "documents" / "shard=none").iterdir()
    empty.write_bytes(b"PAR1")
    if is_prepared:
        warehouse.database_file.unlink(missing_ok=True)
        warehouse.prepare()
        with duckdb.connect(str(warehouse.database_file), read_only=True) as connection:
            assert connection.execute("select count(*) from documents").fetchall() == [(0,)]
    assert warehouse.query("select * from documents").height == 0


def test_prepare_reads_no_partition(warehouse: Warehouse, partition_file: Path):
    partition_file.write_bytes(b"")
    warehouse.prepare()
    assert warehouse.database_file.exists()


def test_a_damaged_partition_stops_only_who_reads_it(warehouse: Warehouse):
    put(warehouse, "scored_calls", {"call_id": "c1", "tool": "QA"}, name="QA")
    put(warehouse, "scored_calls", {"call_id": "c2", "tool": "Calendar"}, name="Calendar")
    [qa] = [info.path for info in warehouse.partitions("scored_calls") if info.name == "QA"]
    qa.write_bytes(b"")
    other = warehouse.read_partition("scored_calls", SHARD, "Calendar")
    assert other["call_id"].to_list() == ["c2"]
    with pytest.raises(DamagedPartitionError, match=qa.name):
        warehouse.read_partition("scored_calls", SHARD, "QA")


def test_calls_of_a_shard_are_joined_without_the_files_of_other_shards(warehouse: Warehouse):
    for call_id, shard in (("c1", SHARD), ("c2", "shard-00009")):
        put_calls(warehouse, {"call_id": call_id}, shard=shard)
        put(warehouse, "documents", shard=shard)
    for table in ("candidate_calls", "executed_calls", "filtered_calls", "documents"):
        [other] = warehouse.partitions(table, "shard-00009")
        other.path.write_bytes(b"")
    statement = f"select call_id, result, is_kept, title from all_calls where shard = '{SHARD}'"
    assert warehouse.query(statement, verifies_digests=False)["call_id"].to_list() == ["c1"]
