"""A warehouse says which layout it has; one of another layout is refused."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.warehouse.rows import put
from warehouse import layout
from warehouse.errors import LayoutError
from warehouse.layout import LAYOUT_FILE, layout_version
from warehouse.schema import ColumnSchema
from warehouse.warehouse import Warehouse


def test_partitions_do_not_appear_without_the_layout(tmp_path):
    warehouse = Warehouse(tmp_path / "warehouse", tmp_path / "warehouse.duckdb")
    put(warehouse, "documents")
    assert (warehouse.folder / LAYOUT_FILE).read_text() == f"{layout_version()}\n"


def test_another_layout_and_partitions_without_one_are_refused(warehouse: Warehouse):
    (warehouse.folder / LAYOUT_FILE).write_text("7\n")
    with pytest.raises(LayoutError, match=r"version 7.*toolformer.yaml.*sources.*labels.jsonl"):
        Warehouse(warehouse.folder, warehouse.database_file)
    with pytest.raises(LayoutError, match="version 7"):
        put(warehouse, "documents")
    (warehouse.folder / LAYOUT_FILE).unlink()
    put(warehouse, "documents")
    (warehouse.folder / LAYOUT_FILE).unlink()
    with pytest.raises(LayoutError, match="version none"):
        Warehouse(warehouse.folder, warehouse.database_file)


@pytest.fixture
def other_columns(monkeypatch) -> Iterator[None]:
    known = dict(layout.tables())
    prompts = known["prompts"]
    column = ColumnSchema("mood", "varchar", is_required=False, description="")
    known["prompts"] = replace(prompts, columns=(*prompts.columns, column))
    with monkeypatch.context() as patch:
        patch.setattr(layout, "tables", lambda: known)
        layout_version.cache_clear()
        yield
    layout_version.cache_clear()


def test_a_warehouse_of_other_columns_is_refused_before_anything_is_read(
    warehouse: Warehouse, other_columns: None
):
    """Also by a machine whose project is of another state than that which wrote it."""
    with pytest.raises(LayoutError, match="other columns"):
        Warehouse(warehouse.folder, warehouse.database_file)
