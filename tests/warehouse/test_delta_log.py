"""Delta Lake logs over the partitions: what their readers see, and who may write them."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from tests.warehouse.rows import PARTITIONS, SHARD, fill, frame, put
from warehouse import delta_log
from warehouse.delta_log import LOG_FOLDER, refresh_delta_log
from warehouse.errors import DeltaLogError
from warehouse.layout import list_partitions
from warehouse.schema import table_schema, tables
from warehouse.warehouse import Warehouse

REASON = "needs the extra `delta`"
TABLES = sorted(tables())

REFRESHER = """
import pathlib, sys
from tests.warehouse.rows import put
from warehouse.warehouse import Warehouse
home, number = pathlib.Path(sys.argv[1]), int(sys.argv[2])
warehouse = Warehouse(home / "warehouse", home / "warehouse.duckdb")
shard = f"shard-{number:05d}"
for version in range(10):
    put(warehouse, "documents", {"document_id": shard, "source_offset": version}, shard=shard)
    warehouse.refresh_delta_logs()
"""


def replace(warehouse: Warehouse, shard: str = SHARD, **changes: object) -> None:
    put(warehouse, "documents", {"document_id": shard, **changes}, shard=shard)


def log_of(warehouse: Warehouse) -> Path:
    return warehouse.folder / "documents" / LOG_FOLDER


def actions(warehouse: Warehouse) -> list[list[dict]]:
    """The actions of each commit."""
    commits = sorted(log_of(warehouse).glob("*.json"))
    assert [int(path.stem) for path in commits] == list(range(len(commits)))
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in commits]


def listed(warehouse: Warehouse) -> list[str]:
    """The files that the log names, each as often as it does."""
    count = Counter()
    for action in (each for commit in actions(warehouse) for each in commit):
        for kind, step in (("add", 1), ("remove", -1)):
            if kind in action:
                count[action[kind]["path"]] += step
    assert min(count.values(), default=0) >= 0
    return sorted(count.elements())


def partitions(warehouse: Warehouse) -> list[str]:
    root = warehouse.folder / "documents"
    infos = list_partitions(warehouse.folder, "documents")
    return [str(info.path.relative_to(root)) for info in infos]


@pytest.mark.parametrize("table", TABLES)
def test_polars_reads_every_column_once_with_its_type(warehouse: Warehouse, table: str):
    pytest.importorskip("deltalake", reason=REASON)
    for fill_in in (lambda _: None, fill):
        fill_in(warehouse)
        refresh_delta_log(warehouse.folder, table)
        rows = pl.scan_delta(str(warehouse.folder / table)).collect()
        assert rows.schema == table_schema(table).polars_schema
    assert rows.equals(warehouse.read_partition(table, *PARTITIONS[table]), null_equal=True)
    assert refresh_delta_log(warehouse.folder, table) is None


def test_a_replaced_partition_is_read_and_the_old_one_is_not(filled: Warehouse):
    deltalake = pytest.importorskip("deltalake", reason=REASON)
    place = str(filled.folder / "documents")
    filled.refresh_delta_logs()
    replace(filled, title="new")
    replace(filled, "shard-00001", title="other")
    assert refresh_delta_log(filled.folder, "documents") == (2, 1)
    assert listed(filled) == partitions(filled)
    rows = pl.scan_delta(place)
    assert rows.sort("shard").collect()["title"].to_list() == ["new", "other"]
    of_shard = rows.filter(pl.col("shard") == "shard-00001")
    assert of_shard.collect()["title"].to_list() == ["other"]
    # The version before is there until its file is swept.
    assert pl.scan_delta(place, version=0).collect()["title"].to_list() == ["Results"]
    deltalake.DeltaTable(place).create_checkpoint()
    replace(filled, title="newest")
    assert refresh_delta_log(filled.folder, "documents") == (1, 1)
    assert set(pl.scan_delta(place).collect()["title"]) == {"newest", "other"}
    filled.store.retire(SHARD)
    assert refresh_delta_log(filled.folder, "documents") == (0, 1)
    assert pl.scan_delta(place).collect()["title"].to_list() == ["other"]


def test_other_writers_are_refused(filled: Warehouse):
    deltalake = pytest.importorskip("deltalake", reason=REASON)
    refresh_delta_log(filled.folder, "documents")
    table = deltalake.DeltaTable(filled.folder / "documents")
    replace(filled)
    with pytest.raises(deltalake.exceptions.CommitFailedError, match="toolformer"):
        deltalake.write_deltalake(table, frame("documents"), mode="append")
    with pytest.raises(deltalake.exceptions.CommitFailedError, match="toolformer"):
        table.delete()
    assert table.vacuum(dry_run=False, full=True) == []
    assert len(actions(filled)) == 1


def test_another_schema_is_told_under_the_same_id(filled: Warehouse):
    refresh_delta_log(filled.folder, "documents")
    # As an older version of the project, which knew no titles, would have found it.
    file = log_of(filled) / f"{0:020d}.json"
    file.write_text(file.read_text().replace('\\"title\\"', '\\"heading\\"'))
    assert refresh_delta_log(filled.folder, "documents") == (0, 0)
    old, new = (
        each["metaData"] for commit in actions(filled) for each in commit if "metaData" in each
    )
    assert {key for key in new if new[key] != old[key]} == {"schemaString"}
    assert refresh_delta_log(filled.folder, "documents") is None


def test_whoever_comes_second_looks_again(filled: Warehouse, monkeypatch: pytest.MonkeyPatch):
    """Between the look and the commit, another process replaces the partition and commits."""
    write_new = delta_log.write_new

    def late(target: Path, text: str) -> None:
        monkeypatch.setattr(delta_log, "write_new", write_new)
        replace(filled, title="new")
        refresh_delta_log(filled.folder, "documents")
        write_new(target, text)

    monkeypatch.setattr(delta_log, "write_new", late)
    assert refresh_delta_log(filled.folder, "documents") is None
    assert len(actions(filled)) == 1
    assert listed(filled) == partitions(filled)


@pytest.mark.slow
def test_processes_that_replace_and_refresh_at_once_list_each_partition_once(warehouse: Warehouse):
    home = warehouse.folder.parent
    workers = [
        subprocess.Popen([sys.executable, "-c", REFRESHER, str(home), str(number)])
        for number in range(3)
    ]
    assert [worker.wait(timeout=120) for worker in workers] == [0] * 3
    assert listed(warehouse) == partitions(warehouse)
    assert len(listed(warehouse)) == 3
    added = [each["add"]["path"] for of in actions(warehouse) for each in of if "add" in each]
    assert len(added) == len(set(added)), "a file was added twice"
    assert len(actions(warehouse)) > 1
    assert warehouse.refresh_delta_logs() == dict.fromkeys(tables())
    assert list(warehouse.folder.rglob("*.tmp")) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"size": ', '"size": 1'),
        ('"path": "shard=', '"path": "shard}'),
        ('"add"', '"aed"'),
        ('"name": "documents"', '"name": "eocuments"'),
    ],
)
def test_a_flipped_bit_in_a_log_is_mended_by_the_next_refresh(
    filled: Warehouse, before: str, after: str
):
    refresh_delta_log(filled.folder, "documents")
    first = log_of(filled) / f"{0:020d}.json"
    assert before in first.read_text()
    first.write_text(first.read_text().replace(before, after))
    refresh_delta_log(filled.folder, "documents")
    last = actions(filled)[1]
    assert [each for each in last if "add" in each or "metaData" in each]
    sizes = {each["add"]["path"]: each["add"]["size"] for each in last if "add" in each}
    for info in list_partitions(filled.folder, "documents") if sizes else ():
        assert sizes[info.path.relative_to(filled.folder / "documents").as_posix()] == info.bytes
    assert refresh_delta_log(filled.folder, "documents") is None


@pytest.mark.parametrize("damage", [None, lambda text: text[:-20], lambda _: '["add"]\n'])
def test_a_log_that_is_not_ours_is_told(filled: Warehouse, damage):
    refresh_delta_log(filled.folder, "documents")
    replace(filled)
    refresh_delta_log(filled.folder, "documents")
    first = log_of(filled) / f"{0:020d}.json"
    if damage is None:
        first.unlink()
    else:
        first.write_text(damage(first.read_text()))
    with pytest.raises(DeltaLogError, match="Remove that folder"):
        refresh_delta_log(filled.folder, "documents")
    shutil.rmtree(log_of(filled))
    assert refresh_delta_log(filled.folder, "documents") == (1, 0)
