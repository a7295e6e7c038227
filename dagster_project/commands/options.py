"""Options that several commands share, and the settings that they override for one run."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from toolformer.home.home import Home
from toolformer.home.wiring.workspace import Workspace
from toolformer.settings.errors import SettingsError
from toolformer.settings.sections import Settings, merged
from toolformer.settings.settings_file import (
    load_settings,
    with_absolute_paths,
    write_settings_file,
)
from toolformer.settings.training_sections import CALLS, Variant
from toolformer.settings.yaml_text import YAML_ERRORS, loaded

Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change a setting for this run, e.g. tools.Calendar.filtering_threshold=0.5. "
        "Repeatable.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Force = Annotated[bool, typer.Option("--force", help="Recompute even what is up to date.")]
ToolNames = Annotated[
    str | None, typer.Option("--tools", help="Only these comma-separated tools.", metavar="X,Y")
]
ToolName = Annotated[str, typer.Argument(help="Tool, as shown by `tools list`.")]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="finetuned, base or a model directory. Default: finetuned if it exists, else base.",
    ),
]
Day = Annotated[
    datetime | None,
    typer.Option(
        "--today", formats=["%Y-%m-%d"], help="Date for the Calendar. Default: the current date."
    ),
]
VariantName = Annotated[
    Variant | None,
    typer.Option(
        help="calls (the paper's model), or a control that is trained on the same texts: plain "
        "(without calls) or shuffled (with swapped results). Default: training.variant, which "
        "is calls unless toolformer.yaml changes it.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class RunOptions:
    """Settings that the options of a command override for one run.

    Attributes:
        tools: if not empty, only these tools are used, even if they are switched off.
        applies_to_all_rounds: whether the overrides apply to every round, not only the named one.
    """

    overrides: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False
    tools: tuple[str, ...] = ()
    applies_to_all_rounds: bool = False

    @classmethod
    def of(
        cls,
        changes: Sequence[str] | None,
        *,
        force: bool = False,
        tools: Sequence[str] = (),
        variant: str | None = None,
        benchmarks: Sequence[str] = (),
        items: int | None = None,
    ) -> "RunOptions":
        named: dict[str, Any] = {"training.variant": variant, "evaluation.items": items}
        named["evaluation.benchmarks"] = list(benchmarks) or None
        values = [*map(_parsed, changes or ()), *named.items()]
        overrides: dict[str, Any] = {}
        for name, value in values:
            if value is not None or name not in named:
                nested = value
                for part in reversed(name.split(".")):
                    nested = {part: nested}
                overrides = merged(overrides, with_absolute_paths(nested, Path.cwd()))
        return cls(overrides, force, tuple(tools))

    def in_round(self, number: int) -> "RunOptions":
        """Return the options for a round and its `calls` model, which annotates the next round."""
        changes = {"sampling": {"round": number}, "training": {"variant": CALLS}}
        return replace(self, overrides=merged(self.overrides, changes), applies_to_all_rounds=True)

    def load_settings(self, home: Home) -> Settings:
        """Load the settings of this run, after writing a missing settings file."""
        write_settings_file(home.settings_file, preset="laptop")
        return load_settings(home.settings_file, overrides=self._all_overrides(home))

    def workspace(self, home: Home | None = None) -> Workspace:
        home = home or Home.find()
        return Workspace(self.load_settings(home), home)

    def _all_overrides(self, home: Home) -> Mapping[str, Any]:
        """Return the overrides, plus those that switch on the named tools."""
        if not self.tools:
            return self.overrides
        given = load_settings(home.settings_file, overrides=self.overrides)
        off = [name for name in self.tools if not given.tools.of(name).is_enabled]
        tools = {"tools": {name: {"is_enabled": True} for name in off}} if off else {}
        return merged(self.overrides, tools)

    def resources(self) -> dict[str, dict[str, Any]]:
        """Return the run configuration of the Dagster resources."""
        settings: dict[str, Any] = {"force": self.force}
        home = Home.find()
        if overrides := self._all_overrides(home):
            # Run configuration cannot contain dates.
            settings["overrides"] = json.loads(json.dumps(overrides, default=str))
        return {"settings": settings, "toolbox": {"tools": list(self.tools)}}


def _parsed(change: str) -> tuple[str, Any]:
    name, separator, value = change.partition("=")
    if not separator or not name:
        raise SettingsError(
            f"--set {change!r} is not of the form NAME=VALUE. Expected for example --set "
            "tools.Calendar.filtering_threshold=0.5."
        )
    try:
        return name, loaded(value)
    except YAML_ERRORS as error:
        raise SettingsError(
            f"The value in --set {change} is not valid YAML. Expected a number, a text or a list "
            "such as [a, b]. Put quotes around a text with special characters."
        ) from error


def names_in(given: str | None) -> list[str]:
    return [name.strip() for name in (given or "").split(",") if name.strip()]
