"""A typed tool's calls are read by its frozen parameters as by the tool."""

import enum
import json
from typing import Literal

import pytest

from tools.calculator import Calculator
from tools.errors import CallSyntaxError
from tools.protocol import Preselection
from tools.yours.frozen_parameters import frozen_parameters, thawed_parameters
from tools.yours.function_tool import FunctionTool
from tools.yours.mcp_tool import McpTool
from tools.yours.typed_arguments import Parameter, read_arguments, write_arguments


class Unit(enum.Enum):
    METRE = "m"
    FOOT = "ft"


def convert(
    amount: float,
    unit: Unit,
    digits: Literal[0, 2] = 2,
    rounds: bool = True,
    most: int = 7,
    other: Unit = Unit.FOOT,
) -> str:
    """Converts."""
    return f"{amount}{unit}{digits}{rounds}{most}{other}"


TOOL = FunctionTool.from_function(convert, version="1")
LIMITED = FunctionTool(
    name="Limited",
    description="Has limits.",
    parameters=[Parameter("share", "number", least=0, most=1), Parameter("note", "text")],
    function=str,
    version="1",
)
TEXTS = (
    *("12, m", "012.50, FT, 2", "1, m, digits=0, rounds=false", "3, ft, most=07, other=ft"),
    *("3, ft, 0, true, 7, m", "0.5, 'a, b'", "0.5, note=a", "", "2, x", "1.5, yard", "2"),
    *("1, m, digits=1", "a, b", "m, 1", "1, m, m, m, m, m, m", "1, unit='m", "1, m]"),
)


def outcome(read):
    try:
        return read()
    except CallSyntaxError as error:
        return error.reason, error.message


@pytest.mark.parametrize("tool", [TOOL, LIMITED])
@pytest.mark.parametrize("text", TEXTS)
def test_a_call_is_read_and_refused_as_by_the_tool(tool, text):
    frozen = frozen_parameters(tool)
    assert frozen is not None
    parameters = thawed_parameters(json.loads(json.dumps(frozen)))
    thawed = outcome(lambda: write_arguments(read_arguments(text, parameters), parameters))
    assert thawed == outcome(lambda: tool.parse_arguments(text))


def test_the_parameters_of_an_mcp_tool_are_those_of_its_server():
    tool = McpTool("Words", command=["server"], tool="words")
    # As if the server had told them.
    tool.__dict__["_function_tool"] = LIMITED
    assert frozen_parameters(tool) == frozen_parameters(LIMITED)


def test_a_tool_with_code_of_its_own_has_no_frozen_parameters():
    class Choosy(FunctionTool):
        def preselect(self, document):
            return Preselection(is_selected="m" in document.text, reason="has_metres")

    class Shouting(FunctionTool):
        def parse_arguments(self, text):
            return super().parse_arguments(text).upper()

    assert frozen_parameters(Calculator()) is None
    assert frozen_parameters(Choosy.from_function(convert, version="1")) is None
    assert frozen_parameters(Shouting.from_function(convert, version="1")) is None
