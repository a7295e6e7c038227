"""docs/add-a-tool.md: its code, its settings and its output are what they are said to be."""

import re

import pytest
from ruamel.yaml import YAML

from dagster_project.cli import main
from tests.conftest import REPOSITORY
from toolformer.settings.sections import merged, validated
from toolformer.settings.settings_file import preset_values
from tools.errors import ToolUnavailableError
from tools.protocol import Document
from tools.registry import create_tool

TEXT = (REPOSITORY / "docs" / "add-a-tool.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


FUNCTION, CLASS = blocks("python")
SECTION, TABLE_SECTION, MCP_SECTION = (YAML(typ="safe").load(block) for block in blocks("yaml"))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs a command with the section of the document in the settings."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "toolformer.yaml").write_text(
        f"{blocks('yaml')[0]}  UnitConverter: {{class: 'my_classes:UnitConverter'}}\n"
    )
    monkeypatch.setenv("TOOLFORMER_HOME", str(home))
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))

    def run_command(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as exited:
            main(list(arguments))
        return int(exited.value.code or 0), capsys.readouterr().out

    return run_command


def test_the_settings_of_the_document_are_valid():
    settings = validated(merged(preset_values("laptop"), SECTION), origin="the document")
    assert settings.tools.targets == {"BodyMassIndex": "my_tools:BodyMassIndex"}
    assert settings.tools.of("BodyMassIndex").filtering_threshold == 0.5


def test_the_table_of_the_document_answers(tmp_path):
    settings = validated(merged(preset_values("laptop"), TABLE_SECTION), origin="the document")
    (tmp_path / "facts.csv").write_text(
        "subject,relation,object\nBarack Obama,place of birth,Honolulu\n"
    )
    options = {**settings.tools.of("Facts").options, "folder": str(tmp_path)}
    tool = create_tool("Facts", options, targets=settings.tools.targets)
    (call,) = re.findall(r"`Facts\(([^`]*)\)`", TEXT)
    assert tool.call(tool.parse_arguments(call), Document("", "")) == "Honolulu"


def test_the_mcp_settings_of_the_document_name_the_server_that_is_not_there():
    pytest.importorskip("mcp", reason="needs the extra `mcp`")
    settings = validated(merged(preset_values("laptop"), MCP_SECTION), origin="the document")
    with pytest.raises(ToolUnavailableError, match=r"/path/to/server\.py"):
        create_tool(
            "CountWords",
            dict(settings.tools.of("CountWords").options),
            targets=settings.tools.targets,
        )


@pytest.mark.slow
def test_what_the_document_prints_is_what_is_printed(run, outside):
    outside.module("my_tools", FUNCTION)
    (block,) = (block for block in blocks("console") if "toolformer tools try" in block)
    for session in block.split("$ toolformer ")[1:]:
        command, _, printed = session.partition("\n")
        arguments = re.findall(r'"([^"]*)"|(\S+)', command)
        _, out = run(*(quoted or plain for quoted, plain in arguments))
        assert out.strip().splitlines() == printed.strip().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "code", "tool"),
    [("my_tools", FUNCTION, "BodyMassIndex"), ("my_classes", CLASS, "UnitConverter")],
)
def test_the_tools_of_the_document_pass_the_contract_test(run, outside, module, code, tool):
    if "import pint" in code:
        pytest.importorskip("pint", reason="pint is not installed: pip install pint")
    outside.module(module, code)
    code, out = run("tools", "check", tool)
    assert code == 0, out
    assert "6 passed, 0 failed, 0 skipped" in out
