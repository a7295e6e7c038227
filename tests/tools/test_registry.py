"""The tools by name."""

import subprocess
import sys

import pytest

from tools.errors import ToolSettingsError, UnknownToolError
from tools.registry import create_tool


@pytest.mark.parametrize(
    ("name", "settings", "error", "word"),
    [
        ("wiki_search", {}, UnknownToolError, "Did you mean 'WikiSearch'"),
        ("Calculator", {"decimal": 3}, ToolSettingsError, "'decimal'. Its.* decimals, seed"),
        ("Calculator", {"decimals": 1}, ToolSettingsError, "decimals"),
        ("Calculator", {"weak_share": float("inf")}, ToolSettingsError, "weak_share"),
        ("Calendar", {"date_source": "clock"}, ToolSettingsError, "date_source"),
        ("Calendar", {"latest_date": "yesterday"}, ToolSettingsError, "latest_date"),
        ("QA", {"retriever": None}, ToolSettingsError, "missing a required argument: 'reader'"),
    ],
)
def test_a_name_or_setting_that_cannot_be_used_is_named(name, settings, error, word):
    with pytest.raises(error, match=word):
        create_tool(name, settings)


def test_listing_tools_imports_none_of_them(outside):
    outside.module("echo_module", "raise RuntimeError('imported')")
    code = f"""
import sys
sys.path[:] = {[str(outside.folder), *sys.path]!r}
from tools.registry import check_tool_name, tool_names
targets = {{"Echo": "echo_module:Echo"}}
assert "Echo" in tool_names(targets)
check_tool_name("Echo", targets=targets)
names = "calculator calendar machine_translation question_answering wikipedia_search".split()
assert not {{"echo_module", *map("tools.{{}}".format, names)}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
