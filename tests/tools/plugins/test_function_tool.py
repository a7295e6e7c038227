"""Tools made of typed functions and of JSON schemas."""

import enum
import importlib
import inspect
import sys
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Optional

import numpy
import pandas
import pytest
from pydantic import Field, ImportString

from tools.errors import CallSyntaxError, ToolCallError, ToolSettingsError
from tools.plugins.function_tool import FunctionTool
from tools.plugins.plugins import is_own_code
from tools.prompting import load_prompt
from tools.protocol import Document

DOCUMENT = Document("d", "a text")


class Shade(enum.Enum):
    """Shades of a colour."""

    LIGHT = "light"
    DARK = "dark"


def paint(
    colour: str,
    times: int = 1,
    strength: Annotated[float, Field(gt=0, le=1)] = 0.5,
    glossy: bool = False,
    shade: Shade = Shade.LIGHT,
    tool: Literal["brush", "roller"] = "brush",
    name: str | None = None,
    place: Optional[Annotated[str, "where"]] = None,  # noqa: UP045
) -> str:
    """Paints something
    in a colour.

    Not part of the description.
    """
    return f"{colour} {times} {strength} {glossy} {shade} {tool} {name} {place}"


def made_of(function, **options):
    return FunctionTool.from_function(function, **{"version": "1", **options})


def answer_of(function, arguments=""):
    return made_of(function).call(arguments, DOCUMENT)


def test_name_description_and_types_come_from_the_function():
    tool = made_of(paint)
    assert tool.name == "paint"
    assert tool.description == "Paints something in a colour."
    assert [parameter.plain_type for parameter in tool.parameters] == [
        *(str, int, float, bool),
        *(Literal["light", "dark"], Literal["brush", "roller"], str, str),
    ]
    assert [parameter.is_required for parameter in tool.parameters] == [True, *[False] * 7]
    arguments = tool.parse_arguments("red, 02, 0.750, true, DARK, roller, name='x, y', place=hall")
    assert arguments == 'red, 2, 0.75, true, dark, roller, name="x, y", place=hall'
    assert tool.call(arguments, DOCUMENT) == "red 2 0.75 True Shade.DARK roller x, y hall"
    assert tool.parse_arguments("red, 1, strength=0.5") == "red"
    assert tool.call("red", DOCUMENT) == "red 1 0.5 False Shade.LIGHT brush None None"
    for strength in ("0", "1.5"):
        with pytest.raises(CallSyntaxError):
            tool.parse_arguments(f"red, 1, {strength}")


def test_the_prompt_is_drafted_from_the_description_and_examples():
    examples = [f"It became [paint({colour})] {colour}." for colour in ("red", "blue", "green")]
    prompt = load_prompt("paint", own=made_of(paint, examples=examples).prompt)
    assert "Paints something in a colour." in prompt
    assert '"[paint(colour, times, strength, glossy, shade, tool, name, place)]"' in prompt
    assert "Input: It became red.\nOutput: It became [paint(red)] red.\n" in prompt
    assert made_of(paint).prompt is None


OWN_FUNCTION = """
from functools import lru_cache
import math
import own_rates
from own_units import factor as per_mile

def convert(miles: float) -> float:
    '''Converts miles.'''
    return math.floor(rounded(miles) * per_mile() * own_rates.RATE)

@lru_cache
def rounded(value):
    return round(value, 2)

def unused():
    return 1
"""
OWN_UNITS = """
def factor():
    return inner() * 1.0

def inner():
    return 1.609

def unused():
    return 1
"""


@pytest.mark.parametrize(
    ("file", "old", "new", "is_another"),
    [
        ("own_tool.py", "round(value, 2)", "round(value, 3)", True),
        ("own_units.py", "inner() * 1.0", "inner() * 2.0", True),
        # Named by what is named; a constant of a module.
        ("own_units.py", "1.609", "1.61", True),
        ("own_rates.py", "1.5", "2.5", True),
        ("own_tool.py", "return 1\n", "return 2\n", False),
        ("own_units.py", "return 1\n", "return 2\n", False),
    ],
)
def test_own_functions_and_modules_that_a_function_names_are_part_of_its_version(
    tmp_path, monkeypatch, file, old, new, is_another
):
    files = {"own_tool.py": OWN_FUNCTION, "own_units.py": OWN_UNITS, "own_rates.py": "RATE = 1.5\n"}

    def version(folder: str) -> str:
        for name, content in files.items():
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_text(content)
            monkeypatch.delitem(sys.modules, name.removesuffix(".py"), raising=False)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(tmp_path / folder)
            return FunctionTool.from_function(importlib.import_module("own_tool").convert).version

    before = version("before")
    assert version("copy") == before
    assert old in files[file]
    files[file] = files[file].replace(old, new)
    assert (version("after") != before) == is_another


OWN_PACKAGE = {
    "own_package/__init__.py": "",
    "own_package/used.py": "from own_package.shapes import Square\n",
    "own_package/other.py": "LIMIT = 1\n",
    "own_package/shapes.py": """
class Shape:
    SIDES = 3

class Square(Shape):
    @classmethod
    def area(cls, side):
        return scaled(side * side)

def scaled(value):
    return value * 2
""",
    "own_area.py": """
import own_package.used

def area(side: float) -> float:
    'Gives the area of a square.'
    return own_package.used.Square.area(side)
""",
}


