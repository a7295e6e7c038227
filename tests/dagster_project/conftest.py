"""An empty home that commands find, its warehouse, and commands run in this process."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from dagster_project.home import Home
from tests.dagster_project.command_line import Outcome, run_command
from tests.fakes import save_tiny_model
from warehouse.warehouse import Warehouse

Run = Callable[..., Outcome]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    root = tmp_path / "home"
    monkeypatch.setenv("TOOLFORMER_HOME", str(root))
    monkeypatch.setenv("DAGSTER_HOME", str(root / "dagster"))
    return Home(root)


@pytest.fixture
def warehouse(home: Home) -> Warehouse:
    opened = Warehouse(home.warehouse, home.database)
    opened.prepare()
    return opened


@pytest.fixture
def run(home: Home, capsys: pytest.CaptureFixture[str]) -> Run:
    return partial(run_command, capsys)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model; copied, never changed."""
    # A letter is a token, and a prompt has hundreds.
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", context_length=2048)
