from contextlib import closing
from typing import Any

import pytest

from tests.tools.plugins.mcp_raw_server import RawServer
from tests.tools.plugins.tables import FACTS
from tools.plugins.mcp_tool import McpTool
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


@pytest.fixture
def server():
    with closing(RawServer()) as raw:
        yield raw


@pytest.fixture
def words(server):
    """Makes tools of the server and ends their connections."""
    made = []

    def make_tool(tool="count", **settings):
        made.append(McpTool("Words", tool, **{"url": server.url, **settings}))
        return made[-1]

    yield make_tool
    for tool in made:
        tool.close()
