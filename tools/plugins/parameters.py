"""Reads the parameters of a function from the JSON schema of its arguments.

Pydantic writes the schema of a Python function. A call can only give texts, numbers, booleans and
choices. Optional parameters that are objects or lists are left out; required ones are an error.
"""

import enum
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaError

from tools.errors import ToolSettingsError
from tools.plugins.typed_arguments import LIMITS, Parameter

_TYPES = {"string": str, "integer": int, "number": float, "boolean": bool}
# Keywords on which the merged parts of a parameter's schema must agree.
_UNIQUE_KEYWORDS = frozenset({"type", "enum", "const", "anyOf", "oneOf", *LIMITS})
# Stops the resolution of circular references.
_MAX_DEPTH = 16


def parameters_of_schema(schema: object, tool_name: str) -> list[Parameter]:
    """Return the parameters that can be written in calls, required ones first."""
    root = _flat(schema, schema)
    properties, required = root.get("properties") or {}, root.get("required") or []
    if (
        root.get("type", "object" if "properties" in root else None) != "object"
        or not isinstance(properties, Mapping)
        or not all(isinstance(each, Mapping | bool) for each in properties.values())
        or not isinstance(required, list)
        or not all(isinstance(name, str) for name in required)
    ):
        raise ToolSettingsError(
            f"The parameters of {tool_name} are {schema!r}. Expected a JSON schema of `type: "
            "object` with `properties`, and with a list of names as `required`."
        )
    alternatives = [each for key in ("anyOf", "oneOf") for each in root.get(key, ())]
    named = {*required, *(name for each in alternatives for name in each.get("properties") or ())}
    if undefined := sorted(named - properties.keys()):
        raise ToolSettingsError(
            f"The schema of {tool_name} names {', '.join(undefined)} outside its `properties`. "
            "Expected all parameters in `properties`."
        )
    parameters = []
    for name, parameter_schema in properties.items():
        is_required = name in required
        try:
            flat = _flat(parameter_schema, schema)
            kind, limits = _type_of(flat)
            parameters.append(Parameter(name, kind, is_required, flat.get("default"), limits))
        except ToolSettingsError as error:
            if is_required:
                raise ToolSettingsError(f"The parameter {name} of {tool_name}: {error}") from error
    return sorted(parameters, key=lambda parameter: not parameter.is_required)


def omitted_arguments(schema: object, parameters: Iterable[Parameter]) -> list[str]:
    """Return the names of a schema's optional parameters that cannot be written in calls."""
    written = {parameter.name for parameter in parameters}
    return [name for name in _flat(schema, schema).get("properties") or () if name not in written]


def schema_of_function(function: Callable[..., object], shown: str) -> dict[str, Any]:
    """Return the JSON schema of a function's arguments; ToolSettingsError if it is unusable."""
    try:
        hints = typing.get_type_hints(function)
        schema = TypeAdapter[object](function).json_schema()  # pyright: ignore[reportArgumentType]
    except (PydanticUserError, SchemaError, NameError, TypeError, ValueError) as error:
        raise ToolSettingsError(
            f"The annotations of the function {shown} cannot be read: {error}. Expected a "
            "function whose parameters are str, int, float, bool, a Literal or an Enum."
        ) from error
    for name in schema.get("properties", {}):
        if name not in hints:
            raise ToolSettingsError(
                f"The parameter {name} of the function {shown} has no type. Expected str, int, "
                "float, bool, a Literal or an Enum."
            )
    for parameter in parameters_of_schema(schema, f"the function {shown}"):
        if not _is_writable(hint := hints[parameter.name]):
            raise ToolSettingsError(
                f"The parameter {parameter.name} of the function {shown}: the type {hint!r} cannot "
                "be written in a call. Expected str, int, float, bool, a Literal or an Enum."
            )
    return schema


def _is_writable(annotation: object) -> bool:
    """Return whether pydantic makes a plain value of the type; `ImportString` would import code."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return all(map(_is_writable, typing.get_args(annotation)))
    is_enum = isinstance(annotation, type) and issubclass(annotation, enum.Enum)
    is_plain = annotation in (types.NoneType, *_TYPES.values())
    return is_enum or is_plain or typing.get_origin(annotation) is Literal


def _flat(schema: object, whole: object, depth: int = 0) -> dict[str, Any]:
    """Return a schema after merging in its `$ref`, `allOf` and only alternative to null."""
    if depth > _MAX_DEPTH:
        raise ToolSettingsError("the schema refers to itself, or is nested too deeply.")
    own = dict(schema) if isinstance(schema, Mapping) else {}
    parts = [_at(own.pop("$ref"), whole)] if "$ref" in own else []
    parts = [_flat(each, whole, depth + 1) for each in [*parts, *_list(own.pop("allOf", ()))]]
    for key in ("anyOf", "oneOf"):
        others = [_flat(each, whole, depth + 1) for each in _list(own.pop(key, ()))]
        others = [each for each in others if each.get("type") != "null"]
        choices = [_choices(each) for each in others]
        if len(others) == 1:
            parts += others
        elif others and None not in choices:
            own["enum"] = [choice for each in choices for choice in each or ()]
        elif others:
            own[key] = others
    names = [name for name in _list(own.get("type")) if name != "null"]
    if len(names) == 1:
        own["type"] = names[0]
    for part in parts:
        _merge(own, part)
    return own


def _merge(own: dict[str, Any], part: Mapping[str, Any]) -> None:
    for key, value in part.items():
        mine = own.setdefault(key, value)
        if key == "properties" and isinstance(mine, Mapping) and isinstance(value, Mapping):
            both = {name: {"allOf": [mine[name], value[name]]} for name in mine if name in value}
            own[key] = {**mine, **value, **both}
        elif key == "required":
            own[key] = [*_list(mine), *_list(value)]
        elif key in _UNIQUE_KEYWORDS and mine != value:
            raise ToolSettingsError(f"its parts have both {mine!r} and {value!r} as `{key}`.")


def _at(reference: object, whole: object) -> object:
    """Resolve a JSON pointer (RFC 6901) into the schema."""
    beginning, *path = str(reference).split("/")
    try:
        found: Any = {"#": whole}[beginning]
        for part in path:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            found = found[int(name)] if isinstance(found, list) else found[name]
    except (LookupError, TypeError, ValueError) as error:
        raise ToolSettingsError(
            f"the reference {reference!r} leads to nothing in the schema. Expected one such as "
            "'#/$defs/Unit'."
        ) from error
    return found


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _choices(schema: Mapping[str, Any]) -> list[Any] | None:
    choices = [schema["const"]] if "const" in schema else schema.get("enum")
    return choices if isinstance(choices, list) else None


def _type_of(schema: Mapping[str, Any]) -> tuple[object, dict[str, float]]:
    """Return the Python type or Literal of a schema, and the limits of a number."""
    if (choices := _choices(schema)) is not None:
        return Literal[tuple(choice for choice in choices if choice is not None)], {}
    kind = _TYPES.get(str(schema.get("type")))
    if kind is None:
        raise ToolSettingsError(
            f"the schema {dict(schema)!r} cannot be written in a call. Expected a type of "
            f"{', '.join(_TYPES)}, or an enum."
        )
    limits = {key: schema[key] for key in LIMITS if type(schema.get(key)) in (int, float)}
    return kind, limits if kind in (int, float) else {}
