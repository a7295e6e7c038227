"""Function calls by the rules of the Berkeley Function-Calling Leaderboard (BFCL) for Python.

Types and values are compared with its leniency: an integer for a float, texts without case, blanks
and `,./-_*^`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

# All other types of its schemas are texts.
_TYPES: dict[str, type] = {"integer": int, "float": float, "boolean": bool, "dict": dict}
_TYPES |= {"array": list, "tuple": list}
_JSON_TYPES = {"float": "number", "dict": "object", "tuple": "array", "any": "string"}
_UNREAD = re.compile(r"[ ,./\-_*^]")
_NOTE = "Note that the provided function is in Python 3 syntax."


def offered_tool(function: Mapping[str, Any]) -> dict[str, Any]:
    """A function of BFCL as OpenAI's `tools` have it: no dots in its name, types of JSON."""
    name, told = function["name"].replace(".", "_"), f"{function['description']} {_NOTE}"
    offered = {
        "name": name,
        "description": told,
        "parameters": _json_schema(function["parameters"]),
    }
    return {"type": "function", "function": offered}


def fault_of(
    calls: Sequence[Mapping[str, str]],
    functions: Sequence[Mapping[str, Any]],
    wanted: tuple[str, Mapping[str, Sequence[Any]]] | None,
) -> str:
    """What is wrong with the calls of an answer; nothing where they are right.

    Args:
        calls: each with `name` and `arguments`, as OpenAI has them.
        functions: as BFCL has them.
        wanted: name of the one call that is right, and by argument the values that are; `""` is
            one where it may be missing. None where no call is right.
    """
    if wanted is None or len(calls) != 1:
        return ("" if wanted is None else "no call", "a call", "several calls")[min(len(calls), 2)]
    name, values = wanted
    if calls[0]["name"] != name.replace(".", "_"):
        return f"another function: {calls[0]['name']}"
    try:
        given = {**json.loads(calls[0]["arguments"])}
    except (TypeError, ValueError):
        return "arguments that are no JSON object"
    (schema,) = (each["parameters"] for each in functions if each["name"] == name)
    needed = [each for each in values if "" not in values[each]]
    for each in (*schema.get("required", ()), *needed):
        if each not in given:
            return f"missing argument: {each}"
    for each, value in given.items():
        if each not in values or each not in schema["properties"]:
            return f"unexpected argument: {each}"
        if not _is_right(value, schema["properties"][each], values[each]):
            return f"wrong value: {each}"
    return ""


def _json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    kind = schema.get("type", "any")
    changed = {**schema, "type": _JSON_TYPES.get(kind, kind)}
    if "items" in schema:
        changed["items"] = _json_schema(schema["items"])
    if "properties" in schema:
        parts = schema["properties"].items()
        changed["properties"] = {name: _json_schema(part) for name, part in parts}
    return changed


def _is_right(value: Any, schema: Mapping[str, Any], wanted: Sequence[Any]) -> bool:
    kind = _TYPES.get(schema["type"], str)
    if kind is float and type(value) is int:
        value = float(value)
    told = _type_of(wanted, kind)
    if type(value) is not kind or told is not kind:
        # The name of a variable, say, where the function takes a number.
        return type(value) in (kind, told) and value in wanted
    if kind is dict:
        return any(_is_right_object(value, each) for each in wanted)
    if kind is not list:
        return _plain(value) in map(_plain, wanted)
    inner = _TYPES.get(schema.get("items", {}).get("type", ""), str)
    if not any(
        isinstance(each, str) or all(type(part) in (inner, _type_of(each, inner)) for part in value)
        for each in wanted
    ):
        return False
    if inner is dict:
        fitting = (each for each in wanted if len(each) == len(value))
        return any(all(map(_is_right_object, value, each)) for each in fitting)
    return [*map(_plain, value)] in ([*map(_plain, each)] for each in wanted)


def _type_of(wanted: Sequence[Any], otherwise: type) -> type:
    return next((type(each) for each in wanted if each != ""), otherwise)


def _is_right_object(value: Any, wanted: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(wanted, dict):
        return False
    return value.keys() <= wanted.keys() and all(
        _plain(value[name]) in map(_plain, each) if name in value else "" in each
        for name, each in wanted.items()
    )


def _plain(value: Any) -> Any:
    return _UNREAD.sub("", value).lower().replace("'", '"') if isinstance(value, str) else value