def test_what_a_function_names_in_a_package_of_ones_own_is_part_of_its_version(
    tmp_path, monkeypatch
):
    def version(folder: str, *imported: str, **changed: str) -> str:
        for name in [name for name in sys.modules if name.startswith(("own_package", "own_area"))]:
            monkeypatch.delitem(sys.modules, name)
        for name, content in OWN_PACKAGE.items():
            file = tmp_path / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            for old, new in changed.items():
                content = content.replace(old, new)
            file.write_text(content)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(tmp_path / folder)
            for name in imported:
                importlib.import_module(name)
            return FunctionTool.from_function(importlib.import_module("own_area").area).version

    before = version("before")
    # Of a base, of what a method of the class names, and of what only another tool imports.
    assert version("base", SIDES="CORNERS") != before
    assert version("scaled", value="number") != before
    assert version("imported", "own_package.other") == before
    assert version("other", "own_package.other", LIMIT="MOST") == before


def test_code_of_packages_is_nobodys_own_wherever_they_lie():
    for module in (enum, pytest, importlib):
        file = inspect.getfile(module)
        assert not is_own_code(file)
        assert not is_own_code(str(Path(file).resolve()))
    assert not is_own_code("/usr/lib/python3/dist-packages/yaml/__init__.py")
    assert is_own_code("/home/somebody/my_tools.py")


def test_the_version_is_that_of_the_source_where_none_is_given():
    def first(x: int) -> int:
        """Adds."""
        return x + 1

    def second(x: int) -> int:
        """Adds."""
        return x + 2

    versions = [FunctionTool.from_function(each).version for each in (first, first, second)]
    assert versions[0] == versions[1] != versions[2]
    namespace: dict = {}
    exec("def f(x: int) -> int:\n    'Adds.'\n    return x", namespace)
    with pytest.raises(ToolSettingsError, match="Give one with `version=`"):
        FunctionTool.from_function(namespace["f"])
    assert answer_of(namespace["f"], "5") == "5"


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (42, "42"),
        (42.0, "42"),
        (0.1 + 0.2, "0.3"),
        (12345678901.5, "12345678901.5"),
        (-0.0, "0"),
        (1e30, "1e+30"),
        (Decimal("1.50"), "1.50"),
        (ValueError("x"), "value_error"),
        (ZeroDivisionError("x"), "zero_division_error"),
        (ToolCallError("own_reason", "x"), "own_reason"),
        (None, "no_answer"),
        (float("nan"), "no_answer"),
        (float("-inf"), "no_answer"),
        (numpy.float32("nan"), "no_answer"),
        (pandas.NA, "no_answer"),
        (pandas.NaT, "no_answer"),
        (Decimal("sNaN"), "no_answer"),
        ("nan", "nan"),
    ],
)
def test_what_a_function_returns_becomes_text_or_a_reason(returned, expected):
    def give() -> object:
        """Gives."""
        if isinstance(returned, Exception):
            raise returned
        return returned

    try:
        found = answer_of(give)
    except ToolCallError as error:
        found = error.reason
    assert found == expected


def untyped(x) -> str:
    """Has no type."""
    return x


def imported(x: ImportString) -> str:  # pyright: ignore[reportMissingTypeArgument]
    """Would import what a model wrote."""
    return str(x)


def unknown(x: "Nothing") -> str:  # noqa: F821  # pyright: ignore
    """Takes nothing known."""
    return str(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (untyped, "cannot be written in a call"),
        (imported, "cannot be written in a call"),
        (unknown, "cannot be read"),
        (lambda: "x", "has no docstring"),
    ],
)
def test_a_function_that_cannot_be_called_from_text_is_refused(function, message):
    with pytest.raises(ToolSettingsError, match=f"(?i){message}"):
        made_of(function)


WEATHER = {
    "type": "object",
    "$defs": {"Size": {"enum": ["S", "L"]}},
    "properties": {
        "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "city": {"type": "string", "description": "Name of a city."},
        "size": {"$ref": "#/$defs/Size"},
        "lost": {"$ref": "#/$defs/Nowhere"},
        "days": {"type": ["integer", "null"], "minimum": 1, "maximum": 14},
        "from": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
    },
    "required": ["city"],
}


def test_a_json_schema_becomes_a_tool():
    options = {
        "description": "Says how the weather is.",
        "schema": WEATHER,
        "function": lambda **values: ", ".join(f"{n}={value!r}" for n, value in values.items()),
        "version": "1",
    }
    tool = FunctionTool(name="weather", **options)
    assert [parameter.name for parameter in tool.parameters] == [
        *("city", "unit", "size", "days", "from"),
    ]
    assert tool.parameters[2].type == Literal["S", "L"]
    assert tool.parse_arguments("Oslo, C, days=07") == "Oslo, days=7"
    assert tool.call("Oslo, F, days=7, from='May, 3'", DOCUMENT) == (
        "city='Oslo', unit='F', days=7, from='May, 3'"
    )
    assert tool.call("Oslo", DOCUMENT) == "city='Oslo'"
    with pytest.raises(CallSyntaxError, match="days"):
        tool.parse_arguments("Oslo, C, days=15")
    with pytest.raises(ToolSettingsError, match="give it another with `name=`"):
        FunctionTool(name="the weather", **options)
