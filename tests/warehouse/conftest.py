import shutil
from pathlib import Path

import pytest

from tests.warehouse.rows import fill, new_warehouse
from warehouse.warehouse import Warehouse


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory) -> Path:
    return new_warehouse(tmp_path_factory.mktemp("prepared")).folder


@pytest.fixture
def warehouse(tmp_path, prepared_folder: Path) -> Warehouse:
    """A warehouse with its files without rows, but no database file yet."""
    shutil.copytree(prepared_folder, tmp_path / "warehouse")
    return Warehouse(tmp_path / "warehouse", tmp_path / "warehouse.duckdb")


@pytest.fixture(scope="module")
def shared_warehouse(tmp_path_factory, prepared_folder: Path) -> Warehouse:
    """One warehouse per module, for tests that leave nothing behind."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(prepared_folder, home / "warehouse")
    return Warehouse(home / "warehouse", home / "warehouse.duckdb")


@pytest.fixture(scope="session")
def filled_home(tmp_path_factory, prepared_folder: Path) -> Path:
    home = tmp_path_factory.mktemp("filled")
    shutil.copytree(prepared_folder, home / "warehouse")
    fill(Warehouse(home / "warehouse", home / "warehouse.duckdb"))
    return home


@pytest.fixture
def filled(tmp_path, filled_home: Path) -> Warehouse:
    """With one row in every table."""
    shutil.copytree(filled_home, tmp_path, dirs_exist_ok=True)
    return Warehouse(tmp_path / "warehouse", tmp_path / "warehouse.duckdb")
