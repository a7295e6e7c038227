"""A warehouse says which layout it has; one of another layout is refused."""

import hashlib
from pathlib import Path

import pytest

from tests.warehouse.rows import put
from warehouse.connection import MACROS
from warehouse.counting import COUNTS, counts_text
from warehouse.errors import LayoutError
from warehouse.layout import LAYOUT_FILE, LAYOUT_VERSION
from warehouse.schema import tables
from warehouse.warehouse import Warehouse

DIGEST_OF_VERSION_1 = "e582653fa8ae5947"


def test_columns_or_counts_of_partitions_change_only_with_the_version():
    columns = [
        f"{name}.{column.name} {column.type}"
        for name, table in tables().items()
        for column in table.columns
    ]
    stored = "\n".join([*columns, *map(counts_text, COUNTS), *MACROS])
    digest = hashlib.sha256(stored.encode()).hexdigest()[:16]
    assert (LAYOUT_VERSION, digest) == (1, DIGEST_OF_VERSION_1), (
        "Put the digest here. If a release has written the version before, raise LAYOUT_VERSION, "
        "but not for a column that may be NULL."
    )


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
