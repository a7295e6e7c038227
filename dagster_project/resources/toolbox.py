"""The tools of a run, with their prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from dagster_project.home import Home
from dagster_project.settings import Settings
from tools.deadlines import Limits
from tools.errors import MissingDependencyError, ToolUnavailableError
from tools.prompting import load_prompt
from tools.protocol import Tool
from tools.registry import TOOL_NAMES, check_tool_name, create_tool
from tools.result_cache import ResultCache


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools that can run, and why the others cannot.

    Attributes:
        tools: by name, in a fixed order.
        prompts: few-shot prompts of these tools; None where sampling leaves them out.
        unavailable: name to reason and remedy.
    """

    tools: Mapping[str, Tool]
    prompts: Mapping[str, str | None]
    unavailable: Mapping[str, str]


def open_toolbox(
    settings: Settings, home: Home, *, named: Sequence[str] = (), while_decoding: bool = False
) -> Toolbox:
    """Make the tools and see which are available, before anything expensive.

    Args:
        settings: of the run.
        home: has the search index.
        named: tools that the user asked for; by default all that are enabled.
        while_decoding: the Calendar answers with the presumed date and not with that of a URL.

    Raises:
        UnknownToolError: a name is misspelt.
        ToolUnavailableError: a tool that was named cannot run.
    """
    for name in named:
        check_tool_name(name)
    chosen = [
        name
        for name in TOOL_NAMES
        if (name in named if named else settings.tools.of(name).is_enabled)
    ]
    tools: dict[str, Tool] = {}
    unavailable: dict[str, str] = {}
    for name in chosen:
        tool = create_tool(name, _options(settings, home, name, while_decoding))
        try:
            tool.check_available()
        except (ToolUnavailableError, MissingDependencyError) as error:
            if named:
                raise
            unavailable[name] = str(error)
        else:
            tools[name] = tool
    prompts = {name: _prompt(settings, name) for name in tools}
    return Toolbox(tools, prompts, unavailable)


def execution_limits(settings: Settings) -> Limits:
    """What calls of a run may take."""
    execution = settings.execution
    return Limits(deadline_seconds=execution.deadline_seconds, attempts=execution.attempts)


def result_cache(settings: Settings, home: Home) -> ResultCache | None:
    """The answers of earlier calls; None where they are not to be used."""
    return ResultCache(home.tool_results) if settings.execution.uses_cache else None


def _options(settings: Settings, home: Home, name: str, while_decoding: bool) -> dict[str, Any]:
    options: dict[str, Any] = dict(settings.tools.of(name).options)
    if name == "WikiSearch":
        options.setdefault("index_directory", str(home.wikipedia_index))
    if name == "Calculator":
        options.setdefault("seed", settings.sampling.seed)
    if name == "Calendar" and while_decoding:
        options["date_source"] = "published_on"
    return options


def _prompt(settings: Settings, name: str) -> str | None:
    if not settings.sampling.uses_prompt:
        return None
    own = settings.tools.of(name).prompt
    return load_prompt(name, Path(own).expanduser() if own else None)


class ToolboxResource(dg.ConfigurableResource):
    """The tools of a run, one field read by all stages."""

    tools: list[str] = Field(
        default=[], description="names of the tools to use; by default all that can run"
    )

    def open(self, settings: Settings, home: Home) -> Toolbox:
        """The tools that this run uses."""
        return open_toolbox(settings, home, named=self.tools)
