"""The warehouse of the home, and commands run in this process."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.corpora import write_texts
from tests.dagster_project.command_line import Outcome, run_command
from tests.dagster_project.exports import fill_for_export
from tests.warehouse.rows import new_warehouse
from toolformer.home.home import Home
from warehouse.warehouse import Warehouse

Run = Callable[..., Outcome]


@pytest.fixture
def warehouse(home: Home) -> Warehouse:
    opened = Warehouse(home.warehouse, home.database)
    opened.prepare()
    return opened


@pytest.fixture(scope="session")
def exportable(tmp_path_factory) -> Path:
    """A home with calls to export; copied, never changed."""
    root = tmp_path_factory.mktemp("exportable") / "home"
    fill_for_export(new_warehouse(root))
    return root


@pytest.fixture
def built(home: Home, warehouse: Warehouse, exportable: Path) -> Warehouse:
    """With calls to export."""
    shutil.copytree(exportable, home.root, dirs_exist_ok=True)
    return warehouse


@pytest.fixture
def run(home: Home, capsys) -> Run:
    return partial(run_command, capsys)


@pytest.fixture
def write(tmp_path) -> Callable[[str, int], Path]:
    """Writes a file of so many texts."""

    def write_file(name: str, count: int) -> Path:
        return write_texts(tmp_path / name, [f"Text {n} of {name}." for n in range(count)])

    return write_file


@pytest.fixture
def ingest(run) -> Callable[..., str]:
    """Ingest files that can be used; what is told."""

    def ingest_files(*files: object, size: int = 2) -> str:
        code, out, err = run("ingest", *files, "--shard-size", size)
        assert code == 0, err
        return out

    return ingest_files
