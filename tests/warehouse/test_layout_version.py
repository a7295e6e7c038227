"""A warehouse says which layout it has; one of another layout is refused."""

from pathlib import Path

import pytest

from tests.warehouse.rows import put
from warehouse.errors import LayoutError
from warehouse.layout import LAYOUT_FILE, LAYOUT_VERSION
from warehouse.warehouse import Warehouse


def test_partitions_do_not_appear_without_the_layout(tmp_path: Path):
    warehouse = Warehouse(tmp_path / "warehouse", tmp_path / "warehouse.duckdb")
    put(warehouse, "documents")
    assert (warehouse.folder / LAYOUT_FILE).read_text() == f"{LAYOUT_VERSION}\n"


def test_another_layout_and_partitions_without_one_are_refused(warehouse: Warehouse):
    (warehouse.folder / LAYOUT_FILE).write_text("7\n")
    with pytest.raises(LayoutError, match="version 7"):
        Warehouse(warehouse.folder, warehouse.database_file)
    put(warehouse, "documents")
    (warehouse.folder / LAYOUT_FILE).unlink()
    with pytest.raises(LayoutError, match="version none"):
        Warehouse(warehouse.folder, warehouse.database_file)
