import errno
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import writing_beside
from toolformer.base import atomic_files
from toolformer.base.atomic_files import (
    atomic_folder,
    remove_abandoned,
    replacing,
    write_atomically,
)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
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


def test_what_a_killed_process_left_is_told_from_what_a_living_one_writes(tmp_path):
    with writing_beside(tmp_path / "file") as path:
        remove_abandoned(tmp_path.iterdir())
        assert path.read_text() == "half"
    remove_abandoned([path])
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    target, flushed = tmp_path / "file", []
    monkeypatch.setattr(
        atomic_files, "flush", lambda path: flushed.append((path == tmp_path, target.exists()))
    )
    write_atomically(target, "new")
    # Its bytes, then its name.
    assert flushed == [(False, False), (True, True)]


@pytest.fixture
def export(tmp_path) -> Path:
    """A folder with an old file, alone."""
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "old").write_text("old")
    return tmp_path / "export"


def test_a_folder_takes_the_place_of_an_older_one(export: Path):
    with atomic_folder(export) as folder:
        (folder / "data").mkdir()
        (folder / "data" / "new").write_text("new")
    assert [path.name for path in export.parent.iterdir()] == ["export"]
    assert [path.name for path in export.rglob("*")] == ["data", "new"]


KILLED_BETWEEN_RENAMES = """
import os, signal, sys
from pathlib import Path
from toolformer.base.atomic_files import atomic_folder
with atomic_folder(Path(sys.argv[1])) as folder:
    rename = Path.rename
    def rename_and_end(path, target):
        rename(path, target)
        os.kill(os.getpid(), signal.SIGKILL)
    Path.rename = rename_and_end
"""


def test_a_kill_between_the_two_renames_loses_no_folder(export: Path):
    subprocess.run([sys.executable, "-c", KILLED_BETWEEN_RENAMES, export], check=False)
    assert not export.exists()
    remove_abandoned(export.parent.glob("*.tmp"))
    assert [path.name for path in export.parent.iterdir()] == ["export"]
    assert [path.name for path in export.iterdir()] == ["old"]


@pytest.mark.parametrize("fails_at", ["filling", "renaming"])
def test_a_folder_that_fails_leaves_the_old_one_and_nothing_else(
    export: Path, monkeypatch, fails_at: str
):
    rename, renamed = Path.rename, []

    def refuse_second(path: Path, other: Path) -> Path:
        renamed.append(path)
        if len(renamed) == 2:
            raise OSError(errno.EACCES, "Permission denied")
        return rename(path, other)

    def fill() -> None:
        with atomic_folder(export) as folder:
            (folder / "new").write_text("new")
            if fails_at == "filling":
                raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse_second)
    with pytest.raises(OSError, match="Permission"):
        fill()
    assert [path.name for path in export.parent.iterdir()] == ["export"]
    assert [path.name for path in export.iterdir()] == ["old"]
