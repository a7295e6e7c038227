import io
import os
import random
from collections import Counter
from contextlib import suppress
from pathlib import Path

import duckdb
import pytest

from tests.warehouse.rows import PARTITIONS, SHARD, frame, put, put_calls
from warehouse import catalogue
from warehouse.errors import DamagedPartitionError
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
    "a folder": None,
}


def parquet_of_others() -> bytes:
    """Return a file with the same columns and other rows."""
    content = io.BytesIO()
    frame("documents", {"url": "foreign"}).write_parquet(content)
    return content.getvalue()


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_partition_is_named_whatever_reads_it(
    warehouse: Warehouse, partition_file: Path, name: str
):
    damage = DAMAGES[name]
    if damage is None:
        partition_file.unlink()
        partition_file.mkdir()
    else:
        partition_file.write_bytes(damage(partition_file.read_bytes()))
    for read in READINGS.values():
        with pytest.raises(DamagedPartitionError, match=partition_file.name):
            read(warehouse)
    assert warehouse.damaged_partitions() == [partition_file]
    # Other tables are readable beside it.
    assert warehouse.query("select * from candidate_calls").height == 0


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
        with pytest.raises(DamagedPartitionError):
            warehouse.query(f"select * from {table}")
        assert warehouse.damaged_partitions([table]) == [info.path]
        info.path.write_bytes(content)


def test_no_flipped_bit_gives_other_metadata_or_counts(warehouse: Warehouse):
    metadata = {"fingerprint": "x" * 32, "parts": '{"seed": "0"}'}
    for table in PARTITIONS:
        put(warehouse, table, **metadata)
    chance, refused, answered = random.Random(5), 0, Counter()
    file = warehouse.folder / "catalogue" / f"{SHARD}.json"
    content = file.read_bytes()
    names = ("document_counts", "decision_counts", "cost_counts")
    counts = {name: warehouse.query(f"from {name}").rows() for name in names}
    assert [] not in counts.values()
    for _ in range(400):
        file.write_bytes(flipped(content, chance))
        for table, (shard, name) in PARTITIONS.items():
            try:
                found = warehouse.partition_metadata(table, shard, name)
            except DamagedPartitionError:
                refused += 1
            else:
                assert found in (metadata, None)
                answered[table] += found == metadata
        for name in names:
            with suppress(DamagedPartitionError):
                assert warehouse.query(f"from {name}").rows() == counts[name]
                answered[name] += 1
    # The last line of the file, and every other but for the names in it.
    assert refused > 400
    # What is damaged in one line is asked of the others.
    assert min(answered[each] for each in (*PARTITIONS, *names)) > 200


def test_a_line_of_a_catalogue_that_is_damaged_costs_one_partition(warehouse: Warehouse):
    for table in PARTITIONS:
        put(warehouse, table, fingerprint="right")
    file = warehouse.folder / "catalogue" / f"{SHARD}.json"
    lines = file.read_bytes().split(b"\n")
    [of_texts] = [line for line in lines if b'"table":"documents"' in line]
    file.write_bytes(b"\n".join(lines).replace(of_texts, of_texts.replace(b"right", b"wrong")))
    for read in (
        lambda: warehouse.partition_metadata("documents", SHARD, "all"),
        lambda: warehouse.query("from documents"),
        lambda: warehouse.query("from document_counts"),
    ):
        with pytest.raises(DamagedPartitionError, match="'all' of table 'documents'"):
            read()
    assert warehouse.query("from filtered_calls").height == 1
    # Nothing that it may name is swept.
    texts = [*(warehouse.folder / "documents" / f"shard={SHARD}").iterdir()]
    for path in texts:
        os.utime(path, (0, 0))
    put(warehouse, "candidate_calls")
    warehouse.store.sweep({SHARD})
    assert [*(warehouse.folder / "documents" / f"shard={SHARD}").iterdir()] == texts
    # It is no more right for being written again.
    with pytest.raises(DamagedPartitionError, match="'all' of table 'documents'"):
        warehouse.query("from document_counts")
    # As the error says.
    file.write_bytes(b"\n".join(line for line in lines if line != of_texts))
    assert warehouse.partition_metadata("documents", SHARD, "all") is None
    put(warehouse, "documents")
    assert warehouse.query("from documents").height == 1


@pytest.mark.parametrize("damage", ["cut", "without the end", "of another shard"])
def test_a_catalogue_that_lacks_lines_is_refused(warehouse: Warehouse, damage: str):
    for table in PARTITIONS:
        put(warehouse, table)
    file = warehouse.folder / "catalogue" / f"{SHARD}.json"
    lines = file.read_bytes().splitlines(keepends=True)
    other = file.with_name("all.json").read_bytes()
    # Each of them ends with a line.
    contents = {
        "cut": [b"".join(lines[:count]) for count in range(len(lines))],
        "without the end": [b"".join(lines)[:-1]],
        "of another shard": [other],
    }
    for content in contents[damage]:
        file.write_bytes(content)
        with pytest.raises(DamagedPartitionError, match=f"The catalogue '{SHARD}'"):
            warehouse.query("from document_counts")
        with pytest.raises(DamagedPartitionError, match=f"The catalogue '{SHARD}'"):
            put(warehouse, "documents")


def test_seals_are_looked_at_only_where_a_catalogue_is_damaged(warehouse: Warehouse, monkeypatch):
    for table in PARTITIONS:
        put(warehouse, table, fingerprint="right")
    file = warehouse.folder / "catalogue" / f"{SHARD}.json"
    checked, check = list[bytes](), catalogue._check_seal
    monkeypatch.setattr(
        catalogue, "_check_seal", lambda line, shard: checked.append(line) or check(line, shard)
    )
    warehouse.query("from decision_counts")
    assert all(b'"retired":' in line for line in checked)
    file.write_bytes(file.read_bytes().replace(b"right", b"wrong", 1))
    with suppress(DamagedPartitionError):
        warehouse.query("from decision_counts")
    assert any(b'"table":"filtered_calls"' in line for line in checked)


def test_a_partition_whose_file_is_lost_is_made_again(warehouse: Warehouse, partition_file: Path):
    partition_file.unlink()
    assert warehouse.partition_metadata("documents", SHARD, "all") is None
    for read in READINGS.values():
        with pytest.raises(DamagedPartitionError, match=partition_file.name):
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
    assert warehouse.damaged_partitions() == []


@pytest.mark.parametrize("is_prepared", [True, False])
def test_damaged_file_without_rows_is_made_again(warehouse: Warehouse, *, is_prepared: bool):
    [empty] = (warehouse.folder / "documents" / "shard=none").iterdir()
    empty.write_bytes(b"PAR1")
    if is_prepared:
        warehouse.prepare()
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
    assert warehouse.query(statement, is_compared=False)["call_id"].to_list() == ["c1"]
