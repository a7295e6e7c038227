"""What a function takes, read from its annotations or from the JSON schema of its arguments.

Only what can be written between the brackets of a call: text, numbers, truth values and choices.
Does not read arguments; `tools.yours.typed_arguments` does.
"""

import enum
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from tools.errors import ToolSettingsError
from tools.yours.typed_arguments import Kind, Parameter

_KINDS: Mapping[object, Kind] = {str: "text", int: "integer", float: "number", bool: "boolean"}
_JSON_KINDS: Mapping[object, Kind] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
}


def parameters_of_schema(schema: object, tool_name: str) -> list[Parameter]:
    """Read the parameters of a function from the JSON schema of its arguments.

    Args:
        schema: Of type `object`.
        tool_name: For messages.

    Returns:
        The parameters, required ones first, else in the schema's order.

    Raises:
        ToolSettingsError: When the schema is of another form, or a required parameter cannot be
            written in calls.
    """
    properties = schema.get("properties", {}) if isinstance(schema, Mapping) else None
    if not isinstance(schema, Mapping) or not isinstance(properties, Mapping):
        raise ToolSettingsError(
            f"The parameters of {tool_name} are {schema!r}. Expected a JSON schema with "
            "`properties`."
        )
    required = schema.get("required") or []
    parameters = []
    for name, of_parameter in properties.items():
        try:
            parameters.append(_schema_parameter(name, of_parameter, is_required=name in required))
        except ToolSettingsError:
            if name in required:
                raise
    return sorted(parameters, key=lambda parameter: not parameter.is_required)


def _schema_parameter(name: str, schema: object, *, is_required: bool) -> Parameter:
    of_schema: Mapping[str, object] = schema if isinstance(schema, Mapping) else {}
    alternatives = of_schema.get("anyOf") or of_schema.get("oneOf")
    if isinstance(alternatives, Sequence):
        rest = [each for each in alternatives if each != {"type": "null"}]
        if len(rest) == 1 and isinstance(rest[0], Mapping):
            of_schema = {**of_schema, **rest[0]}
    kinds = of_schema.get("type")
    kinds = [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, Sequence) else []
    kinds = [kind for kind in kinds if kind != "null"]
    values = [of_schema["const"]] if "const" in of_schema else of_schema.get("enum")
    if isinstance(values, Sequence):
        choices = [(_choice_text(value), value) for value in values if value is not None]
        return _choice(name, choices, is_required, of_schema.get("default"))
    if len(kinds) != 1 or kinds[0] not in _JSON_KINDS:
        raise ToolSettingsError(
            f"The parameter {name} has the schema {schema!r}, which cannot be written in a call. "
            f"Expected a type of {', '.join(map(str, _JSON_KINDS))}, or an enum."
        )
    least, most = of_schema.get("minimum"), of_schema.get("maximum")
    return Parameter(
        name,
        _JSON_KINDS[kinds[0]],
        is_required=is_required,
        default=of_schema.get("default"),
        least=least if isinstance(least, int | float) else None,
        most=most if isinstance(most, int | float) else None,
    )


def parameters_of_function(function: Callable[..., object], shown: str) -> list[Parameter]:
    """Read the parameters of a function from its annotations.

    Args:
        function: The function.
        shown: Its name, for messages.

    Returns:
        The parameters, required ones first, else in the function's order.

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
        hints = typing.get_type_hints(function)
        signature = inspect.signature(function)
    except (NameError, TypeError, ValueError) as error:
        raise ToolSettingsError(
            f"The annotations of the function {shown} cannot be read: {error}. Expected a "
            "function whose parameters have types."
        ) from error
    found = []
    for parameter in signature.parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ToolSettingsError(
                f"The function {shown} has the parameter {parameter}. Expected parameters that "
                "can be given by name; wrap the function in one that has only such."
            )
        is_required = parameter.default is parameter.empty
        default = None if is_required else parameter.default
        annotation = hints.get(parameter.name)
        found.append(_typed_parameter(parameter.name, annotation, default, is_required, shown))
    return sorted(found, key=lambda parameter: not parameter.is_required)


def _typed_parameter(
    name: str, annotation: object, default: object, is_required: bool, shown: str
) -> Parameter:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        rest = [each for each in typing.get_args(annotation) if each is not type(None)]
        if len(rest) == 1 and not is_required:
            return _typed_parameter(name, rest[0], default, is_required, shown)
    if origin is Literal:
        values = typing.get_args(annotation)
        return _choice(name, [(_choice_text(each), each) for each in values], is_required, default)
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        members = [(_choice_text(each.value), each) for each in annotation]
        return _choice(name, members, is_required, default)
    if annotation not in _KINDS:
        raise ToolSettingsError(
            f"The parameter {name} of the function {shown} has the type {annotation!r}. Expected "
            "str, int, float, bool, a Literal or an Enum, or `… | None = None`."
        )
    return Parameter(name, _KINDS[annotation], is_required=is_required, default=default)


def _choice(
    name: str, choices: Sequence[tuple[str, object]], is_required: bool, default: object = None
) -> Parameter:
    texts = [text for text, _ in choices]
    # White space is collapsed and brackets are refused before a choice is looked for.
    if len(set(texts)) < len(texts) or not all(
        text and text == " ".join(text.split()) and "[" not in text and "]" not in text
        for text in texts
    ):
        raise ToolSettingsError(
            f"The parameter {name} has the choices {texts!r}. Expected different texts of one "
            "line, not empty and without square brackets."
        )
    return Parameter(
        name, "choice", is_required=is_required, default=default, choices=tuple(choices)
    )


def _choice_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
