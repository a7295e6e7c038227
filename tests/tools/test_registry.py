"""The tools by name."""

import subprocess
import sys

import pytest

from tools.errors import ToolSettingsError, UnknownToolError
from tools.registry import TOOL_NAMES, check_tool_name, create_tool


def test_the_five_tools_of_the_paper_are_registered():
    assert TOOL_NAMES == ("QA", "Calculator", "WikiSearch", "MT", "Calendar")


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Calculator", {"max_depth": 5}),
        ("Calculator", {"max_characters": 50}),
        ("Calculator", {"max_magnitude": 1e6}),
        ("Calculator", {"weak_share": 0.5}),
        ("Calculator", {"seed": 1}),
        ("Calendar", {"date_source": "published_on"}),
        ("Calendar", {"latest_date": "2024-05-03"}),
        ("MT", {"foreign_confidence": 0.9}),
        ("MT", {"model_directory": "/model"}),
    ],
)
def test_a_tool_with_other_settings_has_another_version(name, settings):
    assert create_tool(name, settings).version == create_tool(name, settings).version
    assert create_tool(name, settings).version != create_tool(name).version


@pytest.mark.parametrize(
    ("wrong", "suggestion"),
    [("Calulator", "Calculator"), ("calendar", "Calendar"), ("wiki_search", "WikiSearch")],
)
def test_an_unknown_name_gets_a_suggestion_and_the_list(wrong, suggestion):
    with pytest.raises(UnknownToolError) as caught:
        create_tool(wrong)
    assert str(caught.value) == (
        f"Unknown tool {wrong!r}. Did you mean {suggestion!r}? "
        "Available: QA, Calculator, WikiSearch, MT, Calendar."
    )
    assert isinstance(caught.value, LookupError)


def test_a_name_like_no_other_gets_no_suggestion():
    with pytest.raises(UnknownToolError, match=r"^Unknown tool 'zzzz'\. Available:"):
        check_tool_name("zzzz")


def test_a_misspelt_setting_gets_a_suggestion():
    with pytest.raises(
        ToolSettingsError, match=r"no setting 'max_dept'\. Did you mean 'max_depth'"
    ):
        create_tool("Calculator", {"max_dept": 3})


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Calculator", {"max_depth": 0}),
        ("Calculator", {"max_characters": "many"}),
        ("Calculator", {"max_magnitude": float("inf")}),
        ("Calculator", {"weak_share": 1.5}),
        ("Calendar", {"date_source": "clock"}),
        ("Calendar", {"latest_date": "yesterday"}),
        ("MT", {"beam_size": 0}),
    ],
)
def test_a_value_that_cannot_be_used_is_a_settings_error(name, settings):
    with pytest.raises(ToolSettingsError):
        create_tool(name, settings)


def test_the_registry_imports_no_tool():
    code = (
        "import sys, tools.registry\n"
        "loaded = {'tools.calculator', 'tools.calendar', 'tools.machine_translation', "
        "'tools.question_answering', 'tools.wikipedia_search'}\n"
        "sys.exit(bool(loaded & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == 0
