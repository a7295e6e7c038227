"""What a function takes, read from the JSON schema of its arguments.

The schema of a Python function comes from pydantic, which reads its annotations. Only what can be
written between the brackets of a call: text, numbers, truth values and choices.
"""

import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import Field, TypeAdapter
from pydantic.errors import PydanticUserError

from tools.errors import ToolSettingsError
from tools.plugins.typed_arguments import Parameter

_TYPES = {"string": str, "integer": int, "number": float, "boolean": bool}
_LIMITS = {"minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le", "exclusiveMaximum": "lt"}
# What is read of a parameter's schema.
_READ = frozenset({"type", "enum", "const", "anyOf", "oneOf", *_LIMITS})
# References and alternatives within each other; one that leads to itself has no end.
_DEEPEST = 16


def parameters_of_schema(schema: object, tool_name: str) -> list[Parameter]:
    """Read the parameters of a function from the JSON schema of its arguments.

    References within the schema and parts of it (`allOf`) are resolved.

    Returns:
        Required ones first; optional ones that cannot be written in calls are left out.

    Raises:
        ToolSettingsError: When the schema is of another form, or a required parameter cannot be
            written in calls.
    """
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
    alternatives = [
        _flat(each, schema) for key in ("anyOf", "oneOf") for each in _list(root.get(key))
    ]
    named = {*required, *(name for each in alternatives for name in each.get("properties") or ())}
    if nowhere := sorted(named - properties.keys()):
        raise ToolSettingsError(
            f"The schema of {tool_name} asks for {', '.join(nowhere)} outside of its `properties`. "
            "Expected all parameters there."
        )
    parameters = []
    for name, parameter_schema in properties.items():
        is_required = name in required
        try:
            flat_schema = _flat(parameter_schema, schema)
            default = flat_schema.get("default")
            parameters.append(Parameter(name, _type_of(flat_schema), is_required, default))
        except ToolSettingsError as error:
            if is_required:
                raise ToolSettingsError(f"The parameter {name} of {tool_name}: {error}") from error
    return sorted(parameters, key=lambda parameter: not parameter.is_required)


def left_out(schema: Mapping[str, Any], parameters: Iterable[Parameter]) -> list[str]:
    """The names of those optional parameters of a schema that cannot be written in calls."""
    written = {parameter.name for parameter in parameters}
    return [name for name in _flat(schema, schema).get("properties") or () if name not in written]


def schema_of_function(function: Callable[..., object], shown: str) -> dict[str, Any]:
    """The JSON schema of a function's arguments, read from its annotations.

    Raises:
        ToolSettingsError: When a parameter has no type or one that cannot be written in calls, or
            cannot be given by name.
    """
    try:
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise ToolSettingsError(
                    f"The function {shown} has the parameter {parameter}. Expected parameters "
                    "that can be given by name; wrap the function in one that has only such."
                )
            annotation = typing.get_type_hints(function).get(parameter.name)
            if annotation is not None and not _is_writable(annotation):
                raise ToolSettingsError(
                    f"The parameter {parameter.name} of the function {shown}: the type "
                    f"{annotation!r} cannot be written in a call. Expected str, int, float, bool, "
                    "a Literal or an Enum."
                )
        adapter = TypeAdapter[object](function)  # pyright: ignore[reportArgumentType]
        schema = adapter.json_schema()
    except ToolSettingsError:
        raise
    except (PydanticUserError, NameError, TypeError, ValueError) as error:
        raise ToolSettingsError(
            f"The annotations of the function {shown} cannot be read: {error}. Expected a "
            "function whose parameters are str, int, float, bool, a Literal or an Enum."
        ) from error
    # Also the optional ones: none of them is left out without a word.
    required = [*schema.get("properties", {})]
    parameters_of_schema({**schema, "required": required}, f"the function {shown}")
    return schema


def _is_writable(annotation: object) -> bool:
    """Whether pydantic makes a plain value of it, and imports nothing that a call names."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return all(kind is types.NoneType or _is_writable(kind) for kind in arguments)
    is_enum = isinstance(annotation, type) and issubclass(annotation, enum.Enum)
    return is_enum or typing.get_origin(annotation) is Literal or annotation in _TYPES.values()


def _flat(schema: object, whole: object, depth: int = 0) -> Mapping[str, Any]:
    """A schema with what it refers to, and without the alternative of null."""
    resolved = _resolved(schema, whole, depth)
    for key in ("anyOf", "oneOf"):
        others = [_flat(each, whole, depth + 1) for each in _list(resolved.get(key))]
        others = [each for each in others if each.get("type") != "null"]
        if len(others) == 1:
            rest = {name: value for name, value in resolved.items() if name not in (key, "type")}
            own_type = {"type": resolved.get("type")} if "type" not in others[0] else {}
            resolved = _resolved({**rest, **own_type, "allOf": others}, whole, depth + 1)
        elif others and all("const" in each or "enum" in each for each in others):
            resolved = {**resolved, "enum": [value for each in others for value in _values(each)]}
    return resolved


def _resolved(schema: object, whole: object, depth: int) -> Mapping[str, Any]:
    """A schema with what it refers to and with its parts."""
    if depth > _DEEPEST:
        raise ToolSettingsError("the schema refers to itself, or is nested too deep.")
    if not isinstance(schema, Mapping):
        return {}
    parts = [_at(schema["$ref"], whole)] if "$ref" in schema else []
    merged = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
    for part in [*parts, *_list(schema.get("allOf"))]:
        for key, value in _resolved(part, whole, depth + 1).items():
            own = merged.setdefault(key, value)
            if key == "properties" and isinstance(own, Mapping) and isinstance(value, Mapping):
                both = {name: {"allOf": [own[name], value[name]]} for name in own if name in value}
                merged[key] = {**own, **value, **both}
            elif key == "required":
                merged[key] = [*_list(own), *_list(value)]
            elif key in _READ and own != value:
                raise ToolSettingsError(f"its parts say {own!r} and {value!r} as `{key}`.")
    return merged


def _at(reference: object, whole: object) -> object:
    """What a reference names, a pointer into the schema (RFC 6901)."""
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


def _values(schema: Mapping[str, Any]) -> Any:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _type_of(schema: Mapping[str, object]) -> object:
    """The annotation that stands for a schema: a type with its limits, or a Literal."""
    values = _values(schema)
    if isinstance(values, list | tuple):
        return Literal[tuple(value for value in values if value is not None)]
    names = schema.get("type")
    names = [name for name in names if name != "null"] if isinstance(names, list) else [names]
    annotation = _TYPES.get(str(names[0])) if len(names) == 1 else None
    if annotation is None:
        raise ToolSettingsError(
            f"the schema {dict(schema)!r} cannot be written in a call. Expected a type of "
            f"{', '.join(_TYPES)}, or an enum."
        )
    limits: dict[str, Any] = {
        argument: schema[key]
        for key, argument in _LIMITS.items()
        if annotation in (int, float) and type(schema.get(key)) in (int, float)
    }
    return Annotated[annotation, Field(**limits)] if limits else annotation
