"""Tools made of typed functions."""

import enum
import functools
import importlib
import inspect
import sys
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Annotated, Literal, Optional

import numpy
import pandas
import pytest
from pydantic import Field, ImportString

from tests.outside import Outside
from tools.errors import CallSyntaxError, ToolCallError, ToolSettingsError
from tools.plugins.function_tool import FunctionTool
from tools.plugins.user_files import is_user_code
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
    assert [parameter.type for parameter in tool.parameters] == [
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


OWN_FILES = {
    "own_tool.py": """
from typing import Annotated

import own_package.used
from own_units import *
from own_rates import RATE

LIMITS = {"metre": 5}

def convert(miles: Annotated[float, "long"]) -> float:
    'Converts miles.'
    from own_package import late
    return min(miles * RATE, LIMITS["metre"])
""",
    "own_units.py": "FACTOR = 1.609\n",
    "own_rates.py": "import os, math\nimport own_missing\nRATE = 1.5\n",
    "own_package/__init__.py": "MOST = 7\n",
    "own_package/used.py": "from .deep import shapes\nSIDES = 2\n",
    "own_package/deep/shapes.py": "from .. import MOST\nCORNERS = 3\n",
    "own_package/late.py": "from . import used, broken\nLAST = '\\d4'\n",
    "own_package/broken.py": "what is this?\n",
    "own_package/other.py": "LIMIT = 1\n",
}


@pytest.fixture
def version_of(tmp_path, monkeypatch):
    """Gives the version of `own_tool.convert`, of files in a folder of their own."""
    folders = iter("abcdef")

    def version(files, imported=()):
        folder = tmp_path / next(folders)
        for name in [name for name in sys.modules if name.startswith("own_")]:
            monkeypatch.delitem(sys.modules, name)
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(folder)
            patch.setitem(sys.modules, "own_missing", ModuleType("own_missing"))
            for name in imported:
                importlib.import_module(name)
            return FunctionTool.from_function(importlib.import_module("own_tool").convert).version

    return version


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("own_tool.py", "5", "6"),
        ("own_tool.py", "LIMITS = ", "# Metres.\nLIMITS = "),
        ("own_rates.py", "1.5", "2.5"),
        ("own_units.py", "1.609", "1.61"),
        ("own_package/__init__.py", "7", "8"),
        ("own_package/used.py", "2", "3"),
        ("own_package/deep/shapes.py", "3", "4"),
        ("own_package/late.py", "4", "5"),
        ("own_package/broken.py", "?", "!"),
    ],
)
def test_the_users_files_that_a_functions_file_imports_are_part_of_its_version(
    version_of, file, old, new
):
    before = version_of(OWN_FILES)
    assert version_of(OWN_FILES) == before
    changed = OWN_FILES[file].replace(old, new)
    assert changed != OWN_FILES[file]
    assert version_of({**OWN_FILES, file: changed}) != before


def test_what_other_tools_import_is_no_part_of_a_functions_version(version_of):
    before = version_of(OWN_FILES)
    other = {**OWN_FILES, "own_package/other.py": "LIMIT = 2\n"}
    assert version_of(other, ["own_package.other", "own_package.deep.shapes"]) == before


def test_files_that_are_exchanged_are_another_version(version_of):
    files = {**OWN_FILES, "own_package/late.py": "", "own_package/deep/shapes.py": "A = 1\n"}
    exchanged = {**files, "own_package/late.py": "A = 1\n", "own_package/deep/shapes.py": ""}
    assert version_of(files) != version_of(exchanged)


@pytest.mark.parametrize(
    ("changed", "is_another"), [("own_dist/rates.py", True), ("dep.py", False)]
)
def test_of_installed_packages_only_that_of_the_function_counts(
    outside: Outside, monkeypatch, changed, is_another
):
    folder = outside.folder / "site-packages"
    (folder / "own_dist").mkdir(parents=True)
    (folder / "own_dist/__init__.py").write_text(
        "from own_dist import rates\nimport dep\n\ndef f(x: int) -> int:\n    'Adds.'\n"
    )
    for name in ("own_dist/rates.py", "dep.py"):
        (folder / name).write_text("RATE = 1\n")
    monkeypatch.syspath_prepend(folder)
    function = importlib.import_module("own_dist").f
    before = FunctionTool.from_function(function).version
    (folder / changed).write_text("RATE = 2\n")
    assert (FunctionTool.from_function(function).version != before) == is_another


