import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.warehouse.rows import PARTITIONS, SHARD, TEXT, frame, new_warehouse, put
from warehouse.catalogue import Key, read_catalogue
from warehouse.errors import PartitionNotFoundError, PartitionValidationError
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
    assert str(info.path.with_name("all-")) in done.stdout
    assert "bytes free" in done.stdout
    assert warehouse.read_partition("documents", SHARD, "all")["text"].to_list() == [TEXT]
    assert list(info.path.parent.iterdir()) == [info.path]


def killed_after(steps: int, monkeypatch) -> list[str]:
    """Let the process be killed before it takes another step on the disk; return the steps."""
    taken: list[str] = []

    def counting(name: str, genuine: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            if len(taken) == steps:
                raise KeyboardInterrupt
            taken.append(name)
            return genuine(*arguments, **options)

        return step

    for name in ("rename", "replace", "write_bytes"):
        monkeypatch.setattr(Path, name, counting(name, getattr(Path, name)))
    monkeypatch.setattr(os, "fsync", counting("fsync", os.fsync))
    monkeypatch.setattr(os, "utime", counting("utime", os.utime))
    return taken


@given(steps=st.integers(0, 25), number=st.integers(1, 3))
def test_after_any_step_of_a_publication_what_is_named_exists_and_is_whole(steps: int, number: int):
    with tempfile.TemporaryDirectory() as folder:
        warehouse = new_warehouse(Path(folder))
        tables = ("candidate_calls", "executed_calls", "documents")[:number]

        def rows(of: str) -> dict[Key, tuple[pl.DataFrame, dict[str, dict[str, str]]]]:
            metadata = {SHARD: {"of": of}}
            return {(table, PARTITIONS[table][1]): (frame(table), metadata) for table in tables}

        warehouse.replace_partitions(rows("first"))
        with pytest.MonkeyPatch.context() as patch:
            taken = killed_after(steps, patch)
            with suppress(KeyboardInterrupt):
                warehouse.replace_partitions(rows("second"))
        found = {
            (warehouse.partition_metadata(table, SHARD, PARTITIONS[table][1]) or {}).get("of")
            for table in tables
        }
        # The files take their places first, then the catalogue.
        assert found == ({"second"} if taken.count("replace") > number else {"first"})
        assert warehouse.damage() == {}
        for table in tables:
            assert warehouse.query(f"from {table}").height == 1


def test_retired_shard_leaves_all_tables_and_is_kept_aside(warehouse: Warehouse):
    for shard in (SHARD, "shard-00001"):
        write_documents(warehouse, TEXT, shard=shard)
        put(warehouse, "candidate_calls", {"call_id": shard}, shard=shard)
    warehouse.retire(SHARD)
    assert warehouse.retired() == {SHARD}
    shards = warehouse.query(
        "select shard from documents union all select shard from candidate_calls"
    )
    assert shards["shard"].to_list() == ["shard-00001"] * 2
    warehouse.restore(SHARD)
    assert warehouse.read_partition("documents", SHARD, "all")["text"].to_list() == [TEXT]


def test_restored_shard_has_its_newest_partitions_and_keeps_what_was_made_anew(
    warehouse: Warehouse,
):
    write_documents(warehouse, TEXT)
    put(warehouse, "candidate_calls", {"arguments": "1 + 1"})
    warehouse.retire(SHARD)
    put(warehouse, "candidate_calls", {"arguments": "2 + 2"})
    warehouse.retire(SHARD)
    warehouse.restore(SHARD)
    assert warehouse.read_partition("documents", SHARD, "all")["text"].to_list() == [TEXT]
    rows = warehouse.query("select arguments from candidate_calls")
    assert rows["arguments"].to_list() == ["2 + 2"]
    assert warehouse.retired() == set()

    warehouse.retire(SHARD)
    put(warehouse, "candidate_calls", {"arguments": "3 + 3"})
    warehouse.restore(SHARD)
    assert warehouse.query("select arguments from candidate_calls").item() == "3 + 3"


def test_retiring_and_restoring_is_one_step_for_readers(warehouse: Warehouse, monkeypatch):
    write_documents(warehouse, TEXT)
    put(warehouse, "candidate_calls")
    both = "select count(*) as n from documents, candidate_calls"
    for change, before, after in (("retire", 1, 0), ("restore", 0, 1)):
        with monkeypatch.context() as patch:
            killed_after(0, patch)
            with pytest.raises(KeyboardInterrupt):
                getattr(warehouse, change)(SHARD)
        assert warehouse.query(both).item() == before
        getattr(warehouse, change)(SHARD)
        assert warehouse.query(both).item() == after
        # A second time nothing is left to do.
        getattr(warehouse, change)(SHARD)
        assert warehouse.query(both).item() == after


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
        one, other = (
            read_catalogue(each.folder, key).partitions["documents", "all"]
            for each in (warehouse, others)
        )
        assert (one.rows, one.sha256, one.counts) == (other.rows, other.sha256, other.counts)
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
    warehouse.retire(SHARD)
    for title in ("one", "two"):
        # As by a run that did not notice.
        put(warehouse, "documents", {"title": title})
        for path in (warehouse.folder / "documents" / f"shard={SHARD}").iterdir():
            os.utime(path, (0, 0))
    warehouse.sweep({SHARD})
    warehouse.restore(SHARD)
    assert warehouse.query("select title from documents").item() == "two"


def test_home_with_odd_characters_works(tmp_path):
    warehouse = new_warehouse(tmp_path / "o'neill [1] *")
    write_documents(warehouse, TEXT)
    assert warehouse.query("select text from documents")["text"].to_list() == [TEXT]


def test_nothing_that_was_published_is_lost_while_a_shared_folder_reports_older_times(
    warehouse: Warehouse, monkeypatch
):
    """As NFS does for seconds, for whoever does not open the file."""
    genuine = Path.stat
    stale: dict[Path, os.stat_result] = {}
    monkeypatch.setattr(
        Path, "stat", lambda path, **of: stale.setdefault(path, genuine(path, **of))
    )
    names = ("documents", "rejected_records", "text_marks")
    for table in names:
        put(warehouse, table)
    monkeypatch.undo()
    assert {table for table, _ in read_catalogue(warehouse.folder, SHARD).partitions} == {*names}
