"""What a function takes, read from the JSON schema of its arguments.

The schema of a Python function comes from pydantic, which reads its annotations. Only what can be
written between the brackets of a call: text, numbers, truth values and choices.
"""

import enum
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from pydantic.errors import PydanticUserError

from tools.errors import ToolSettingsError
from tools.plugins.typed_arguments import Parameter

_TYPES = {"string": str, "integer": int, "number": float, "boolean": bool}
_LIMITS = {"minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le", "exclusiveMaximum": "lt"}
_DEFINITIONS = "#/$defs/"


def parameters_of_schema(schema: object, tool_name: str) -> list[Parameter]:
    """Read the parameters of a function from the JSON schema of its arguments.

    Returns:
        Required ones first; optional ones that cannot be written in calls are left out.

    Raises:
        ToolSettingsError: When the schema is of another form, or a required parameter cannot be
            written in calls.
    """
    properties = schema.get("properties", {}) if isinstance(schema, Mapping) else None
    required = schema.get("required") or [] if isinstance(schema, Mapping) else None
    if (
        not isinstance(schema, Mapping)
        or not isinstance(properties, Mapping)
        or not isinstance(required, list)
    ):
        raise ToolSettingsError(
            f"The parameters of {tool_name} are {schema!r}. Expected a JSON schema with "
            "`properties`, and with a list of names as `required`."
        )
    parameters = []
    for name, parameter_schema in properties.items():
        is_required = name in required
        try:
            flat_schema = _flat(parameter_schema, schema.get("$defs"))
            default = flat_schema.get("default")
            parameters.append(Parameter(name, _type_of(flat_schema), is_required, default))
        except ToolSettingsError as error:
            if is_required:
                raise ToolSettingsError(f"The parameter {name} of {tool_name}: {error}") from error
    return sorted(parameters, key=lambda parameter: not parameter.is_required)


def schema_of_function(function: Callable[..., object], shown: str) -> dict[str, Any]:
    """The JSON schema of a function's arguments, read from its annotations.

    Raises:
        ToolSettingsError: When a parameter has no type or one that cannot be written in calls, or
            cannot be given by name, or the function is asynchronous.
    """
    if inspect.iscoroutinefunction(function):
        raise ToolSettingsError(
            f"The function {shown} is asynchronous. Expected one that returns its answer; wrap it "
            "in one that calls `asyncio.run`."
        )
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


def _flat(schema: object, definitions: object) -> Mapping[str, object]:
    """A parameter's schema with what it refers to, and without the alternative of null."""
    resolved = _resolved(schema, definitions)
    alternatives = resolved.get("anyOf") or resolved.get("oneOf")
    if isinstance(alternatives, list):
        others = [other for other in alternatives if other != {"type": "null"}]
        if len(others) == 1:
            return {**resolved, **_resolved(others[0], definitions)}
    return resolved


def _resolved(schema: object, definitions: object) -> Mapping[str, object]:
    if not isinstance(schema, Mapping):
        return {}
    name = str(schema.get("$ref")).removeprefix(_DEFINITIONS)
    definition = definitions.get(name) if isinstance(definitions, Mapping) else None
    return {**definition, **schema} if isinstance(definition, Mapping) else schema


def _type_of(schema: Mapping[str, object]) -> object:
    """The annotation that stands for a schema: a type with its limits, or a Literal."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
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
