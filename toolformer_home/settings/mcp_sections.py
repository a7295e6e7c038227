"""Settings of MCP servers of which several tools are taken at once.

Each tool becomes a section of `tools`, as one is written by hand for `tools.plugins.mcp_tool`. No
server is asked for that.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator

from toolformer_home.settings.section import Section, invalid
from tools.plugins.mcp_http import KEY_VARIABLE, checked_address
from tools.plugins.mcp_tool import MCP_TOOL
from tools.registry import tool_names


class McpServerSettings(Section):
    """A server that has tools; it has either an address or a command."""

    url: Annotated[str, AfterValidator(checked_address)] | None = Field(
        None, description="its address, where it runs already, such as http://localhost:8931/mcp"
    )
    command: tuple[str, ...] | None = Field(
        None, description="program and arguments of a server, which is started for each tool"
    )
    key_variable: str | None = Field(
        None,
        pattern=KEY_VARIABLE,
        description="name of the environment variable that holds the key of a server with an "
        "address, never the key itself",
    )
    allow: tuple[tuple[str, str], ...] = Field(
        min_length=1,
        description="its tools that are taken: a list of names, in which `_` stands in calls for "
        "what cannot be written there, or the names in calls, each with that on the server",
    )

    @field_validator("allow", mode="before")
    @classmethod
    def _with_names_in_calls(cls, allow: Any) -> Any:
        if isinstance(allow, Mapping):
            return tuple(allow.items())
        if not isinstance(allow, list | tuple) or not all(isinstance(tool, str) for tool in allow):
            return allow
        return tuple((re.sub(r"^(?=\d)|[^A-Za-z0-9_]", "_", tool), tool) for tool in allow)


class McpServersSettings(Section):
    """Tools that are taken from servers."""

    from_mcp: tuple[McpServerSettings, ...] = Field(
        (), description="servers of which several tools are taken at once"
    )


def with_mcp_tools(sections: Mapping[str, Any]) -> Mapping[str, Any]:
    """The sections of `tools`, with one for each tool that `from_mcp` takes.

    Args:
        sections: as in toolformer.yaml. What a tool's own section says wins.

    Raises:
        ValidationError: an entry is not valid, or the name of a tool is taken.
    """
    servers = McpServersSettings(from_mcp=sections.get("from_mcp") or ()).from_mcp
    # File systems that ignore case would mix up the partitions of names that differ in it alone.
    taken = {name.lower() for name in ("all", "others", "from_mcp", *tool_names())}
    own = {str(name).lower(): name for name in sections}
    made: dict[str, Any] = {}
    for number, server in enumerate(servers):
        options = server.model_dump(mode="json", exclude_none=True, exclude={"allow"})
        for name, tool in server.allow:
            section = sections.get(name) or {}
            given = section.get("options") or {} if isinstance(section, Mapping) else None
            if not isinstance(given, Mapping):
                continue
            if name.lower() in taken or own.get(name.lower(), name) != name or "class" in section:
                error = (
                    f"the name {name!r} is taken; give the tool another one in calls, as in "
                    f"`allow: {{AnotherName: {tool}}}`"
                )
                raise invalid(("from_mcp", number, "allow"), tool, error)
            taken.add(name.lower())
            own_options = {**options, "tool": tool, **given}
            made[name] = {**section, "class": MCP_TOOL, "options": own_options}
    return {**sections, **made}
