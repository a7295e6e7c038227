import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.processes import writing_beside
from tests.warehouse.rows import SHARD, TEXT, frame, new_warehouse, put
from warehouse import layout, partitions, published
from warehouse.catalogue import parsed
from warehouse.errors import PartitionNotFoundError, PartitionValidationError
from warehouse.layout import catalogue_file
from warehouse.published import read_catalogue
from warehouse.schema import table_schema, tables
from warehouse.warehouse import Warehouse

METADATA = {"fingerprint": "ab'c\"d", "settings": '{"τ_f": 1.0}'}


def write_documents(warehouse: Warehouse, *texts: str, shard: str = SHARD) -> None:
    rows = ({"document_id": f"d{n}", "text": text} for n, text in enumerate(texts))
    put(warehouse, "documents", *rows, shard=shard, **METADATA)


def test_rows_keep_the_order_they_were_given_in(warehouse: Warehouse):
    rows = frame("documents", *({"document_id": f"d{n}"} for n in range(5000, 0, -1)))
    assert warehouse.replace_partition("documents", SHARD, "all", rows, metadata={}) == 5000
    assert warehouse.read_partition("documents", SHARD, "all").equals(rows)


def test_metadata_comes_back(warehouse: Warehouse):
    write_documents(warehouse, TEXT)
    assert warehouse.partition_metadata("documents", SHARD, "all") == METADATA
    [info] = warehouse.partitions("documents")
    assert (info.table, info.shard, info.name) == ("documents", SHARD, "all")
    assert info.bytes == info.path.stat().st_size
    empty = frame("documents")[:0]
    warehouse.replace_partition("documents", SHARD, "empty", empty, metadata=METADATA)
    assert warehouse.read_partition("documents", SHARD, "empty").equals(empty)
    assert warehouse.partition_metadata("documents", SHARD, "empty") == METADATA
    assert warehouse.partition_metadata("documents", SHARD, "none") is None
    with pytest.raises(PartitionNotFoundError, match="'none'"):
        warehouse.read_partition("documents", SHARD, "none")


@pytest.mark.parametrize("table", tables())
def test_shard_without_partitions_reads_as_typed_nothing(shared_warehouse: Warehouse, table: str):
    rows = shared_warehouse.read_partitions(table, "all")
    assert rows.height == 0
    assert rows.schema == table_schema(table).polars_schema


def test_partitions_of_a_shard_are_read_together_by_name(warehouse: Warehouse):
    for tool in ("WikiSearch", "Calculator"):
        put(warehouse, "candidate_calls", {"tool": tool, "call_id": tool}, name=tool)
    together = warehouse.read_partitions("candidate_calls", SHARD)
    assert together["tool"].to_list() == ["Calculator", "WikiSearch"]
    assert [info.name for info in warehouse.partitions("candidate_calls", SHARD)] == [
        "Calculator",
        "WikiSearch",
    ]
    assert warehouse.partitions("candidate_calls", "shard-00001") == []


DISK_FULL = """
import resource, sys, pathlib
from tests.processes import writing_beside
from tests.warehouse.rows import put
from warehouse.errors import WarehouseError
from warehouse.warehouse import Warehouse
home = pathlib.Path(sys.argv[1])
warehouse = Warehouse(home / "warehouse", home / "warehouse.duckdb")
rows = [{"document_id": str(n), "url": str(n * n)} for n in range(20000)]
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    put(warehouse, "documents", *rows)
except WarehouseError as error:
    print(error)
else:
    sys.exit("written")
"""


def test_full_disk_is_an_error_with_the_remedy_and_leaves_the_old_partition(warehouse: Warehouse):
    write_documents(warehouse, TEXT)
    home = warehouse.folder.parent
    done = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(home)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    [info] = warehouse.partitions("documents")
    assert str(info.path.with_name("all")) in done.stdout
    assert "bytes free" in done.stdout
    assert warehouse.read_partition("documents", SHARD, "all")["text"].to_list() == [TEXT]
    assert list(info.path.parent.iterdir()) == [info.path]


