"""Flags that several commands share, and what they change for one run."""

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
        help="A setting for this run, e.g. tools.Calendar.filtering_threshold=0.5. Repeatable.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
Force = Annotated[bool, typer.Option("--force", help="Compute also what is up to date.")]
ToolNames = Annotated[
    str | None, typer.Option("--tools", help="Only these tools, comma-separated.", metavar="X,Y")
]
ToolName = Annotated[str, typer.Argument(help="The tool, as `tools list` shows it.")]
ModelName = Annotated[
    str | None,
    typer.Option(
        "--model", help="finetuned, base or a model directory. Default: finetuned if there."
    ),
]
Day = Annotated[
    datetime | None,
    typer.Option(
        "--today", formats=["%Y-%m-%d"], help="Date for the Calendar. Default: the present day."
    ),
]
VariantName = Annotated[
    Variant | None,
    typer.Option(
        help="calls (the paper's model), or a control on the same texts: plain (no calls), "
        "shuffled (results exchanged). Default: training.variant, which is calls unless "
        "toolformer.yaml says otherwise.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class RunOptions:
    """What the flags of a command change for one run.

    Attributes:
        tools: only these tools, also one that is switched off.
        applies_to_all_rounds: whether the overrides hold for all rounds, one of which they name.
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
        """From the command line's flags.

        Raises:
            SettingsError: a change is not of the form NAME=VALUE.
        """
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
        """Load the settings of this run; write the settings file if there is none."""
        write_settings_file(home.settings_file, preset="laptop")
        return load_settings(home.settings_file, overrides=self._all_overrides(home))

    def workspace(self, home: Home | None = None) -> Workspace:
        """Return the workspace of a home, by default of TOOLFORMER_HOME."""
        home = home or Home.find()
        return Workspace(self.load_settings(home), home)

    def _all_overrides(self, home: Home) -> Mapping[str, Any]:
        """Return the overrides, with the named tools enabled."""
        if not self.tools:
            return self.overrides
        given = load_settings(home.settings_file, overrides=self.overrides)
        off = [name for name in self.tools if not given.tools.of(name).is_enabled]
        tools = {"tools": {name: {"is_enabled": True} for name in off}} if off else {}
        return merged(self.overrides, tools)

    def resources(self) -> dict[str, dict[str, Any]]:
        """Return the options as configuration of the Dagster resources."""
        settings: dict[str, Any] = {"force": self.force}
        home = Home.find()
        if overrides := self._all_overrides(home):
            # It has no dates.
            settings["overrides"] = json.loads(json.dumps(overrides, default=str))
        return {"settings": settings, "toolbox": {"tools": list(self.tools)}}


def _parsed(change: str) -> tuple[str, Any]:
    """Return the name and the value of a `--set`."""
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
    """Return the names in the comma-separated value of an option."""
    return [name.strip() for name in (given or "").split(",") if name.strip()]
