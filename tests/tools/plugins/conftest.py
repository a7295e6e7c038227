from typing import Any

import pytest

from tests.tools.plugins.tables import FACTS
from tools.plugins.table_tool import TableTool


@pytest.fixture
def make(tmp_path):
    """Makes a tool of a table, given as text of a file or as a query."""

    def make_tool(content=FACTS, name="facts.csv", **settings: Any):
        table = content
        if name is not None:
            (tmp_path / name).write_bytes(
                content if isinstance(content, bytes) else content.encode()
            )
            table = name
        given: dict[str, Any] = {"key": ["subject", "relation"], "values": ["object"], **settings}
        return TableTool("Facts", table, folder=str(tmp_path), **given)

    return make_tool