def test_the_file_that_makes_a_tool_is_part_of_its_version(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_lib.py").write_text(
        "def times(rate):\n    def f(x: float) -> float:\n        'Converts.'\n"
        "        return x * rate\n    return f\n"
    )
    versions = set()
    for rate in ("1.9", "2.5"):
        file = tmp_path / f"own_maker_{rate[0]}.py"
        file.write_text(
            "import own_lib\nfrom tools.plugins.function_tool import FunctionTool\n"
            f"TOOL = FunctionTool.from_function(own_lib.times({rate}))\n"
        )
        versions.add(importlib.import_module(file.stem).TOOL.version)
    assert len(versions) == 2


def test_code_of_packages_is_nobodys_own_wherever_they_lie():
    for module in (enum, pytest, importlib):
        file = inspect.getfile(module)
        assert not is_user_code(file)
        assert not is_user_code(str(Path(file).resolve()))
    assert not is_user_code("/usr/lib/python3/dist-packages/yaml/__init__.py")
    assert is_user_code("/home/somebody/my_tools.py")


def test_the_version_is_that_of_files_where_none_is_given():
    def first(x: int) -> int:
        """Adds."""
        return x + 1

    def second(x: int) -> int:
        """Adds."""
        return x + 2

    tools = [FunctionTool.from_function(each) for each in (first, first, second)]
    assert tools[0].version == tools[1].version != tools[2].version
    # Sampled calls outlive a change of the function.
    assert tools[0].sampling_version == tools[2].sampling_version != made_of(paint).sampling_version
    namespace: dict = {}
    exec("def f(x: int) -> int:\n    'Adds.'\n    return x", namespace)
    with pytest.raises(ToolSettingsError, match="Pass one with `version=`"):
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


@functools.cache
def letters(word: str, times: int = 1) -> int:
    """Counts the letters of a word."""
    return len(word) * times


def test_functions_behind_a_cache_and_with_given_values_are_read_through():
    tool = made_of(letters)
    assert (tool.name, tool.description) == ("letters", "Counts the letters of a word.")
    before = letters.cache_info().hits
    assert [tool.call("mill, 2", DOCUMENT) for _ in range(2)] == ["8", "8"]
    assert letters.cache_info().hits == before + 1
    twice = made_of(functools.partial(letters, times=2), name="Twice")
    assert twice.description == tool.description
    assert (twice.call("mill", DOCUMENT), twice.call("mill, times=3", DOCUMENT)) == ("8", "12")
    assert FunctionTool.from_function(letters).version.startswith("files ")


async def later(word: str) -> str:
    """Says a word."""
    return word


@pytest.mark.parametrize("answer", [object(), [object()], (x for x in "a"), paint, {1, 2}])
def test_an_answer_without_a_text_of_its_own_is_an_error_of_the_tool(answer):
    def give() -> object:
        """Gives."""
        return answer

    with pytest.raises(TypeError, match="differs in each process"):
        answer_of(give)


def test_an_optional_parameter_that_no_call_can_give_is_left_out_and_named():
    def count(word: str, tags: list[str] | None = None, more: dict[str, int] = {}) -> int:  # noqa: B006
        """Counts."""
        return len(word) + len(tags or more)

    tool = made_of(count)
    assert [parameter.name for parameter in tool.parameters] == ["word"]
    assert tool.omitted_arguments == ["tags", "more"]
    assert tool.call("mill, oak", DOCUMENT) == "9"


def untyped(x) -> str:
    """Has no type."""
    return x


def imported(x: ImportString) -> str:  # pyright: ignore[reportMissingTypeArgument]
    """Would import what a model wrote."""
    return str(x)


def maybe_imported(x: ImportString | None = None) -> str:  # pyright: ignore[reportMissingTypeArgument]
    """Would import what a model wrote."""
    return str(x)


def nested(x: list[int]) -> str:
    """Takes a list."""
    return str(x)


def unknown(x: "Nothing") -> str:  # noqa: F821  # pyright: ignore
    """Takes nothing known."""
    return str(x)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (untyped, "parameter x of the function untyped has no type"),
        (imported, "cannot be written in a call"),
        (maybe_imported, "cannot be written in a call"),
        (nested, "parameter x of the function nested: the schema .* cannot be written in a call"),
        (unknown, "cannot be read"),
        (lambda: "x", "has no docstring"),
        (later, "asynchronous"),
        (functools.partial(later), "asynchronous"),
        (Decimal, "not a Python function"),
    ],
)
def test_a_function_that_cannot_be_called_from_text_is_refused(function, message):
    with pytest.raises(ToolSettingsError, match=f"(?i){message}"):
        made_of(function)
