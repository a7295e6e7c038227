"""The warehouse of the home, and commands run in this process."""

from collections.abc import Callable
from functools import partial

import pytest

from tests.dagster_project.command_line import Outcome, run_command
from tests.dagster_project.exports import fill_for_export
from toolformer.home.home import Home
from warehouse.warehouse import Warehouse

Run = Callable[..., Outcome]


@pytest.fixture
def warehouse(home: Home) -> Warehouse:
    opened = Warehouse(home.warehouse, home.database)
    opened.prepare()
    return opened


@pytest.fixture
def built(warehouse: Warehouse) -> Warehouse:
    """With calls to export."""
    return fill_for_export(warehouse)


@pytest.fixture
def run(home: Home, capsys) -> Run:
    return partial(run_command, capsys)
