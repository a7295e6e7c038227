"""The tools by name."""

import subprocess
import sys

import pytest

from tools.errors import ToolSettingsError, UnknownToolError
from tools.registry import create_tool


@pytest.mark.parametrize(
    ("name", "settings", "error"),
    [
        ("Calulator", {}, UnknownToolError),
        ("Calculator", {"max_dept": 3}, ToolSettingsError),
        ("Calculator", {"max_depth": 0}, ToolSettingsError),
        ("Calculator", {"max_magnitude": float("inf")}, ToolSettingsError),
        ("Calculator", {"weak_share": 1.5}, ToolSettingsError),
        ("Calendar", {"date_source": "clock"}, ToolSettingsError),
        ("Calendar", {"latest_date": "yesterday"}, ToolSettingsError),
    ],
)
def test_a_name_or_setting_that_cannot_be_used_is_an_error(name, settings, error):
    with pytest.raises(error):
        create_tool(name, settings)


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(UnknownToolError, match="Did you mean 'WikiSearch'"):
        create_tool("wiki_search")


def test_the_registry_imports_no_tool():
    code = (
        "import sys, tools.registry\n"
        "loaded = {'tools.calculator', 'tools.calendar', 'tools.machine_translation', "
        "'tools.question_answering', 'tools.wikipedia_search'}\n"
        "sys.exit(bool(loaded & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == 0
