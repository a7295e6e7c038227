import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from filelock import FileLock, Timeout

from tests.conftest import REPOSITORY
from tests.warehouse.rows import PARTITIONS, SHARD, frame, put, remove_partition
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import open_warehouse
from warehouse.catalogue import Entry
from warehouse.errors import StorageError
from warehouse.layout import catalogue_file
from warehouse.publishing import Publisher
from warehouse.warehouse import Warehouse

OF_SHARD = [(table, name) for table, (shard, name) in PARTITIONS.items() if shard == SHARD]
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
        with pytest.raises(StorageError, match="was not published: the file is missing"):
            put(warehouse, "documents", {"title": "after"})
    else:
        put(warehouse, "documents", {"title": "after"})
    expected = "before" if is_swept else "after"
    assert warehouse.query("select title from documents").item() == expected
    assert warehouse.damage() == {}


def test_a_file_that_another_machine_removed_is_not_published_while_nfs_still_lists_it(
    warehouse: Warehouse, monkeypatch
):
    """A laptop that slept: its cached attributes are of before, and only `open` asks the server."""
    put(warehouse, "documents", {"title": "before"})
    publish, genuine = Publisher.publish, Path.stat
    stale: dict[Path, os.stat_result] = {}

    def slept(publisher: Publisher, made: Mapping[str, Sequence[Entry]]) -> None:
        [path] = [warehouse.folder / str(entry.path(SHARD)) for entry in made[SHARD]]
        stale[path] = path.stat()
        path.unlink()
        monkeypatch.setattr(Path, "stat", lambda of, **how: stale.get(of) or genuine(of, **how))
        publish(publisher, made)

    monkeypatch.setattr(Publisher, "publish", slept)
    with pytest.raises(StorageError, match="was not published: the file is missing"):
        put(warehouse, "documents", {"title": "after"})
    monkeypatch.undo()
    assert warehouse.query("select title from documents").item() == "before"


def test_nothing_that_cannot_be_removed_fails_a_publication(warehouse: Warehouse):
    """Folders of a file server, files of another user, and files that NFS holds open."""
    path = made_long_ago(warehouse, "old")
    for name in ("@eaDir", ".nfs00000001"):
        path.with_name(name).mkdir()
        os.utime(path.with_name(name), (0, 0))
    put(warehouse, "documents", {"title": "new"})
    warehouse.sweep({SHARD})
    assert warehouse.query("select title from documents").item() == "new"


def test_nothing_accumulates(tmp_path):
    home = Home(tmp_path)
    warehouse = open_warehouse(home)
    for number in range(6):
        for shard in (SHARD, "shard-00001"):
            rows = {key: (frame(*key[:1], {"shard": shard}), {shard: {}}) for key in OF_SHARD}
            warehouse.replace_partitions(rows)
        put(warehouse, "prompts")
        if number % 3 == 2:
            warehouse.retire(SHARD)
            put(warehouse, "documents", {"title": "As by a run that did not notice."})
            warehouse.restore(SHARD)
    # What killed writers leave: a file before its rename, one after it, and a catalogue.
    [file] = [info.path for info in warehouse.partitions("documents", SHARD)]
    file.with_name("all-0123456789abcdef.parquet.tmp").touch()
    file.with_name("all-0123456789abcdef.parquet").touch()
    Path(f"{catalogue_file(warehouse.folder, SHARD)}.0123456789abcdef.tmp").touch()
    for path in warehouse.folder.rglob("*"):
        os.utime(path, (0, 0))
    warehouse.sweep({SHARD, "shard-00001", "all"})
    found = {path for path in warehouse.folder.rglob("*") if path.is_file()}
    empty = set(warehouse.folder.glob("*/shard=none/*.parquet"))
    named = {info.path for info in warehouse.partitions()}
    catalogues = {f"{key}.json" for key in (SHARD, "shard-00001", "all", "none")}
    others = {warehouse.folder / "catalogue" / name for name in catalogues}
    assert found == named | empty | others | {warehouse.folder / "layout-version"}
    assert list((tmp_path / "locks").iterdir()) == []


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


HOLDER = """
import sys, time
from pathlib import Path
from toolformer.home.home import Home
with Home(Path(sys.argv[1])).output_lock(sys.argv[2]):
    print("held", flush=True)
    time.sleep(600)
"""
PUBLISHER = """
import signal, sys
# It is ignored in what a shell starts in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from tests.warehouse.rows import put
from toolformer.home.home import Home
from toolformer.home.wiring.workspace import open_warehouse
put(open_warehouse(Home(Path(sys.argv[1]))), "documents")
"""


def test_a_publication_says_which_stopped_process_it_waits_for_and_can_be_interrupted(tmp_path):
    home = open_warehouse(Home(tmp_path)).folder.parent
    name = f"catalogue of {SHARD}"

    @contextmanager
    def started(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-c", code, str(home), *map(str, arguments)]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, cwd=REPOSITORY, stdout=pipe, stderr=pipe, text=True
        ) as process:
            try:
                yield process
            finally:
                # A stopped one, or one that waits for it, would never end.
                process.kill()

    with started(HOLDER, name) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGSTOP)
        with started(PUBLISHER) as publisher:
            assert publisher.stderr is not None
            told = publisher.stderr.readline()
            assert told == f"waiting for another run (process {holder.pid}) to release {name}\n"
            publisher.send_signal(signal.SIGINT)
            assert publisher.wait(10) != 0
    with started(PUBLISHER) as publisher:
        assert publisher.wait() == 0
    assert open_warehouse(Home(tmp_path)).query("from documents").height == 1
    assert list((home / "locks").iterdir()) == []
