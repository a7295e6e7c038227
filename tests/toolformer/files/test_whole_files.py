import errno
from pathlib import Path

import pytest

from toolformer.files.whole_files import replacing, replacing_folder


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    target = tmp_path / "file.duckdb"
    target.write_text("old")

    def write() -> None:
        with replacing(target) as temporary:
            temporary.write_text("new")
            # DuckDB's log, which it cannot write out on a full disk.
            temporary.with_name(f"{temporary.name}.wal").write_text("log")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write()
    assert [file.name for file in tmp_path.iterdir()] == ["file.duckdb"]
    assert target.read_text() == "old"


def test_a_folder_takes_the_place_of_an_older_one(tmp_path: Path):
    target = tmp_path / "export"
    target.mkdir()
    (target / "old").write_text("old")
    with replacing_folder(target) as folder:
        (folder / "data").mkdir()
        (folder / "data" / "new").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert [path.name for path in target.rglob("*")] == ["data", "new"]


def test_a_folder_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path):
    target = tmp_path / "export"
    target.mkdir()
    (target / "old").write_text("old")

    def fill() -> None:
        with replacing_folder(target) as folder:
            (folder / "new").write_text("new")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fill()
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert (target / "old").read_text() == "old"


def test_the_old_folder_comes_back_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    target = tmp_path / "export"
    target.mkdir()
    (target / "old").write_text("old")
    renamed = []

    def refuse_second(path: Path, other: Path) -> Path:
        renamed.append(path)
        if len(renamed) == 2:
            raise OSError(errno.EACCES, "Permission denied")
        return rename(path, other)

    rename = Path.rename
    monkeypatch.setattr(Path, "rename", refuse_second)
    with pytest.raises(OSError, match="Permission"), replacing_folder(target) as folder:
        (folder / "new").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert (target / "old").read_text() == "old"
