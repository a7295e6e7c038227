"""What `--output` names: a new place, or for the report the page of an earlier one."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from warehouse.warehouse import Warehouse

pytestmark = pytest.mark.slow

OTHERS: dict[str, Callable[[Path], object]] = {
    "a named pipe": os.mkfifo,
    "a link": lambda path: path.symlink_to(path.with_name("linked")),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a device": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    "a folder": lambda path: (path / "data").mkdir(parents=True),
}


@pytest.fixture
def place(tmp_path) -> Path:
    (tmp_path / "linked").write_text("years of work")
    return tmp_path / "output"


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_file_is_never_replaced(built: Warehouse, run, place: Path, kind: str):
    try:
        OTHERS[kind](place)
    except PermissionError:
        pytest.skip("only root makes devices")
    before = place.lstat()
    for command in (("report",), *(("export", form) for form in ("sft", "dataset"))):
        assert run(*command, "--output", place).is_one_paragraph_naming(f"'{place}' ")
    after = place.lstat()
    assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)
    assert (place.parent / "linked").read_text() == "years of work"


def test_a_file_that_is_no_earlier_report_is_kept(built: Warehouse, run, place: Path):
    for content in ("<html>my page</html>", "{}"):
        place.write_text(content)
        outcome = run("report", "--output", place)
        assert outcome.is_one_paragraph_naming("so it is not replaced")
        assert place.read_text() == content
    place.write_text("")
    assert run("report", "--output", place).code == 0
    first = place.read_bytes()
    assert run("report", "--output", place).code == 0
    assert place.stat().st_size == len(first)