def test_a_version_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    finished, flushed = tmp_path / "finished.tmp", []
    finished.write_bytes(b"rows")
    monkeypatch.setattr(
        layout, "flush", lambda path: flushed.append((path == tmp_path, not finished.exists()))
    )
    layout.put_in_place(finished, tmp_path, "all")
    # Its bytes, then its name.
    assert flushed == [(False, False), (True, True)]


def test_unfinished_files_are_never_read_and_those_of_dead_writers_are_removed(
    warehouse: Warehouse,
):
    write_documents(warehouse, TEXT)
    folder = warehouse.folder / "documents" / f"shard={SHARD}"
    with writing_beside(folder / "all.parquet") as path:
        assert warehouse.query("select count(*) as n from documents")["n"].to_list() == [1]
        assert len(warehouse.partitions("documents")) == 1
        write_documents(warehouse, TEXT)
        assert path.exists()
    write_documents(warehouse, TEXT)
    assert len(list(folder.iterdir())) == 1


def test_retired_shard_leaves_all_tables_and_is_kept_aside(warehouse: Warehouse):
    for shard in (SHARD, "shard-00001"):
        write_documents(warehouse, TEXT, shard=shard)
        put(warehouse, "candidate_calls", {"call_id": shard}, shard=shard)
    warehouse.store.retire(SHARD)
    assert warehouse.store.retired() == {SHARD}
    [kept] = (warehouse.folder.parent / "retired" / "documents" / f"shard={SHARD}").iterdir()
    assert pl.read_parquet(kept)["text"].to_list() == [TEXT]
    shards = warehouse.query(
        "select shard from documents union all select shard from candidate_calls"
    )
    assert shards["shard"].to_list() == ["shard-00001"] * 2
    warehouse.store.retire(SHARD)
    assert kept.exists()


def test_restored_shard_has_its_newest_partitions_and_keeps_what_was_made_anew(
    warehouse: Warehouse,
):
    write_documents(warehouse, TEXT)
    put(warehouse, "candidate_calls", {"arguments": "1 + 1"})
    warehouse.store.retire(SHARD)
    put(warehouse, "candidate_calls", {"arguments": "2 + 2"})
    warehouse.store.retire(SHARD)
    warehouse.store.restore(SHARD)
    assert warehouse.read_partition("documents", SHARD, "all")["text"].to_list() == [TEXT]
    rows = warehouse.query("select arguments from candidate_calls")
    assert rows["arguments"].to_list() == ["2 + 2"]
    assert warehouse.store.retired() == set()

    warehouse.store.retire(SHARD)
    put(warehouse, "candidate_calls", {"arguments": "3 + 3"})
    warehouse.store.restore(SHARD)
    assert warehouse.query("select arguments from candidate_calls").item() == "3 + 3"


@pytest.mark.parametrize("moved_before", range(3))
@pytest.mark.parametrize("change", ["retire", "restore"])
def test_a_change_that_was_killed_is_finished(
    warehouse: Warehouse, monkeypatch, change: str, moved_before: int
):
    write_documents(warehouse, TEXT)
    put(warehouse, "candidate_calls")
    if change == "restore":
        warehouse.store.retire(SHARD)
    genuine, moved = Path.replace, []

    def killed(source: Path, goal: Path) -> Path:
        if len(moved) == moved_before:
            raise KeyboardInterrupt
        moved.append(source)
        return genuine(source, goal)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            getattr(warehouse.store, change)(SHARD)
    getattr(warehouse.store, change)(SHARD)
    in_corpus = warehouse.folder / "documents" / f"shard={SHARD}"
    if change == "restore":
        assert warehouse.query("select count(*) from documents, candidate_calls").item() == 1
        assert warehouse.store.retired() == set()
    else:
        assert warehouse.query("select * from documents").is_empty()
        assert warehouse.store.retired() == {SHARD}
    assert in_corpus.exists() == (change == "restore")


