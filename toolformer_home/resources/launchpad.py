"""The settings as the Launchpad offers them: every one with its type and meaning.

Dagster refuses misspelt names and wrong types before a run is launched. A run checks bounds, names
of tools and combinations of settings before it does anything expensive. No setting has a default
here, since a value filled in by the form would override every later change of `toolformer.yaml`.
"""

import builtins
import datetime
import types
import typing
from collections import abc
from collections.abc import Sequence
from typing import Any, get_args, get_origin

import dagster as dg
import pydantic
from pydantic import BaseModel

from toolformer_home.resources.settings import SettingsResource
from toolformer_home.settings.presets import PRESETS
from toolformer_home.settings.sections import Settings
from toolformer_home.settings.tool_sections import ToolsSettings

# The preset stands beside the overrides, and rounds are taken from the file alone.
_NOT_OVERRIDDEN = ("preset", "rounds")
_SCALARS = {bool: bool, int: int, float: float, str: str, datetime.date: str}


def settings_of_launchpad() -> dg.ResourceDefinition:
    """A resource that gives a `SettingsResource`, whose configuration names every setting."""
    fields = SettingsResource.model_fields

    def settings(context: dg.InitResourceContext) -> SettingsResource:
        return SettingsResource(**context.resource_config)

    return dg.ResourceDefinition(
        resource_fn=settings,
        config_schema={
            "overrides": dg.Field(
                _shape(Settings, ()), default_value={}, description=fields["overrides"].description
            ),
            "preset": dg.Field(
                _enum(("preset",), tuple(PRESETS)),
                is_required=False,
                description=fields["preset"].description,
            ),
            "force": dg.Field(bool, default_value=False, description=fields["force"].description),
        },
        description=SettingsResource.__doc__,
    )


def _shape(
    section: type[BaseModel], path: tuple[str, ...], *, is_whole: bool = False
) -> dg.Shape | dg.Permissive:
    """The settings of a section; of a whole one, those without a default have to be given."""
    fields = {
        name: dg.Field(
            _type(field.annotation, (*path, name)),
            is_required=is_whole and field.is_required(),
            description=field.description or _summary(field.annotation),
        )
        for name, field in section.model_fields.items()
        if path or name not in _NOT_OVERRIDDEN
    }
    # Tools from outside stand beside the five.
    return dg.Permissive(fields) if section is ToolsSettings else dg.Shape(fields)


def _type(kind: Any, path: tuple[str, ...]) -> Any:
    """What Dagster takes for a setting of a type.

    Raises:
        TypeError: no setting had this type so far.
    """
    if kind in _SCALARS:
        return _SCALARS[kind]
    if _is_section(kind):
        return _shape(kind, path)
    match get_origin(kind), get_args(kind):
        case typing.Annotated, (inner, *_):
            return _type(inner, path)
        case typing.Literal, values:
            return _enum(path, values)
        case ((typing.Union | types.UnionType), (inner, types.NoneType)):
            return dg.Noneable(_type(inner, path))
        case builtins.tuple, (inner, builtins.Ellipsis) if _is_section(inner):
            return dg.Array(_shape(inner, path, is_whole=True))
        case builtins.tuple, (inner, builtins.Ellipsis):
            return dg.Array(_type(inner, path))
        case abc.Mapping, (builtins.str, pydantic.JsonValue):
            return dg.Permissive()
        case abc.Mapping, (builtins.str, inner):
            # An entry of the file can be changed in part.
            return dg.Map(str, _type(inner, path))
    raise TypeError(
        f"The setting {'.'.join(path)} has the type {kind!r}, which the Launchpad cannot show. "
        "Expected one that `_type` in toolformer_home/resources/launchpad.py knows; add it there."
    )


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _enum(path: tuple[str, ...], values: Sequence[str]) -> dg.Enum:
    return dg.Enum(".".join(path), [dg.EnumValue(value) for value in values])


def _summary(kind: Any) -> str | None:
    return (kind.__doc__ or "").strip().partition("\n")[0] if _is_section(kind) else None
