"""The settings as the Launchpad offers them: every one with its type, bounds and value in force.

Dagster refuses misspelt names and wrong types before a run is launched. Bounds, and what settings
demand of each other, it cannot check: they stand in the descriptions, and a run checks them before
anything expensive. No setting has a default here, since what the form fills in by itself would win
over every later change of `toolformer.yaml`.
"""

import builtins
import datetime
import json
import types
import typing
from collections import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

import annotated_types
import dagster as dg
import pydantic
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dagster_project.home import Home
from dagster_project.resources.settings import SettingsResource
from dagster_project.settings.errors import SettingsError
from dagster_project.settings.presets import PRESETS
from dagster_project.settings.sections import Settings
from dagster_project.settings.settings_file import load_settings
from dagster_project.settings.tool_sections import PluginSettings, ToolsSettings
from tools.errors import ToolRegistrationError
from tools.registry import TOOL_NAMES

# The preset stands beside the overrides; the others could name code.
_NOT_OVERRIDDEN = {("preset",), ("rounds",)}
_NOT_OF_TOOLS = frozenset({"target"})
_LONGEST_SHOWN = 60
_SCALARS = {bool: bool, int: int, float: float, str: str, datetime.date: str}
_BOUNDS: Mapping[type, tuple[str, str]] = {
    annotated_types.Ge: ("ge", "at least {}"),
    annotated_types.Gt: ("gt", "above {}"),
    annotated_types.Le: ("le", "at most {}"),
    annotated_types.Lt: ("lt", "below {}"),
    annotated_types.MinLen: ("min_length", "entries: at least {}"),
}


def settings_of_launchpad(home: Home) -> dg.ResourceDefinition:
    """A resource that gives a `SettingsResource`, whose configuration names every setting."""
    fields, state = SettingsResource.model_fields, _State.of(home)

    def settings(context: dg.InitResourceContext) -> SettingsResource:
        return SettingsResource(**context.resource_config)

    return dg.ResourceDefinition(
        resource_fn=settings,
        config_schema={
            "overrides": dg.Field(
                _shape(Settings, (), state),
                default_value={},
                description=_joined(fields["overrides"].description, state.note),
            ),
            "preset": dg.Field(
                _enum(("preset",), tuple(PRESETS)),
                is_required=False,
                description=_described(fields["preset"], ("preset",), state),
            ),
            "force": dg.Field(bool, default_value=False, description=fields["force"].description),
        },
        description=SettingsResource.__doc__,
    )


@dataclass(frozen=True, slots=True)
class _State:
    """What a home says when the definitions are loaded.

    Attributes:
        in_force: the values, nested as in toolformer.yaml; none where that is not valid.
        plugins: names that can stand under `tools`, beside the five and `others`.
        note: where the values come from, or why there are none.
    """

    in_force: Mapping[str, Any]
    plugins: tuple[str, ...]
    note: str

    @classmethod
    def of(cls, home: Home) -> "_State":
        try:
            settings = load_settings(home.settings_file)
            names = settings.tools.names
        except (SettingsError, ToolRegistrationError, OSError) as error:
            return cls({}, (), f"the values in force are not known: {error}")
        plugins = tuple(name for name in names if name not in TOOL_NAMES)
        values = settings.model_dump(mode="json", by_alias=True)
        for name in plugins:
            values["tools"][name] = settings.tools.of(name).model_dump(mode="json")
        for name in (*plugins, "others"):
            # Descriptions are stored with every job, and one of these may be a password.
            values["tools"][name]["options"] = dict.fromkeys(values["tools"][name]["options"], "…")
        return cls(
            values,
            plugins,
            "only what is written here wins over the file · values in force: those of "
            f"{home.settings_file} when the definitions were loaded; reload them after a change",
        )

    def value(self, path: tuple[str, ...]) -> str:
        """The value in force."""
        if not self.in_force:
            return ""
        value: Any = self.in_force
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        text = json.dumps(value, ensure_ascii=False)
        if len(text) > _LONGEST_SHOWN:
            text = f"{text[:_LONGEST_SHOWN]}…"
        return f"in force: {text}"


# Of entries that may have any name.
_UNKNOWN = _State({}, (), "")


def _shape(
    section: type[BaseModel], path: tuple[str, ...], state: _State, *, is_whole: bool = False
) -> dg.Shape:
    """The settings of a section; of a whole one, those without a default have to be given."""
    fields: dict[str, dg.Field] = {}
    for name, field in section.model_fields.items():
        at = (*path, name)
        if at in _NOT_OVERRIDDEN or (section is PluginSettings and name in _NOT_OF_TOOLS):
            continue
        kind = field.annotation
        fields[name] = dg.Field(
            _type(kind, at, state),
            is_required=is_whole and field.is_required(),
            description=_described(field, at, state),
        )
    if section is ToolsSettings:
        for name in state.plugins:
            fields[name] = dg.Field(
                _shape(PluginSettings, (*path, name), state),
                is_required=False,
                description=_summary(PluginSettings),
            )
    return dg.Shape(fields)


def _type(kind: Any, path: tuple[str, ...], state: _State) -> Any:
    """What Dagster takes for a setting of a type.

    Raises:
        TypeError: no setting had this type so far.
    """
    if kind in _SCALARS:
        return _SCALARS[kind]
    if _is_section(kind):
        return _shape(kind, path, state)
    match get_origin(kind), get_args(kind):
        case typing.Annotated, (inner, *_):
            return _type(inner, path, state)
        case typing.Literal, values:
            return _enum(path, values)
        case ((typing.Union | types.UnionType), (inner, types.NoneType)):
            return dg.Noneable(_type(inner, path, state))
        case builtins.tuple, (inner, builtins.Ellipsis) if _is_section(inner):
            return dg.Array(_shape(inner, path, _UNKNOWN, is_whole=True))
        case builtins.tuple, (inner, builtins.Ellipsis):
            return dg.Array(_type(inner, path, state))
        case abc.Mapping, (builtins.str, pydantic.JsonValue):
            return dg.Permissive()
        case abc.Mapping, (builtins.str, inner):
            # An entry of the file can be changed in part.
            return dg.Map(str, _type(inner, path, _UNKNOWN))
    raise TypeError(
        f"The setting {'.'.join(path)} has the type {kind!r}, which the Launchpad cannot show. "
        "Expected one that `_type` in dagster_project/resources/launchpad.py knows; add it there."
    )


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _enum(path: tuple[str, ...], values: Sequence[str]) -> dg.Enum:
    return dg.Enum(".".join(path), [dg.EnumValue(value) for value in values])


def _described(field: FieldInfo, path: tuple[str, ...], state: _State) -> str:
    if _is_section(field.annotation):
        return field.description or _summary(field.annotation)
    bounds = [
        words.format(getattr(bound, name))
        for bound in field.metadata
        for kind, (name, words) in _BOUNDS.items()
        if isinstance(bound, kind)
    ]
    return _joined(field.description, " and ".join(bounds), state.value(path))


def _joined(*parts: str | None) -> str:
    return " · ".join(filter(None, parts))


def _summary(section: Any) -> str:
    return (section.__doc__ or "").strip().splitlines()[0]