def test_partitions_are_published_together(warehouse: Warehouse, monkeypatch):
    def rows(call_id: str) -> dict:
        tables = ("candidate_calls", "executed_calls")
        metadata = {SHARD: {"of": call_id}}
        return {(table, "QA"): (frame(table, {"tool": "QA"}), metadata) for table in tables}

    warehouse.replace_partitions(rows("first"))
    put_in_place, written = layout.put_in_place, []

    def killed(*arguments: Any) -> Path:
        if written:
            raise KeyboardInterrupt
        written.append(arguments)
        return put_in_place(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(partitions, "put_in_place", killed)
        with pytest.raises(KeyboardInterrupt):
            warehouse.replace_partitions(rows("second"))
    for table in ("candidate_calls", "executed_calls"):
        assert warehouse.partition_metadata(table, SHARD, "QA") == {"of": "first"}
        assert warehouse.query(f"from {table}").height == 1


def test_partitions_of_many_shards_are_as_if_each_was_stored_alone(warehouse: Warehouse, tmp_path):
    others = new_warehouse(tmp_path / "others")
    keys = [f"shard-{number:05d}" for number in range(40)]
    given = [
        {"document_id": f"d{number}", "text": f"Text {number}", "shard": key}
        for key in keys
        # Not in the order of the ids, and the last shards have none.
        for number in range(3 * int(key[-5:]) + 2, 3 * min(int(key[-5:]), 37) - 1, -1)
        if int(key[-5:]) < 38
    ]
    rows, metadata = frame("documents", *given), {key: {"of": key} for key in keys}
    warehouse.replace_partitions({("documents", "all"): (rows, metadata)})
    for key in keys:
        alone = rows.filter(pl.col("shard") == key)
        others.replace_partition("documents", key, "all", alone, metadata=metadata[key])
        assert warehouse.read_partition("documents", key, "all").equals(alone)
        assert warehouse.partition_metadata("documents", key, "all") == {"of": key}
        one, other = (read_catalogue(each.folder, key) for each in (warehouse, others))
        # Names of files have the digests of their bytes.
        assert one.lines == other.lines
    counted = warehouse.query("from document_counts order by shard")
    assert counted["documents"].to_list() == [3] * 38


def test_rows_of_a_shard_that_is_not_named_are_refused(warehouse: Warehouse):
    rows = frame("documents", {"document_id": "d1"}, {"document_id": "d2", "shard": "shard-9"})
    made = {("documents", "all"): (rows, {SHARD: {}, "shard-00008": {}})}
    with pytest.raises(PartitionValidationError, match=r"shard = 'shard-9'.*'shard-00008'"):
        warehouse.replace_partitions(made)
    assert warehouse.partitions() == []


def test_all_tables_are_listed_as_each_is(warehouse: Warehouse):
    write_documents(warehouse, TEXT)
    write_documents(warehouse, TEXT, shard="shard-00001")
    put(warehouse, "candidate_calls", {"tool": "QA"}, name="QA", **METADATA)
    listed = warehouse.partitions()
    assert len(listed) == 3
    assert listed == [info for table in sorted(tables()) for info in warehouse.partitions(table)]


def test_nothing_of_a_retired_shard_is_swept(warehouse: Warehouse):
    write_documents(warehouse, TEXT)
    warehouse.store.retire(SHARD)
    for title in ("one", "two"):
        # As by a run that did not notice.
        put(warehouse, "documents", {"title": title})
        for path in (warehouse.folder / "documents" / f"shard={SHARD}").iterdir():
            os.utime(path, (0, 0))
    warehouse.store.sweep({SHARD})
    warehouse.store.restore(SHARD)
    assert warehouse.query("select title from documents").item() == "two"


def test_home_with_odd_characters_works(tmp_path):
    warehouse = new_warehouse(tmp_path / "o'neill [1] *")
    write_documents(warehouse, TEXT)
    assert warehouse.query("select text from documents")["text"].to_list() == [TEXT]


def test_nothing_that_was_published_is_lost_while_a_shared_folder_tells_of_the_version_before(
    warehouse: Warehouse, monkeypatch
):
    """As NFS does for seconds, of a file that another machine has replaced."""
    monkeypatch.setattr(published, "_state", lambda path: path.stat() and (1, 1, 1))
    names = ("documents", "rejected_records", "text_marks")
    for table in names:
        put(warehouse, table)
    content = catalogue_file(warehouse.folder, SHARD).read_bytes()
    assert {table for table, _ in parsed(content, SHARD).lines} == {*names}
