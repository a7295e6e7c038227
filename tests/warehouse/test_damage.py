from pathlib import Path

import pytest

from tests.warehouse.rows import SHARD, TEXT, frame
from warehouse.errors import DamagedSliceError, SliceNotFoundError
from warehouse.warehouse import Warehouse


@pytest.fixture
def slice_file(warehouse: Warehouse) -> Path:
    rows = frame("documents", *({"document_id": f"d{n}", "url": str(n * n)} for n in range(500)))
    warehouse.replace_slice("documents", SHARD, "all", rows, metadata={})
    [info] = warehouse.slices("documents")
    return info.path


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def emptied(content: bytes) -> bytes:
    return b""


def without_last_byte(content: bytes) -> bytes:
    return content[:-1]


def replaced_by_text(content: bytes) -> bytes:
    return b"This is not a Parquet file." * 20


def zeroed_inside(content: bytes) -> bytes:
    return content[:60] + bytes(100) + content[160:]


DAMAGES = [truncated, emptied, without_last_byte, replaced_by_text, zeroed_inside]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_slice_is_named_with_the_remedy_by_every_reader(
    warehouse: Warehouse, slice_file: Path, damage
) -> None:
    slice_file.write_bytes(damage(slice_file.read_bytes()))
    for read in (
        lambda: warehouse.query(
            "select max(document_id), max(url) as u, max(text) as t from documents"
        ),
        lambda: warehouse.read_slice("documents", SHARD, "all"),
        lambda: warehouse.read_slices("documents", SHARD),
    ):
        with pytest.raises(DamagedSliceError) as caught:
            read()
        assert str(slice_file) in str(caught.value)
        assert "toolformer doctor --repair" in str(caught.value)
    assert warehouse.damaged_slices() == [slice_file]


def test_metadata_of_a_truncated_slice_names_the_file(
    warehouse: Warehouse, slice_file: Path
) -> None:
    slice_file.write_bytes(truncated(slice_file.read_bytes()))
    with pytest.raises(DamagedSliceError, match=r"all\.parquet"):
        warehouse.slice_metadata("documents", SHARD, "all")


def test_view_over_a_damaged_table_names_the_slice(warehouse: Warehouse, slice_file: Path) -> None:
    slice_file.write_bytes(truncated(slice_file.read_bytes()))
    with pytest.raises(DamagedSliceError, match=r"all\.parquet"):
        warehouse.query("select * from call_funnel")


def test_other_tables_are_readable_beside_a_damaged_slice(
    warehouse: Warehouse, slice_file: Path
) -> None:
    slice_file.write_bytes(truncated(slice_file.read_bytes()))
    assert warehouse.query("select * from candidate_calls").height == 0


def test_intact_slices_are_not_called_damaged(warehouse: Warehouse, slice_file: Path) -> None:
    assert slice_file.exists()
    assert warehouse.damaged_slices() == []


def test_set_aside_slice_makes_the_table_readable_again(
    warehouse: Warehouse, slice_file: Path
) -> None:
    rows = frame("documents", {"shard": "shard-00001"})
    warehouse.replace_slice("documents", "shard-00001", "all", rows, metadata={})
    slice_file.write_bytes(truncated(slice_file.read_bytes()))
    for number, name in enumerate(["all.parquet", "all-2.parquet"]):
        target = warehouse.set_aside(slice_file)
        assert target.name == name
        assert target.is_file()
        assert not target.is_relative_to(warehouse.folder)
        assert warehouse.query("select text from documents")["text"].to_list() == [TEXT]
        assert warehouse.damaged_slices() == []
        if number == 0:
            slice_file.write_bytes(b"")


def test_damaged_zero_row_slice_is_found_and_made_again(warehouse: Warehouse) -> None:
    empty = warehouse.folder / "documents" / "shard=none" / "empty.parquet"
    empty.write_bytes(b"PAR1")
    with pytest.raises(DamagedSliceError, match=r"empty\.parquet"):
        warehouse.query("select * from documents")
    assert warehouse.damaged_slices() == [empty]
    warehouse.set_aside(empty)
    assert warehouse.query("select * from documents").height == 0


def test_prepare_makes_a_damaged_zero_row_slice_again(warehouse: Warehouse) -> None:
    (warehouse.folder / "documents" / "shard=none" / "empty.parquet").write_bytes(b"PAR1")
    warehouse.prepare()
    assert warehouse.query("select * from documents").height == 0


def test_prepare_names_a_damaged_slice_only_when_it_has_to_read_it(
    warehouse: Warehouse, slice_file: Path
) -> None:
    warehouse.prepare()
    slice_file.write_bytes(b"")
    warehouse.prepare()
    warehouse.database_file.unlink()
    with pytest.raises(DamagedSliceError, match=r"all\.parquet"):
        warehouse.prepare()


def test_file_outside_the_warehouse_is_not_set_aside(warehouse: Warehouse, tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    other.write_text("mine")
    with pytest.raises(SliceNotFoundError, match=r"other\.parquet"):
        warehouse.set_aside(other)
    assert other.exists()
