"""What `--output` names: a new place, or what the same command wrote there earlier."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.dagster_project.exports import fill_for_export
from warehouse.warehouse import Warehouse

pytestmark = pytest.mark.slow

OTHERS: dict[str, Callable[[Path], object]] = {
    "a named pipe": os.mkfifo,
    "a link": lambda path: path.symlink_to(path.with_name("linked")),
    "a device": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    "a folder": Path.mkdir,
}
COMMANDS = (
    ("report",),
    ("explain", "a1", "--no-model"),
    ("export", "sft", "--force"),
    ("export", "duckdb", "--force"),
    ("export", "dataset", "--force"),
)


@pytest.fixture
def built(warehouse: Warehouse) -> Warehouse:
    return fill_for_export(warehouse)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "linked").write_text("years of work")
    return tmp_path / "output"


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_file_is_never_replaced(built: Warehouse, run, place: Path, kind: str):
    try:
        OTHERS[kind](place)
    except PermissionError:
        pytest.skip("only root makes devices")
    if kind == "a folder":
        (place / "chapter.tex").touch()
    before = place.lstat()
    for command in COMMANDS:
        assert run(*command, "--output", place).is_one_paragraph_naming(f"'{place}' ")
    after = place.lstat()
    assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)
    assert (place.parent / "linked").read_text() == "years of work"


@pytest.mark.parametrize("command", COMMANDS[:4], ids=" ".join)
def test_a_file_that_is_no_earlier_one_is_kept(
    built: Warehouse, run, place: Path, command: tuple[str, ...]
):
    for content in ("<html>my page</html>", '{"text": "mine"}\n', "DUCK", "12345678DUCKxyz", "{}"):
        place.write_text(content)
        assert run(*command, "--output", place).is_one_paragraph_naming("so it is not replaced")
        assert place.read_text() == content
    place.write_text("")
    assert run(*command, "--output", place).code == 0
    first = place.read_bytes()
    assert run(*command, "--output", place).code == 0
    assert place.stat().st_size == len(first)


def test_a_database_with_tables_of_the_users_is_kept(built: Warehouse, run, place: Path):
    assert run("export", "duckdb", "--output", place).code == 0
    assert run("export", "duckdb", "--output", place, "--force").code == 0
    with duckdb.connect(str(place)) as connection:
        connection.execute("create table my_labels as select 1 as label")
    outcome = run("export", "duckdb", "--output", place, "--force")
    assert outcome.is_one_paragraph_naming("so it is not replaced")
    with duckdb.connect(str(place), read_only=True) as connection:
        assert connection.sql("select label from my_labels").fetchall() == [(1,)]


def own_project(folder: Path) -> None:
    folder.mkdir()
    (folder / "README.md").write_text("# My thesis")
    (folder / "data").mkdir()
    (folder / "data" / "measurements.csv").write_text("1,2")


def own_dataset(folder: Path) -> None:
    own_project(folder)
    (folder / "data" / "measurements.csv").unlink()
    (folder / "data" / "augmented_texts").mkdir()
    (folder / "data" / "augmented_texts" / "part-0.parquet").write_text("rows")


def only_data(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)


@pytest.mark.parametrize("make", [own_project, own_dataset, only_data])
def test_a_folder_of_the_users_with_a_readme_and_data_is_kept(
    built: Warehouse, run, place: Path, make: Callable[[Path], None]
):
    make(place)
    before = {path: path.is_dir() or path.read_bytes() for path in place.rglob("*")}
    outcome = run("export", "dataset", "--output", place, "--force")
    assert outcome.is_one_paragraph_naming("replaces earlier exports only")
    assert {path: path.is_dir() or path.read_bytes() for path in place.rglob("*")} == before


def linked(folder: Path) -> Path:
    link = folder / "data" / "kept_calls" / "part-7.parquet"
    link.symlink_to(folder.parent / "linked")
    return link


def labelled(folder: Path) -> Path:
    (folder / "data" / "labels.csv").write_text("1")
    return folder / "data" / "labels.csv"


def described(folder: Path) -> Path:
    (folder / "README.md").write_text("# My own words")
    return folder / "README.md"


@pytest.mark.parametrize("change", [linked, labelled, described])
def test_an_export_to_which_files_were_added_is_kept(
    built: Warehouse, run, place: Path, change: Callable[[Path], Path]
):
    assert run("export", "dataset", "--output", place).code == 0
    assert run("export", "dataset", "--output", place, "--force").code == 0
    added = change(place)
    outcome = run("export", "dataset", "--output", place, "--force")
    assert outcome.is_one_paragraph_naming("replaces earlier exports only")
    assert added.exists()
