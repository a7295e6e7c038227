"""Tools made of JSON schemas."""

from typing import Literal

import pytest

from tools.errors import CallSyntaxError, ToolSettingsError
from tools.plugins.function_tool import FunctionTool
from tools.plugins.parameters import parameters_of_schema
from tools.protocol import Document

DOCUMENT = Document("d", "a text")


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
        *("city", "unit", "size", "days", "from")
    ]
    assert tool.omitted_arguments == ["tags", "lost"]
    assert tool.parameters[2].type == Literal["S", "L"]
    assert tool.parse_arguments("Oslo, C, days=07") == "Oslo, days=7"
    assert tool.call("Oslo, F, days=7, from='May, 3'", DOCUMENT) == (
        "city='Oslo', unit='F', days=7, from='May, 3'"
    )
    assert tool.call("Oslo", DOCUMENT) == "city='Oslo'"
    with pytest.raises(CallSyntaxError, match="days"):
        tool.parse_arguments("Oslo, C, days=15")
    with pytest.raises(ToolSettingsError, match="Give it another name with `name=`"):
        FunctionTool(name="the weather", **options)


TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "types"),
    [
        # pydantic 1 and OpenAPI: an enum with a default.
        ({"$ref": "#/definitions/Unit"}, Literal["C", "F"]),
        ({"allOf": [{"$ref": "#/definitions/Unit"}], "default": "C"}, Literal["C", "F"]),
        ({"allOf": [{"type": "integer"}, {"minimum": 1}]}, (int, {"minimum": 1})),
        # zod: the first place of an instance that is used twice.
        ({"$ref": "#/properties/first"}, str),
        ({"$ref": "#/definitions/a~1b%20c/anyOf/0"}, int),
        ({"anyOf": [{"$ref": "#/definitions/Again"}, {"type": "null", "description": "x"}]}, str),
        (
            {"oneOf": [{"const": "x"}, {"enum": ["y", "z"]}, {"const": None}]},
            Literal["x", "y", "z"],
        ),
        ({"type": ["string", "null"], "anyOf": [TEXT, {"type": "null"}]}, str),
        # FastMCP, which is pydantic 2.
        (
            {"anyOf": [{"$ref": "#/definitions/Unit"}, {"type": "null"}], "title": "U"},
            Literal["C", "F"],
        ),
        ({"anyOf": [{"type": "array", "items": TEXT}, {"type": "null"}]}, None),
        ({"type": ["string", "null"], "enum": ["x", None]}, Literal["x"]),
        ({"type": "integer", "enum": [1, 2]}, Literal[1, 2]),
        ({"const": True}, Literal[True]),
        ({"$ref": "#/definitions/Tree"}, None),
        ({"type": ["string", "integer"]}, None),
        ({"anyOf": [TEXT, {"type": "integer"}]}, None),
        ({"$ref": "#/properties/second"}, None),
        ({"$ref": "file:other.json#/Unit"}, None),
        ({"$ref": "#/definitions/Nowhere"}, None),
        ({"allOf": [TEXT, {"type": "integer"}]}, None),
        ({"enum": [{}, []]}, None),
        (True, None),
    ],
)
def test_a_parameter_is_what_its_references_and_parts_say_or_is_left_out(schema, types):
    whole = {
        "type": "object",
        "properties": {"first": TEXT, "second": schema},
        "definitions": {
            "Unit": {"type": "string", "enum": ["C", "F"]},
            "Again": {"$ref": "#/properties/first"},
            "Tree": {"type": "object", "properties": {"next": {"$ref": "#/definitions/Tree"}}},
            "a/b c": {"anyOf": [{"type": "integer"}]},
        },
    }
    first, *others = parameters_of_schema({**whole, "required": ["first"]}, "T")
    assert first.type is str
    found = [(each.type, each.limits) if each.limits else each.type for each in others]
    assert found == ([] if types is None else [types])
    if types is None:
        with pytest.raises(ToolSettingsError, match="The parameter second of T: "):
            parameters_of_schema({**whole, "required": ["second"]}, "T")


A, B = ({"properties": {name: TEXT}, "required": [name]} for name in "ab")


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", **A}}}, ["a"]),
        ({"type": "object", "allOf": [A, B]}, ["a", "b"]),
        ({"type": "object", "allOf": [A, A], "properties": {"c": TEXT}}, ["a", "c"]),
        ({"type": "object", "anyOf": [A]}, ["a"]),
        ({"type": "object", **A, "anyOf": [{"required": ["a"]}, {"required": []}]}, ["a"]),
        ({"type": "object", "anyOf": [A, B]}, "names a, b outside"),
        ({"type": "object", **A, "required": ["a", "z"]}, "names z outside"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "type: object"),
        ({"type": "object", "properties": ["a"]}, "type: object"),
        ({"type": "object", "properties": {"a": None}}, "type: object"),
        ({"type": "object", "$ref": "file:a.json"}, "leads to nothing"),
        ({"$ref": "#"}, "refers to itself"),
        (None, "type: object"),
    ],
)
def test_parameters_are_found_wherever_a_schema_has_them_or_it_is_refused(schema, names):
    if isinstance(names, str):
        with pytest.raises(ToolSettingsError, match=names):
            parameters_of_schema(schema, "T")
    else:
        found = parameters_of_schema(schema, "T")
        assert sorted(parameter.name for parameter in found) == names
