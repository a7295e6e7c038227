import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pytest
from filelock import FileLock, Timeout

from tests.warehouse.rows import SHARD, put, remove_partition
from warehouse.catalogue import Entry
from warehouse.errors import StorageError
from warehouse.layout import catalogue_file
from warehouse.publishing import Publisher
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
    assert warehouse.damage() == {}
    assert list(warehouse.folder.rglob("*.tmp")) == []


def made_long_ago(warehouse: Warehouse, title: str) -> Path:
    put(warehouse, "documents", {"title": title})
    [info] = warehouse.partitions("documents")
    assert info.path is not None
    os.utime(info.path, (0, 0))
    return info.path


def test_a_superseded_file_stays_for_whoever_reads_it_and_is_swept_later(warehouse: Warehouse):
    oldest = made_long_ago(warehouse, "oldest")
    old = made_long_ago(warehouse, "old")
    newest = made_long_ago(warehouse, "newest")
    # Superseded just now, however long ago they were written.
    warehouse.sweep(())
    assert oldest.exists()
    assert old.exists()
    os.utime(oldest, (0, 0))
    warehouse.sweep(())
    assert not oldest.exists()
    assert old.exists()
    os.utime(old, (0, 0))
    put(warehouse, "documents", {"title": "last"})
    assert not old.exists()
    assert newest.exists()


def test_what_a_killed_writer_left_is_swept_where_a_build_works(warehouse: Warehouse):
    left = made_long_ago(warehouse, "never published")
    half = left.with_name(f"{left.name}.tmp")
    half.touch()
    os.utime(half, (0, 0))
    remove_partition(warehouse, "documents", SHARD, "all")
    put(warehouse, "candidate_calls")
    warehouse.sweep(())
    assert left.exists()
    warehouse.sweep({SHARD})
    assert not left.exists()
    assert not half.exists()
    assert warehouse.query("from candidate_calls").height == 1


def test_no_file_of_a_shard_without_a_catalogue_is_swept(warehouse: Warehouse):
    """A copy of the catalogue may be put back."""
    path = made_long_ago(warehouse, "of a lost catalogue")
    catalogue = Path(catalogue_file(warehouse.folder, SHARD))
    content = catalogue.read_bytes()
    catalogue.unlink()
    warehouse.sweep({SHARD})
    catalogue.write_bytes(content[:-1])
    warehouse.sweep({SHARD})
    catalogue.write_bytes(content)
    assert warehouse.query("select title from documents").item() == "of a lost catalogue"
    assert path.exists()


@pytest.mark.parametrize("is_swept", [True, False])
def test_a_writer_that_paused_before_publishing_publishes_no_missing_file(
    warehouse: Warehouse, monkeypatch, *, is_swept: bool
):
    """A closed lid, a paused container, or the clock of another machine."""
    put(warehouse, "documents", {"title": "before"})
    publish = Publisher.publish

    def pause(publisher: Publisher, made: Mapping[str, Sequence[Entry]]) -> None:
        for shard, entries in made.items():
            for entry in entries:
                age = 3600 if is_swept else 60
                times = time.time() - age
                os.utime(warehouse.folder / str(entry.path(shard)), (times, times))
        monkeypatch.undo()
        # Meanwhile, by another process.
        warehouse.sweep({SHARD})
        publish(publisher, made)

    monkeypatch.setattr(Publisher, "publish", pause)
    if is_swept:
        with pytest.raises(StorageError, match="was not published: it is gone"):
            put(warehouse, "documents", {"title": "after"})
    else:
        put(warehouse, "documents", {"title": "after"})
    expected = "before" if is_swept else "after"
    assert warehouse.query("select title from documents").item() == expected
    assert warehouse.damage() == {}


STOPPED = """
import pathlib, sys, time
from warehouse.publishing import locks_in
with locks_in(pathlib.Path(sys.argv[1]))(sys.argv[2]):
    print("held", flush=True)
    time.sleep(600)
"""


def test_publications_of_other_shards_do_not_wait_for_a_stopped_process(warehouse: Warehouse):
    locks = warehouse.folder.parent / "locks"
    name = f"catalogue of {SHARD}"
    command = [sys.executable, "-c", STOPPED, str(locks), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGSTOP)
        put(warehouse, "documents", shard="shard-00001")
        asked: list[str] = []

        def named(lock: str) -> FileLock:
            asked.append(lock)
            return FileLock(locks / f"{lock}.lock", timeout=0)

        waiting = Warehouse(warehouse.folder, warehouse.database_file, named)
        with pytest.raises(Timeout):
            put(waiting, "documents")
        # The lock is one of the caller's, which say whom they wait for.
        assert asked == [name]
        holder.kill()
    put(waiting, "documents")
    assert warehouse.query("from documents").height == 2
