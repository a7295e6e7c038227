"""Warehouses that earlier code wrote are read as they were written, and counted as today.

Each folder of `tests/layouts` is one, made by `make.py` with the code that it is named after.
"""

import json
import re
import shutil
from pathlib import Path

import pytest

from warehouse.counting import layout_of
from warehouse.needs import STATISTICS_VIEWS
from warehouse.schema import tables
from warehouse.slices import stored_layout
from warehouse.warehouse import Warehouse

ROOT = Path(__file__).parents[2]
LAYOUTS = sorted(file.parent for file in (ROOT / "tests" / "layouts").glob("*/rows.json"))
# What stands there is of the files, not of their rows.
OF_FILES = {"slice_metadata", "call_provenance"}


@pytest.fixture(params=LAYOUTS, ids=lambda folder: folder.name)
def layout(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def earlier(layout: Path, tmp_path: Path) -> Warehouse:
    store = Warehouse(tmp_path / "earlier", tmp_path / "earlier.duckdb")
    shutil.copytree(layout / "warehouse", store.folder)
    # As every command does first.
    store.prepare()
    return store


def test_every_release_has_a_warehouse_here():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", changelog, re.MULTILINE)
    names = {folder.name for folder in LAYOUTS}
    assert names
    assert set(released) <= names, "PYTHONPATH=. python tests/layouts/make.py tests/layouts/VERSION"


def test_rows_of_an_earlier_layout_are_those_that_were_written(layout: Path, earlier: Warehouse):
    written = json.loads((layout / "rows.json").read_text(encoding="utf-8"))
    assert {key.split("/")[0] for key in written} == set(tables())
    for key, rows in written.items():
        table, shard, name = key.split("/")
        read = earlier.read_slice(table, shard, name)
        missing = [column for column in rows[0] if column not in read.columns]
        assert not missing, f"{table} lost {missing}: a migration has to say what becomes of it"
        found = json.loads(read.select(rows[0].keys()).write_json())
        assert _in_order(found) == _in_order(rows), key
        metadata = earlier.slice_metadata(table, shard, name)
        assert metadata is not None
        assert metadata["fingerprint"] == f"of {table}"
    assert earlier.damaged_slices() == []


def test_an_earlier_layout_is_counted_as_rows_of_today_are(earlier: Warehouse, tmp_path: Path):
    assert earlier.wrong_counts() == []
    today = Warehouse(tmp_path / "today", tmp_path / "today.duckdb")
    today.prepare()
    for table in tables():
        for info in earlier.slices(table):
            assert stored_layout(info.path) == layout_of(table)
            rows = earlier.read_slice(table, info.shard, info.name)
            today.replace_slice(table, info.shard, info.name, rows, metadata={})
    for view in STATISTICS_VIEWS:
        found, expected = earlier.view(view), today.view(view)
        assert found.height > 0, view
        if view not in OF_FILES:
            assert found.equals(expected), view
    assert earlier.query("from kept_at(0.75)").equals(today.query("from kept_at(0.75)"))


def _in_order(rows: list[dict[str, object]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)
