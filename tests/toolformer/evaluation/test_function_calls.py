"""Function calls by BFCL's rules: what it forgives, and what it does not."""

import json

import pytest

from toolformer.evaluation.function_calls import fault_of, offered_tool

PROPERTIES = {
    "n": {"type": "integer", "description": "A number."},
    "x": {"type": "float"},
    "text": {"type": "string"},
    "is_it": {"type": "boolean"},
    "names": {"type": "array", "items": {"type": "string"}},
    "sizes": {"type": "tuple", "items": {"type": "float"}},
    "place": {"type": "dict", "properties": {"city": {"type": "string"}}},
    "places": {"type": "array", "items": {"type": "dict"}},
}
FUNCTION = {
    "name": "math.all",
    "description": "Does it.",
    "parameters": {"type": "dict", "properties": PROPERTIES, "required": ["n"]},
}


def fault(arguments: dict, **wanted: list) -> str:
    calls = [{"name": "math_all", "arguments": json.dumps(arguments)}]
    return fault_of(calls, [FUNCTION], ("math.all", wanted))


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("x", 5, [5.0]),
        ("x", 5.0, [5]),
        ("text", "april-1,  2024", ["April 1, 2024"]),
        ("text", "it's", ['it"s']),
        ("is_it", True, [False, True]),
        ("n", "the_n", ["the_n"]),
        ("names", ["New York", "b"], [["newyork", "B"]]),
        ("sizes", [1.5, 2.0], [[1.5, 2]]),
        ("place", {"city": "rome"}, [{"city": ["Rome"], "land": ["Italy", ""]}]),
        ("places", [{"city": "Rome"}], [[{"city": ["Rome"]}]]),
        ("names", [], ["", ["a"]]),
    ],
)
def test_equal_values_may_be_written_otherwise(name: str, value: object, wanted: list):
    assert fault({"n": 1, name: value}, **{"n": [1], name: wanted}) == ""


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("n", 5.0, [5]),
        ("n", True, [1]),
        ("n", "5", [5]),
        ("x", "5", [5.0]),
        ("x", None, [5.0]),
        ("text", "april 2", ["April 1"]),
        ("names", ["b", "a"], [["a", "b"]]),
        ("sizes", [1], [[1.0]]),
        ("place", {"city": "Rome", "sea": "no"}, [{"city": ["Rome"]}]),
        ("place", {}, [{"city": ["Rome"]}]),
        ("places", [{"city": "Rome"}, {"city": "Rome"}], [[{"city": ["Rome"]}]]),
        ("places", ["Rome"], ["", [{"city": ["Rome"]}]]),
    ],
)
def test_other_values_and_types_are_wrong(name: str, value: object, wanted: list):
    assert fault({"n": 1, name: value}, **{"n": [1], name: wanted}) == f"wrong value: {name}"


def test_arguments_are_there_unless_they_may_be_missing():
    assert fault({"n": 1}, n=[1], x=["", 2.0]) == ""
    assert fault({"n": 1}, n=[1], x=[2.0]) == "missing argument: x"
    assert fault({"x": 2.0}, n=["", 1], x=[2.0]) == "missing argument: n"
    assert fault({"n": 1, "x": 2.0}, n=[1]) == "unexpected argument: x"
    assert fault({"n": 1, "z": 2}, n=[1], z=[2]) == "unexpected argument: z"


def test_one_call_of_the_function_is_right_or_none():
    call = {"name": "math_all", "arguments": '{"n": 1}'}
    wanted = ("math.all", {"n": [1]})
    for calls, told in (
        ([], "no call"),
        ([call, call], "several calls"),
        ([{**call, "name": "math.all"}], "another function: math.all"),
        ([{**call, "arguments": "{n"}], "arguments that are no JSON object"),
        ([{**call, "arguments": "[]"}], "arguments that are no JSON object"),
        ([call], ""),
    ):
        assert fault_of(calls, [FUNCTION], wanted) == told
    assert fault_of([], [FUNCTION], None) == ""
    assert fault_of([call], [FUNCTION], None) == "a call"


def test_functions_are_offered_with_the_types_of_json():
    offered = offered_tool(FUNCTION)["function"]
    assert offered["name"] == "math_all"
    assert offered["description"] == (
        "Does it. Note that the provided function is in Python 3 syntax."
    )
    parameters = offered["parameters"]
    assert parameters["type"] == "object"
    kinds = {name: each["type"] for name, each in parameters["properties"].items()}
    assert kinds == {
        "n": "integer",
        "x": "number",
        "text": "string",
        "is_it": "boolean",
        "names": "array",
        "sizes": "array",
        "place": "object",
        "places": "array",
    }
    assert parameters["properties"]["sizes"]["items"] == {"type": "number"}
    assert parameters["properties"]["places"]["items"] == {"type": "object"}
    assert parameters["properties"]["n"]["description"] == "A number."
    assert FUNCTION["parameters"]["type"] == "dict"
