import subprocess
import sys
import time

import pytest

from warehouse.warehouse import Warehouse

WRITERS = 4
ROWS = 400
REPLACEMENTS = 12

# Every version of a slice has the same layout, which is the hardest case: nothing but the
# values tells an old file from a new one.
WRITER = f"""
import pathlib, sys, time
from tests.warehouse.rows import frame
from warehouse.warehouse import Warehouse
home, number = pathlib.Path(sys.argv[1]), int(sys.argv[2])
warehouse = Warehouse(home / "warehouse", home / "warehouse.duckdb")
shard = f"shard-{{number:05d}}"
for version in range({REPLACEMENTS}):
    rows = frame(
        "documents",
        *(
            {{"document_id": f"{{shard}}-{{n}}", "shard": shard, "source_offset": version + 10,
             "title": str(version + 10)}}
            for n in range({ROWS})
        ),
    )
    warehouse.replace_slice("documents", shard, "all", rows, metadata={{"version": str(version)}})
    time.sleep(0.05)
"""


@pytest.mark.slow
def test_reader_sees_whole_versions_while_four_processes_replace_slices(
    warehouse: Warehouse,
) -> None:
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
        found = warehouse.query(
            "select shard, count(*) as n, count(distinct document_id) as ids, "
            "min(source_offset) as low, max(source_offset) as high, "
            "min(title) as first, max(title) as last from documents group by shard"
        )
        for shard, count, ids, low, high, first, last in found.rows():
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
    assert warehouse.damaged_slices() == []
    assert list(warehouse.folder.rglob("*.tmp")) == []
