import os
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from tests.warehouse.rows import SHARD, put
from warehouse.layout import catalogue_file
from warehouse.warehouse import Warehouse

WRITERS = 4
ROWS = 400
REPLACEMENTS = 12
READ = """
select shard, count(*) as n, count(distinct document_id) as ids, min(source_offset) as low,
    max(source_offset) as high, min(title) as first, max(title) as last
from documents
group by shard
"""

# Every version of a partition has the same layout, which is the hardest case: nothing but the
# values tells an old file from a new one.
WRITER = f"""
import pathlib, sys, time
from tests.warehouse.rows import put
from warehouse.warehouse import Warehouse
home, number = pathlib.Path(sys.argv[1]), int(sys.argv[2])
warehouse = Warehouse(home / "warehouse", home / "warehouse.duckdb")
shard = f"shard-{{number:05d}}"
for version in range({REPLACEMENTS}):
    same = {{"source_offset": version + 10, "title": str(version + 10)}}
    rows = [{{"document_id": f"{{shard}}-{{n}}", **same}} for n in range({ROWS})]
    put(warehouse, "documents", *rows, shard=shard, version=str(version))
    time.sleep(0.05)
"""


def by_our_query(warehouse: Warehouse) -> list[tuple]:
    return warehouse.query(READ).rows()


def by_a_shell(warehouse: Warehouse) -> list[tuple]:
    with duckdb.connect(str(warehouse.database_file), read_only=True) as connection:
        return connection.execute(READ).fetchall()


@pytest.mark.slow
def test_readers_see_whole_versions_while_four_processes_replace_partitions(warehouse: Warehouse):
    warehouse.prepare()
    home = warehouse.folder.parent
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(home), str(number)])
        for number in range(WRITERS)
    ]
    seen: set[tuple[str, int]] = set()
    queries = 0
    deadline = time.monotonic() + 60
    while any(writer.poll() is None for writer in writers) and time.monotonic() < deadline:
        queries += 1
        found = by_our_query(warehouse) + by_a_shell(warehouse)
        for shard, count, ids, low, high, first, last in found:
            assert count == ids == ROWS
            assert low == high == int(first) == int(last)
            seen.add((shard, low))
        for version in range(10, 10 + REPLACEMENTS, 5):
            matching = warehouse.query(
                "select source_offset, title from documents where source_offset = $version",
                {"version": version},
            )
            assert set(matching["source_offset"]) <= {version}
            assert set(matching["title"]) <= {str(version)}
    assert [writer.wait() for writer in writers] == [0] * WRITERS
    assert len(seen) > WRITERS, f"only {seen} in {queries} queries"
    last = warehouse.query("select distinct source_offset as version from documents")
    assert last["version"].to_list() == [9 + REPLACEMENTS]
    assert warehouse.damaged_partitions() == []
    assert list(warehouse.folder.rglob("*.tmp")) == []


def test_version_that_was_replaced_long_ago_is_swept_and_the_newest_stays(
    warehouse: Warehouse, monkeypatch
):
    now = time.time()

    def version(seconds_ago: float) -> Path:
        monkeypatch.setattr(time, "time", lambda: now - seconds_ago)
        put(warehouse, "documents", {"title": f"{seconds_ago} seconds ago"})
        [info] = warehouse.partitions("documents")
        assert info.path is not None
        os.utime(info.path, (now - seconds_ago, now - seconds_ago))
        return info.path

    oldest, old, newest = (version(seconds) for seconds in (9000, 700, 60))
    monkeypatch.setattr(time, "time", lambda: now)
    warehouse.store.sweep(())
    assert not oldest.exists()
    assert old.exists()
    assert [info.path for info in warehouse.partitions("documents")] == [newest]


def test_the_same_rows_stored_again_are_not_swept(warehouse: Warehouse, monkeypatch):
    now = time.time()
    for minutes_ago, title in ((40, "one"), (30, "two"), (0, "one")):
        monkeypatch.setattr(time, "time", lambda ago=minutes_ago: now - 60 * ago)
        put(warehouse, "documents", {"title": title})
    warehouse.store.sweep(())
    assert warehouse.query("select title from documents").item() == "one"


def test_what_a_killed_first_write_left_is_swept_where_a_build_works(warehouse: Warehouse):
    put(warehouse, "documents", {"title": "never published"})
    [info] = warehouse.partitions("documents")
    assert info.path is not None
    os.utime(info.path, (0, 0))
    catalogue_file(warehouse.folder, SHARD).unlink()
    put(warehouse, "candidate_calls")
    warehouse.store.sweep(())
    assert info.path.exists()
    warehouse.store.sweep({SHARD})
    assert not info.path.exists()
    assert warehouse.query("from candidate_calls").height == 1
